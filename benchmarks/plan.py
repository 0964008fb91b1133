"""What `plan` promises beside what recording and training then take, in time and in memory.

    python benchmarks/plan.py                 # about 15 minutes on 2 idle cores
    python benchmarks/plan.py --json          # only the list of rows on standard output
    python benchmarks/plan.py --model tiny --tokens 20000 --batch-size 512    # a minute: does everything work?

1. One site of a real model is recorded, and where a transcoder is asked for what it reads and predicts, too.
2. Every plan and every run is a process of its own, a plan just before its run, so that a machine that changes pace
   changes it for both.

Rows are {what, planned_s, took_s, planned_mb, took_mb}. Recording's memory is the process's peak, the model included;
training's is by how much the process grows (10^6 bytes). Times leave out loading the model and compiling.
"""

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from physalis import dictionaries
from physalis.activations import Activations, Pairs
from physalis.dictionaries.kernels.rows import release_buffers
from physalis.models import load_model
from physalis.recording import record
from physalis.runtime.device import forget_peak_memory, peak_memory, release_unused_memory, used_memory
from physalis.site import Site
from physalis.training import planning
from physalis.training.training import train

ARCHITECTURES = ("topk", "batchtopk", "jumprelu", "gated", "matryoshka", "listamatryoshka")
TIME, MEMORY = 1.3, 1.1
"""Ratios, of the larger to the smaller, that are to be kept to."""


@dataclass(frozen=True)
class Row:
    what: str
    planned_s: float
    took_s: float
    planned_mb: float
    took_mb: float


@dataclass(frozen=True)
class Asked:
    """What a process is to plan or to do."""

    model: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    tokens: int
    architecture: str
    features: int
    k: int
    skip: bool
    epochs: int
    batch_size: int
    folder: str

    def sites(self) -> tuple[list[Site], list[Site]]:
        return [Site.parse(each) for each in self.reads], [Site.parse(each) for each in self.writes]


def plan(asked: Asked) -> dict[str, float]:
    reads, writes = asked.sites()
    found = planning.plan(
        load_model(asked.model, device="cpu"), reads, writes=writes, tokens=asked.tokens,
        architecture=asked.architecture, n_features=asked.features, k=asked.k, skip=asked.skip, epochs=asked.epochs,
        batch_size=asked.batch_size,
    )  # fmt: skip
    return {
        "record_s": found.recording.seconds, "record_mb": found.recording.memory_bytes / 1e6,
        "train_s": found.train_seconds, "train_mb": found.train_memory_bytes / 1e6,
    }  # fmt: skip


def recorded(asked: Asked) -> dict[str, float]:
    sites = [site for side in asked.sites() for site in side]
    model = load_model(asked.model, device="cpu")
    outs = [Path(asked.folder) / str(site) for site in sites]
    forget_peak_memory()
    started = time.perf_counter()
    record(model, "stdlib", sites, outs, tokens=asked.tokens)
    return {"s": time.perf_counter() - started, "mb": peak_memory() / 1e6}


def trained(asked: Asked) -> dict[str, float]:
    reads, writes = ([Path(asked.folder) / each for each in side] for side in (asked.reads, asked.writes))
    source = Activations.open(reads[0]) if len(reads) == 1 and not writes else Pairs.open(reads, writes or None)
    sides = ([len(part.mean) for part in side] for side in source.parts)
    shape = {**dictionaries.across(asked.architecture, *sides), "k": asked.k}
    shape |= {"skip": True} if asked.skip else {}

    def run(features: int, folder: str, batch_size: int, epochs: int) -> None:
        config = dictionaries.make(asked.architecture, {**shape, "n_features": features}).config
        train(source, [config], [folder], epochs=epochs, batch_size=batch_size, device="cpu")

    with tempfile.TemporaryDirectory() as folder:
        run(asked.k + 64, f"{folder}/small", source.train.n_tokens // 4, 1)  # compiles
        release_buffers()
        release_unused_memory()
        before = used_memory()
        forget_peak_memory()
        started = time.perf_counter()
        run(asked.features, f"{folder}/real", asked.batch_size, asked.epochs)
        return {"s": time.perf_counter() - started, "mb": (peak_memory() - before) / 1e6}


def apart(what: str, asked: Asked) -> dict[str, float]:
    """Do it in a process of its own."""
    command = [sys.executable, str(Path(__file__).resolve()), "--do", what, json.dumps(asdict(asked))]
    print(f"{what}: {asked.architecture}{' transcoder' if asked.writes else ''}", file=sys.stderr)
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure(args: argparse.Namespace, folder: str) -> list[Row]:
    site = Site.parse(args.site)
    across = (f"L{site.layer}.mlp_in",), (f"L{site.layer}.mlp_out",)
    common: dict[str, Any] = {
        "model": args.model, "tokens": args.tokens, "features": args.features, "k": args.k, "epochs": args.epochs,
        "batch_size": args.batch_size, "folder": folder,
    }  # fmt: skip
    itself = [
        Asked(reads=(args.site,), writes=(), architecture=name, skip=False, **common) for name in args.architectures
    ]
    asked = [*itself, Asked(reads=across[0], writes=across[1], architecture="topk", skip=True, **common)]
    rows = []
    for i, each in enumerate(asked):
        planned = apart("plan", each)
        if i in (0, len(itself)):
            took = apart("record", each)
            what = "record" if i == 0 else "record two sites"
            rows.append(_row(what, planned["record_s"], took["s"], planned["record_mb"], took["mb"]))
        took = apart("train", each)
        what = f"train {each.architecture}" + (", skip transcoder" if each.writes else "")
        rows.append(_row(what, planned["train_s"], took["s"], planned["train_mb"], took["mb"]))
    return rows


def _row(what: str, *numbers: float) -> Row:
    return Row(what, *(round(number, 2) for number in numbers))


def show(console: Console, rows: list[Row]) -> None:
    table = Table(title="Planned, and what it took")
    for i, title in enumerate(("", "planned s", "took s", "ratio", "planned MB", "took MB", "ratio")):
        table.add_column(title, justify="right" if i else "left")
    for row in rows:
        numbers = []
        for planned, took, bar in ((row.planned_s, row.took_s, TIME), (row.planned_mb, row.took_mb, MEMORY)):
            ratio = planned / took
            colour = "green" if max(ratio, 1 / ratio) <= bar else "red"
            numbers += [f"{planned:,.1f}", f"{took:,.1f}", f"[{colour}]{ratio:.2f}[/]"]
        table.add_row(row.what, *numbers)
    console.print(table)
    console.print(f"Bars: time within {TIME}, memory within {MEMORY}, either way.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print only the list of rows on standard output")
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--site", default="L9.resid_post")
    parser.add_argument("--tokens", type=int, default=150_000)
    parser.add_argument("--features", type=int, default=4_608)
    parser.add_argument("--k", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=2_048)
    parser.add_argument("--architectures", nargs="+", default=list(ARCHITECTURES))
    parser.add_argument("--do", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.do:
        what, told = args.do
        said = json.loads(told).items()
        known: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in said}
        asked = Asked(**known)
        with contextlib.redirect_stdout(sys.stderr):
            found = {"plan": plan, "record": recorded, "train": trained}[what](asked)
        print(json.dumps(found))
        return
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(args, folder)
    show(Console(stderr=args.json), rows)
    if args.json:
        print(json.dumps([asdict(row) for row in rows], indent=1))


if __name__ == "__main__":
    main()
