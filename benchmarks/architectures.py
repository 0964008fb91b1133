"""Every architecture on a real model: SmolLM2-135M's L9.resid_post, 8 times its width, with the defaults.

    python benchmarks/architectures.py            # about 25 minutes on 2 idle cores
    python benchmarks/architectures.py --json     # only the list of rows on standard output

1. 300,000 tokens of Python's own library are recorded once.
2. Each architecture trains three passes at k = 32; JumpReLU and L1 also at 16 and 64, to see whether they land
   on the L0 that was asked for. A dictionary that is finished is not trained again. Crosscoder and cross-layer
   transcoder join sites; of the one site here they make a BatchTopK.
3. All are judged on the same held-out tokens, spliced into the same forward passes.

Rows are {architecture, k, fvu, ce_increase, dead_fraction, l0, tokens_per_s}; metrics are {value, low, high}, 95 %
over contexts or, for dead_fraction, over features. tokens_per_s is of training, reading included; null where an earlier
run trained it.
"""

import argparse
import contextlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from train_step import CACHE

from physalis import artifact, dictionaries
from physalis.activations import Activations
from physalis.dictionaries import ARCHITECTURES
from physalis.evaluation import measure
from physalis.models import load_model
from physalis.recording import record
from physalis.site import Site
from physalis.training.training import train

SITE = Site("resid_post", 9)
TOKENS, TIMES, K, SEED = 300_000, 8, 32, 0
ASKED = (16, 64)
PENALISED = ("jumprelu", "l1")


def runs() -> list[tuple[str, int]]:
    """Architectures, and the k they are asked for."""
    names = [kind.__name__.lower() for kind in ARCHITECTURES]
    return [(name, K) for name in names] + [(name, k) for name in PENALISED for k in ASKED]


def trained(source: Activations, architecture: str, k: int, out: Path) -> float | None:
    """Train into ``out``; tokens a second, or None if it was there."""
    if (out / artifact.MANIFEST).exists():
        return None
    shape = {"d_in": source.d_in, "d_out": source.d_out, "n_features": TIMES * source.d_in, "k": k}
    began = time.perf_counter()
    train(source, [dictionaries.make(architecture, shape).config], [out], seed=SEED)
    return artifact.read(out, "dictionary").facts["n_tokens"] / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=CACHE / "architectures", help="finished parts are kept here")
    parser.add_argument("--tokens", type=int, default=TOKENS)
    parser.add_argument("--only", nargs="+", help="architectures")
    parser.add_argument("--json", action="store_true", help="print only the list of rows on standard output")
    args = parser.parse_args()
    out, load = args.out, os.getloadavg()
    wanted = [(name, k) for name, k in runs() if not args.only or name in args.only]
    with contextlib.redirect_stdout(sys.stderr):
        model = load_model("smollm2")
        acts = record(model, "stdlib", [SITE], [out / "activations"], tokens=args.tokens, seed=SEED)[0]
        rates = {(name, k): trained(acts, name, k, out / f"{name}-{k}") for name, k in wanted}
        subjects = {f"{name}-{k}": dictionaries.load(out / f"{name}-{k}") for name, k in wanted}
        found = measure(subjects, acts, model, splice_tokens=4_096, firing_tokens=300_000, seed=SEED)
    names = ("fvu", "ce_increase", "dead_fraction", "l0")
    rows: list[dict[str, Any]] = [
        {"architecture": name, "k": k, "tokens_per_s": rates[name, k]} | {m: found[f"{name}-{k}"][m] for m in names}
        for name, k in wanted
    ]
    pca = {"architecture": "pca", "k": K, "tokens_per_s": None, "dead_fraction": None}
    rows.append(pca | {m: found["linear"][m] for m in ("fvu", "ce_increase", "l0")})
    show(Console(stderr=args.json, width=None if sys.stdout.isatty() else 130), rows, load)
    if args.json:
        print(json.dumps(rows, indent=1))


def interval(metric: dict[str, float] | None, digits: int) -> str:
    if metric is None:
        return ""
    low, high = f"{metric['low']:.{digits}f}", f"{metric['high']:.{digits}f}"
    return f"{metric['value']:.{digits}f} [{low}, {high}]"


def show(console: Console, rows: list[dict[str, Any]], load: tuple[float, float, float]) -> None:
    table = Table(title=f"load at the start {load[0]:.1f}", title_justify="left", box=None, header_style="dim")
    for name in ("", "k", "FVU", "loss added, nats", "dead", "L0", "tokens/s"):
        table.add_column(name, justify="left" if not name else "right")
    for row in rows:
        cells = [interval(row["fvu"], 3), interval(row["ce_increase"], 3), interval(row["dead_fraction"], 3)]
        rate = row["tokens_per_s"]
        table.add_row(
            row["architecture"], str(row["k"]), *cells, f"{row['l0']['value']:.1f}", f"{rate:,.0f}" if rate else ""
        )
    console.print(table)
    for row in rows:
        if row["architecture"] in PENALISED:
            off = row["l0"]["value"] / row["k"] - 1
            met = "met   " if abs(off) <= 0.05 else "MISSED"
            console.print(f"{met} {row['architecture']} asked for {row['k']}: L0 is {off:+.1%} off, bar 5 %")


if __name__ == "__main__":
    main()
