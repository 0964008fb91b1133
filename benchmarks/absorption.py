"""Absorption and hedging ("A is for Absorption", arXiv 2409.14507; feature hedging, arXiv 2505.11756), reproduced in
the two smallest worlds that have them, and which architectures avoid them.

    python benchmarks/absorption.py            # about 6 minutes on 2 idle cores
    python benchmarks/absorption.py --json     # only the list of rows on standard output

Each architecture trains with its defaults on a world in which a child never fires without its parent (20 features,
k = 2), on the same world with all features independent (the control), and on one where it has no room for the children
(4 features for 4 parents, k = 1), at q = .2 and .5.

Rows are {architecture, seed, gap, control_gap, child_writes_parent, hedge_02, hedge_05, expected_02, expected_05,
found}. gap: recall of the parent's feature without the child less recall with it; 1 is absorbed, 0 right; null where no
feature of the dictionary and the parent resemble each other most. child_writes_parent: the parent's share in what the
child's feature writes, .71 if absorbed. hedge: the child's share in what the parent's feature writes; expected: what
least error asks of a dictionary without room.
"""

import argparse
import contextlib
import json
import math
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from physalis import dictionaries
from physalis.dictionaries import ARCHITECTURES, Crosscoder, CrossLayer, Dictionary
from physalis.lab.absorption import absorbing_world, hedging_world, measure_absorption, measure_hedging
from physalis.lab.worlds import World
from physalis.training.training import train

ARCHITECTURES_OF_ONE_SITE = tuple(k.__name__.lower() for k in ARCHITECTURES if k not in (Crosscoder, CrossLayer))


def trained(world: World, architecture: str, n_features: int, k: int, seed: int, samples: int) -> Dictionary:
    config = dictionaries.make(
        architecture, {"d_in": world.d, "d_out": world.d, "n_features": n_features, "k": k}
    ).config
    with tempfile.TemporaryDirectory() as folder:
        source = world.samples(samples, seed=seed)
        return train(source, [config], [Path(folder) / "d"], epochs=1, batch_size=1_024, seed=seed, device="cpu")[0]


def row(architecture: str, seed: int, samples: int) -> dict[str, Any]:
    absorbing, control = absorbing_world(seed=seed), absorbing_world(implied=False, seed=seed)
    found = measure_absorption(trained(absorbing, architecture, 20, 2, seed, samples), absorbing)
    free = measure_absorption(trained(control, architecture, 20, 2, seed, samples), absorbing)
    made: dict[str, Any] = {
        "architecture": architecture, "seed": seed, "gap": found.gap, "found": found.found,
        "control_gap": free.gap, "child_writes_parent": found.child_writes[0],
    }  # fmt: skip
    for q, name in ((0.2, "02"), (0.5, "05")):
        world = hedging_world(q, seed=seed)
        hedging = measure_hedging(trained(world, architecture, 4, 1, seed, samples), world)
        made |= {f"hedge_{name}": hedging.parent_writes[1], f"expected_{name}": hedging.expected[1]}
    return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in made.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--samples", type=int, default=1_000_000)
    parser.add_argument("--only", nargs="+", choices=ARCHITECTURES_OF_ONE_SITE, default=ARCHITECTURES_OF_ONE_SITE)
    parser.add_argument("--json", action="store_true", help="print only the list of rows on standard output")
    args = parser.parse_args()
    with contextlib.redirect_stdout(sys.stderr):
        rows = [row(name, seed, args.samples) for name in args.only for seed in range(args.seeds)]
    table = Table(box=None, header_style="dim")
    names = ("gap", "control_gap", "child_writes_parent", "hedge_02", "expected_02", "hedge_05", "expected_05")
    for name in ("", "seed", *names, "found"):
        table.add_column(name.replace("_", " "), justify="left" if not name else "right")
    for each in rows:
        cells = ["–" if each[name] is None else f"{each[name]:.2f}" for name in names]
        table.add_row(each["architecture"], str(each["seed"]), *cells, f"{each['found']} of 5")
    Console(stderr=args.json, width=None if sys.stdout.isatty() else 130).print(table)
    if args.json:
        print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
