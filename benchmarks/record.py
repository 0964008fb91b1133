"""How fast recording is next to the forward pass it consists of, and shuffled reads next to sequential ones.

    python benchmarks/record.py [--json] [--tokens 131072] [--repeats 3]

``forward``: the model's blocks up to the site, called directly on the same contexts in batches of the same shape.
``record``: all of ``record`` into an empty folder: reading and packing the text, pilot, passes, shuffling, hashing,
writing. ``record_sites``: the same for three sites in one pass, none deeper than the one of ``record``.
``read_sequential``, ``read_shuffled``: batches of 2,048 rows of what was recorded, from the page cache.
The two of a pair take turns, and each row is the median over the repeats.
"""

import argparse
import copy
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from physalis.activations import Activations
from physalis.models import Model, load_model
from physalis.recording import record
from physalis.site import Site

LAYER, CONTEXT, BATCH, ROWS, PASSES = 9, 128, 32, 2048, 20
BESIDE = (Site("mlp_in", LAYER), Site("mlp_out", LAYER))


def truncated(model: Model) -> nn.Module:
    """The first blocks of a Llama-like model, and nothing after them."""
    whole = model.hf.get_submodule("model")
    bare = copy.copy(whole)
    bare._modules = dict(whole._modules)
    bare.layers = nn.ModuleList([*whole.get_submodule("layers").children()][: LAYER + 1])
    bare.norm = nn.Identity()
    return bare


def rate(n: int, work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return n / (time.perf_counter() - started)


def recording(model: Model, tokens: int, repeats: int, folder: Path) -> tuple[dict[str, list[float]], Activations]:
    site, bare = Site("resid_post", LAYER), truncated(model)
    rates: dict[str, list[float]] = {"forward": [], "record": [], "record_sites": []}

    def recorded(out: Path, tokens: int, *more: Site) -> Activations:
        sites = [site, *more]
        outs = [out / str(each) for each in sites]
        return record(model, "stdlib", sites, outs, tokens=tokens, context=CONTEXT, batch=BATCH)[0]

    # A first recording, not timed, gives the contexts to both and warms everything up.
    acts = recorded(folder / "first", CONTEXT * BATCH * 2)
    ids = torch.from_numpy(np.array(acts.tokens[:BATCH], dtype=np.int64)).to(model.device)

    def forward() -> None:
        with torch.inference_mode():
            for _ in range(passes):
                x = bare(ids, use_cache=False).last_hidden_state
            x.sum().item()  # waits for a GPU

    expected = model.run(ids, read=[site])[site]
    with torch.inference_mode():
        assert torch.equal(bare(ids, use_cache=False).last_hidden_state, expected), "not the same computation"
    passes = max(1, tokens // (2 * BATCH * CONTEXT))
    for i in range(repeats):
        # Half before and half after, so that a machine that slows down slows both.
        before = rate(passes * BATCH * CONTEXT, forward)
        out = folder / str(i)
        started = time.perf_counter()
        acts = recorded(out, tokens)
        rates["record"].append(acts.tokens.size / (time.perf_counter() - started))
        rates["forward"].append(2 / (1 / before + 1 / rate(passes * BATCH * CONTEXT, forward)))
        started = time.perf_counter()
        recorded(folder / f"{i}-sites", tokens, *BESIDE)
        rates["record_sites"].append(acts.tokens.size / (time.perf_counter() - started))
    return rates, acts


def reading(acts: Activations, repeats: int) -> dict[str, list[float]]:
    def sequential() -> None:
        for _ in range(PASSES):
            for _ in acts.ordered(ROWS):
                pass

    def shuffled() -> None:
        for _ in acts.batches(ROWS, seed=0, epochs=PASSES):
            pass

    rates: dict[str, list[float]] = {"read_sequential": [], "read_shuffled": []}
    sequential()
    for _ in range(repeats):
        rates["read_sequential"].append(rate(PASSES * acts.n_tokens, sequential))
        rates["read_shuffled"].append(rate(PASSES * acts.n_tokens, shuffled))
    return rates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print a list of rows and nothing else")
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--tokens", type=int, default=131_072, help="recorded each time")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    model = load_model(args.model)
    with tempfile.TemporaryDirectory() as folder:
        rates, acts = recording(model, args.tokens, args.repeats, Path(folder))
        reads = reading(acts, 2 * args.repeats + 1)
    rows = []
    for name, found in {**rates, **reads}.items():
        row = {"implementation": name, "tokens_per_s": round(statistics.median(found), 1)}
        if name.startswith("read"):
            row["mb_per_s"] = round(row["tokens_per_s"] * 2 * acts.d / 1e6, 1)
        rows.append(row)
    if args.json:
        print(json.dumps(rows, indent=1))
        return
    for row in rows:
        print(
            f"{row['implementation']:<16}{row['tokens_per_s']:>14,.0f} tokens/s"
            + (f"{row['mb_per_s']:>10,.0f} MB/s" if "mb_per_s" in row else "")
        )
    for one, other, bar in (("record", "forward", 0.9), ("read_shuffled", "read_sequential", 0.5)):
        both = {**rates, **reads}
        share = statistics.median(a / b for a, b in zip(both[one], both[other], strict=True))
        print(f"{one} / {other}: {share:.2f} (bar {bar})", file=sys.stderr)


if __name__ == "__main__":
    main()
