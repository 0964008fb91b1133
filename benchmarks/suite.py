"""The evaluation suite on SmolLM2-135M: TopK, BatchTopK and Matryoshka at equal L0, five seeds of each.

    python benchmarks/suite.py               # 90 minutes beside ten other processes on 2 cores; idle, not timed yet
    python benchmarks/suite.py --json        # only the list of rows on standard output
    python benchmarks/suite.py --seeds 3 --world-samples 0

1. 60,000 tokens of Python's own library are recorded once, at L9.resid_post.
2. Each architecture is trained from five seeds: 1,024 features, k = 32, eight passes. All seeds of an architecture, and
   all architectures of a seed, read the same batches.
3. `evaluate_suite` judges them: each round another seed of each, and other texts, halves, documents and features.
What is finished is kept in --out and not made again.

Rows are {metric, dictionary, value, noise, role, low, high, smallest_difference, l0, differs_from}: noise is the
standard deviation over rounds, low and high the mean's 95 % interval, differs_from the other architectures from which
the paired difference means something (false-discovery rate 5 % over all that are shown). Metrics that misrank the
diagnostics have a row without value: {metric, dropped}.
"""

import argparse
import contextlib
import json
import sys
import time
from pathlib import Path
from typing import Any

from train_step import CACHE

from physalis import artifact, dictionaries
from physalis.activations import Activations
from physalis.cli.shown import suites as shown
from physalis.models import Model, load_model
from physalis.recording import record
from physalis.site import Site
from physalis.suites import Suite, evaluate_suite
from physalis.training.training import train

SITE = Site("resid_post", 9)
TOKENS, FEATURES, K, EPOCHS, BATCH = 60_000, 1_024, 32, 8, 1_024
SMALL: dict[str, Any] = {"texts": 160, "length": 48, "splice_tokens": 1_024, "features": 20}
"""What a round takes, so that five are done in minutes."""
ARCHITECTURES = ("topk", "batchtopk", "matryoshka")


def trained(source: Activations, seeds: int, out: Path) -> list[Path]:
    """A folder for each architecture and seed, all there."""
    shape = {"d_in": source.d_in, "d_out": source.d_out, "n_features": FEATURES, "k": K}
    folders = []
    for seed in range(seeds):
        of_seed = [out / f"{name}-{seed}" for name in ARCHITECTURES]
        if not all((each / artifact.MANIFEST).exists() for each in of_seed):
            configs = [dictionaries.make(name, shape).config for name in ARCHITECTURES]
            train(source, configs, of_seed, epochs=EPOCHS, batch_size=BATCH, seed=seed)
        folders += of_seed
    return folders


def run(model: Model, out: Path, seeds: int, world_samples: int, probes: Path | None) -> Suite:
    (source,) = record(model, "stdlib", [SITE], [out / "activations"], tokens=TOKENS)
    folders = trained(source, seeds, out)
    return evaluate_suite(
        folders, source, model, out / f"suite-{seeds}-{world_samples}", rounds=max(seeds, 3), probes=probes,
        world_samples=world_samples, **SMALL,
    )  # fmt: skip


def rows(found: Suite) -> list[dict[str, Any]]:
    """As the module says."""
    l0 = {name: each["l0"] for name, each in found.manifest.facts["dictionaries"].items()}
    differs: dict[tuple[str, str], list[str]] = {}
    for each in found.differences:
        if each.means_something:
            differs.setdefault((each.metric, each.a), []).append(each.b)
            differs.setdefault((each.metric, each.b), []).append(each.a)
    keys = ("metric", "dictionary", "value", "noise", "role", "low", "high", "smallest_difference")
    made: list[dict[str, Any]] = [
        {
            **{key: getattr(each, key) for key in keys}, "l0": l0.get(each.dictionary),
            "differs_from": differs.get((each.metric, each.dictionary), []),
        }
        for each in found.scores
    ]  # fmt: skip
    return made + [{"metric": each.metric, "dropped": each.why} for each in found.dropped]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=5, help="of each architecture, and rounds")
    parser.add_argument("--world-samples", type=int, default=200_000, help="to train on in a world; 0 for no world")
    parser.add_argument("--probes", type=Path, help="wheel of sae-probes; fetched once unless given")
    parser.add_argument("--out", type=Path, default=CACHE / "suite", help="folder to work in; what is there is reused")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    began = time.perf_counter()
    with contextlib.redirect_stdout(sys.stderr):
        found = run(load_model("smollm2"), args.out, args.seeds, args.world_samples, args.probes)
    if args.json:
        print(json.dumps(rows(found), indent=1))
    else:
        shown.show(found, json=False)
    print(f"{time.perf_counter() - began:,.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
