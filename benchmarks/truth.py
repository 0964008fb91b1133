"""Do rules find what is true? Of programs planted in real text, and of a transformer whose weights were set by hand.

    python benchmarks/truth.py            # two minutes on 2 cores
    python benchmarks/truth.py --json     # only the list of rows on standard output

Rows are {of, name, truth, learned, f1, precision, recall, correlation, n_fired, n_held_out}: truth is null where no
rule is the feature, and what is learned then should be a failure. Judged on held-out documents of Python's library.
"""

import argparse
import contextlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from physalis.lab.compiled.checking import Found, of_programs, of_transformer

BAR = 0.95


def row(of: str, found: Found) -> dict[str, Any]:
    """One feature."""
    each = found.learned
    return {
        "of": of, "name": found.name, "truth": found.truth, "learned": each.rule, "f1": each.detection.f1.value,
        "precision": each.detection.precision, "recall": each.detection.recall, "correlation": each.correlation,
        "n_fired": each.n_fired, "n_held_out": each.n_held_out,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", default="stdlib", help="text, as record takes it")
    parser.add_argument("--tokens", type=int, default=200_000)
    parser.add_argument("--json", action="store_true", help="print only the list of rows on standard output")
    args = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        for of, check in (("programs", of_programs), ("transformer", of_transformer)):
            rows += [row(of, found) for found in check(args.source, Path(folder, of), tokens=args.tokens)]
    console, table = Console(stderr=args.json, width=None if sys.stdout.isatty() else 160), Table(box=None)
    for name in ("of", "name", "F1", "correlation", "held-out firings", "learned"):
        table.add_column(name)
    for each in rows:
        numbers = (f"{each['f1']:.3f}", f"{each['correlation'] or 0:.3f}", f"{each['n_held_out']:,}")
        table.add_row(each["of"], each["name"], *numbers, each["learned"])
    console.print(table)
    rules = [each for each in rows if each["truth"] is not None and each["n_held_out"]]
    missed = [each["name"] for each in rules if each["f1"] < BAR]
    console.print(f"{'MISSED' if missed else 'met   '} F1 >= {BAR} of {len(rules)} rules: {len(missed)} below {missed}")
    if args.json:
        print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
