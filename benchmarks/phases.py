"""The phase diagram of two features in one dimension: all its models in one compiled run, against the same experiment
written as one torch model after the other.

    python benchmarks/phases.py            # about a minute on 2 idle cores
    python benchmarks/phases.py --json     # only the list of rows on standard output

Both train models of importance r and density p, spread over the grid, with the same number of steps, batch and
learning rate, and draw their inputs afresh at every step. The compiled run is timed whole, after one that compiles it.
The loop is timed for a handful of cells and extrapolated: a model costs the same wherever it lies.

Rows are {way, models, timed_models, steps, batch, seconds, milliseconds_per_model, times_faster, agree}. seconds: for
all models. times_faster: the loop's seconds over this row's. agree: of the cells that the loop trained, how many end in
the phase that the best compiled model of the cell is in; single models may end in another.
"""

import argparse
import json
import sys
import time
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from physalis.lab.toys.superposition.phases import phase, phase_diagram

LR = 1e-2


def one_model(r: float, p: float, steps: int, batch: int) -> np.ndarray:
    """The weights of one model, as one would write it first."""
    w = torch.nn.Parameter(torch.randn(1, 2) * (2 / 3) ** 0.5)
    b = torch.nn.Parameter(torch.zeros(2))
    importance = torch.tensor([1.0, r])
    adam = torch.optim.Adam([w, b], lr=LR)
    falling = torch.optim.lr_scheduler.LambdaLR(adam, lambda step: 1 - step / steps)
    for _ in range(steps):
        x = torch.rand(batch, 2) * (torch.rand(batch, 2) < p)
        loss = (importance * (x - (x @ w.T @ w + b).relu()).square()).sum(1).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        falling.step()
    return w.detach().double().numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grid", type=int, default=24)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=2_000)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--models", type=int, default=6, help="cells that the loop trains")
    parser.add_argument("--json", action="store_true", help="print only the list of rows on standard output")
    args = parser.parse_args()
    phase_diagram(grid=2, seeds=1, steps=10, batch=8)  # compiles
    began = time.perf_counter()
    diagram = phase_diagram(grid=args.grid, seeds=args.seeds, steps=args.steps, batch=args.batch)
    compiled = time.perf_counter() - began
    torch.manual_seed(0)
    cells = np.random.default_rng(0).integers(0, args.grid, (args.models, 2))
    one_model(1.0, 0.5, 20, args.batch)
    began = time.perf_counter()
    made = [one_model(float(diagram.r[i]), float(diagram.p[j]), args.steps, args.batch) for i, j in cells]
    each = (time.perf_counter() - began) / args.models
    agree = sum(int(phase(w)[0] == diagram.best[i, j]) for w, (i, j) in zip(made, cells, strict=True))
    models = args.grid**2 * args.seeds
    rows: list[dict[str, Any]] = [
        {
            "way": way, "models": models, "timed_models": timed, "steps": args.steps, "batch": args.batch,
            "seconds": round(seconds, 2), "milliseconds_per_model": round(1e3 * seconds / models, 3),
            "times_faster": round(each * models / seconds, 2), "agree": same,
        }
        for way, timed, seconds, same in (
            ("physalis", models, compiled, None), ("torch, one model at a time", args.models, each * models, agree),
        )
    ]  # fmt: skip
    table = Table(box=None, header_style="dim")
    for name in ("", "models", "seconds", "ms per model", "times faster"):
        table.add_column(name, justify="left" if not name else "right")
    for row in rows:
        table.add_row(
            row["way"], f"{row['models']:,}", f"{row['seconds']:,.1f}", f"{row['milliseconds_per_model']:.2f}",
            f"{row['times_faster']:.1f}",
        )  # fmt: skip
    Console(stderr=args.json, width=None if sys.stdout.isatty() else 130).print(table)
    if args.json:
        print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
