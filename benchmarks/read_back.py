"""Programs read from models: compiled ones, hidden too, trained ones, and both with shuffled weights.

    python benchmarks/read_back.py                  # 4 minutes on 2 cores
    python benchmarks/read_back.py --json > rows.json

Rows: ``toy, kind`` (compiled, trained, shuffled), ``hidden, seed, found`` (steps, waves, or None where there is none),
``agreement, low, high`` (share of unseen inputs on which the program gives every answer of the model, and its 95 %
interval), ``inputs`` (unseen ones), ``length`` (symbols of the program), ``table_length`` (of a plain list of what it
was read from), ``baseline`` (whoever gives the most frequent answers), ``accuracy`` (of the model), ``is_read, why,
seconds, program``.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from itertools import chain
from typing import Any

from rich.console import Console
from rich.table import Table

from physalis.lab.decompiling import TOYS, Reading, read_program
from physalis.lab.rasp import TASKS, hidden
from physalis.models import Model
from physalis.models.shuffling import shuffled

_SHOWN = (
    "toy", "kind", "hidden", "seed", "found", "agreement", "low", "high", "inputs", "length", "table_length",
    "baseline", "accuracy", "is_read", "seconds",
)  # fmt: skip


def compiled(n: int) -> Iterator[dict[str, Any]]:
    """The six programs, as they are and in coordinates that mean nothing."""
    for task in (make() for make in TASKS):
        made, inputs = task.compiled(), task.inputs(n)
        for is_hidden, each in ((False, made), (True, hidden(made))):
            ids = [each.encode([words])[0].tolist() for words in inputs]
            yield row(task.name, "compiled", each.model, ids, slice(1, None), hidden=is_hidden, accuracy=1.0)
        ids = [made.encode([words])[0].tolist() for words in inputs]
        yield row(task.name, "shuffled", shuffled(made.model), ids, slice(1, None))


def trained(n: int, seeds: int) -> Iterator[dict[str, Any]]:
    """Those that learned what they do."""
    for make in TOYS:
        for seed in range(seeds):
            toy = make(seed=seed)  # pyright: ignore[reportCallIssue]
            inputs, accuracy = toy.inputs(n), toy.accuracy(2000, seed=1)
            yield row(toy.name, "trained", toy.model, inputs, toy.asked, seed=seed, accuracy=accuracy)
            if not seed:
                yield row(toy.name, "shuffled", shuffled(toy.model), inputs, toy.asked)


def row(
    name: str, kind: str, model: Model, inputs: list[list[int]], asked: slice, *, hidden: bool = False, seed: int = 0,
    accuracy: float | None = None,
) -> dict[str, Any]:  # fmt: skip
    began = time.perf_counter()
    found: Reading = read_program(model, inputs, asked=asked, name=name, held_out=0.5)
    share = found.share or {"value": None, "low": None, "high": None}
    return {
        "toy": name, "kind": kind, "hidden": hidden, "seed": seed, "found": found.kind,
        "agreement": share["value"], "low": share["low"], "high": share["high"],
        "inputs": len(found.most_frequent.num), "length": found.program and found.program.length,
        "table_length": found.table_length, "baseline": found.baseline["value"], "accuracy": accuracy,
        "is_read": found.is_read, "why": found.why, "seconds": time.perf_counter() - began,
        "program": found.program and str(found.program),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=4000, help="drawn of each model; half are held out")
    parser.add_argument("--seeds", type=int, default=5, help="trainings of each toy")
    parser.add_argument("--json", action="store_true", help="print only the rows on standard output")
    args = parser.parse_args()
    console = Console(stderr=args.json, width=None if sys.stdout.isatty() else 200)
    rows = []
    for each in chain(compiled(args.inputs), trained(args.inputs, args.seeds)):
        rows.append(each)
        print(each["toy"], each["kind"], each["agreement"], each["why"], file=sys.stderr)
    table = Table(*_SHOWN, box=None)
    for each in rows:
        table.add_row(*(_cell(each[name]) for name in _SHOWN))
    console.print(table)
    for each in rows:
        if each["program"] and each["kind"] != "shuffled" and not each["hidden"] and not each["seed"]:
            console.print(each["program"], highlight=False, markup=False, soft_wrap=True)
    missed = [each["toy"] for each in rows if each["kind"] != "shuffled" and not each["is_read"]]
    console.print(f"{'MISSED' if missed else 'met   '} every program agrees on 99 % of unseen inputs: {missed}")
    if args.json:
        print(json.dumps(rows, indent=1))


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
