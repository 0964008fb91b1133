"""The atlas: time to build one against the time of encoding its tokens once, and answers from a synthetic large one.

    python benchmarks/atlas.py --json        # the first run records and trains (minutes); later ones reuse that
    python benchmarks/atlas.py --only serve --features 100000

Rows are {name, value, unit, bar}: bar is what the project promises, or null.
"""

import argparse
import contextlib
import json
import shutil
import sqlite3
import statistics
import sys
import time
from pathlib import Path

import numpy as np
from fastapi.testclient import TestClient

from physalis import artifact
from physalis.artifact import Manifest
from physalis.atlas import Atlas
from physalis.atlas.feature_pages import PageShape, empty_pages, pack
from physalis.atlas.headlines import headline, weighted_words
from physalis.atlas.records import Estimate, Histogram, Summary
from physalis.atlas.schema import DATABASE, METRICS, SNIPPET, StoreWriter
from physalis.atlas.search_index import WordIndex
from physalis.web.atlas.app import create_app

SHAPE = PageShape(
    top=16,
    intervals=6,
    per_interval=5,
    before=32,
    after=16,
    tokens=16,
    effects=12,
    neighbours=12,
    bins=40,
    token_bytes=2,
)
VOCABULARY = 49_152


def synthetic_atlas(folder: Path, n_features: int, *, seed: int = 0) -> Atlas:
    """An atlas of random features over made-up words, distributed as words are, written by the same code."""
    rng = np.random.default_rng(seed)
    syllables = [c + v for c in "bdfgklmnprstvz" for v in ("a", "e", "i", "o", "u", "ai", "or", "en")]
    strings = {i: " " + "".join(rng.choice(syllables, 1 + i.bit_length() // 5)) for i in range(VOCABULARY)}
    frequency = 1 / np.arange(10, VOCABULARY + 10)
    cumulative = np.cumsum(frequency / frequency.sum())
    columns = {name: rng.lognormal(0, 1, n_features) for name in METRICS}
    columns["density"] = 10 ** rng.uniform(-5, -1, n_features)
    columns["n_fired"] = np.floor(np.maximum(1, columns["density"] * 1e7))
    columns["nearest_cosine"] /= 1 + columns["nearest_cosine"]
    columns |= {"x": rng.random(n_features), "y": rng.random(n_features), "region": rng.integers(0, 40, n_features)}
    lines, words, snippets = [], WordIndex(), np.zeros(n_features, SNIPPET)
    job = {"n_features": n_features, "seed": seed}
    with artifact.claim(folder, "atlas", job) as done:
        if done is None:
            with StoreWriter(folder / DATABASE, SHAPE) as store:
                for first in range(0, n_features, 500):
                    pages = _pages(
                        rng, min(500, n_features - first), n_features, cumulative, columns["max_code"][first:]
                    )
                    store.pages(pack(pages, SHAPE))
                    snippets[first : first + len(pages)]["tokens"] = pages["example_tokens"][:, 0, :13]
                    snippets[first : first + len(pages)]["codes"] = pages["example_codes"][:, 0, :13]
                    for i, page in enumerate(pages):
                        tokens = [strings[t] for t in page["token"].tolist()]
                        promoted = [strings[t] for t in page["promoted"].tolist()]
                        examples = [
                            "".join(strings[t] for t in row) for row in page["example_tokens"][:16, :9].tolist()
                        ]
                        lines.append(headline(tokens, [0.2] * len(tokens), promoted))
                        words.add(first + i, weighted_words(lines[-1], tokens, promoted, examples))
                store.finish(
                    columns=columns, headlines=lines, snippets=snippets, words=words, pieces=strings,
                    summary=_summary(n_features), regions=[f"region {i}" for i in range(40)],
                )  # fmt: skip
            facts = {"n_features": n_features, "bytes": (folder / DATABASE).stat().st_size}
            artifact.finish(folder, Manifest(kind="atlas", config={}, seed=seed, facts=facts), [DATABASE])
    return Atlas.open(folder)


def _pages(
    rng: np.random.Generator, n: int, n_features: int, cumulative: np.ndarray, max_code: np.ndarray
) -> np.ndarray:
    pages = empty_pages(SHAPE, n)
    for name in ("example_tokens", "token", "promoted", "suppressed"):
        pages[name] = np.searchsorted(cumulative, rng.random(pages[name].shape))
    codes = rng.integers(1, 65536, pages["example_codes"].shape)
    pages["example_codes"] = np.where(rng.random(codes.shape) < 0.12, codes, 0)
    pages["example_peak"], pages["example_document"] = 32, rng.integers(0, 9999, pages["example_document"].shape)
    pages["max_code"], pages["n_fired"], pages["logit_range"] = max_code[:n], 1000, (-1, 2)
    for name in ("nearest", "cofiring"):
        pages[name] = rng.integers(0, n_features, pages[name].shape)
    for name in ("counts", "logit_counts"):
        pages[name] = rng.integers(0, 1000, pages[name].shape)
    for name in ("token_share", "promoted_logit", "nearest_cosine", "cofiring_correlation"):
        pages[name] = np.sort(rng.random(pages[name].shape).astype(np.float32), axis=1)[:, ::-1]
    return pages


def _summary(n_features: int) -> Summary:
    one = Estimate(value=0, low=0, high=0)
    return Summary(
        name="synthetic", model="none", site="L0.resid_post", architecture="TopK", n_features=n_features, k=32,
        d_in=576, n_tokens=10_000_000, n_trained=0, text="random", held_out=False, baselines=[], left_out={}, n_dead=0,
        metrics=dict.fromkeys(("fvu", "l0", "dead_fraction", "dense_fraction"), one), striking=[],
        density_histogram=Histogram(edges=[], counts=[]), provenance={},
    )  # fmt: skip


def serve_rows(folder: Path, n_features: int) -> list[dict]:
    """Times of random pages, two-word searches and sorted lists."""
    started = time.perf_counter()
    atlas = synthetic_atlas(folder, n_features)
    rows = [row("write a synthetic atlas", time.perf_counter() - started, "s"),
            row("size", (folder / DATABASE).stat().st_size / 1e6, "MB")]  # fmt: skip
    rng = np.random.default_rng(1)
    with contextlib.closing(sqlite3.connect(folder / DATABASE)) as db:
        common = sorted(db.execute("SELECT length(ids) / 4, word FROM words").fetchall(), reverse=True)
    words = [word for _, word in common]
    pairs = {
        "the commonest words": [f"{a} {b}" for a in words[:5] for b in words[:5] if a != b],
        "random words": [" ".join(rng.choice(words, 2)) for _ in range(50)],
        "a common word and an unfinished one": [f"{a} {b[:1]}" for a in words[:5] for b in words[:5]],
    }
    ids = rng.integers(0, n_features, 300).tolist()
    browser = TestClient(create_app(atlas))

    def get(url: str, **params: str) -> None:
        browser.get(url, params=params).raise_for_status()

    rows.append(timed("Atlas[id]", [lambda i=i: atlas[i] for i in ids], None))
    rows.append(timed("feature page through the app", [lambda i=i: get(f"/features/{i}") for i in ids], 50))
    rows.append(timed("its JSON", [lambda i=i: get(f"/features/{i}.json") for i in ids], 50))
    for name, queries in pairs.items():
        rows.append(timed(f"search, {name}", [lambda q=q: get("/features.json", query=q) for q in queries], 50))
    lists = [
        lambda s=s, o=o: get("/features.json", sort=s, offset=str(o)) for s in METRICS for o in (0, n_features // 2)
    ]
    rows.append(timed("sorted list", lists, 50))
    rows.append(timed("map, first time", [lambda: atlas.map().model_dump_json()] * 3, None))
    return rows


def timed(name: str, calls: list, bar: float | None) -> dict:
    calls[0]()
    times = []
    for call in calls:
        started = time.perf_counter()
        call()
        times.append(1000 * (time.perf_counter() - started))
    p95 = statistics.quantiles(times, n=20)[-1]
    return row(f"{name}, p95 of {len(times)}", p95, "ms", bar) | {"p50": round(statistics.median(times), 2)}


def build_rows(folder: Path, tokens: int) -> list[dict]:
    """Time of build_atlas against reading and encoding the same tokens once, in turns, the best of two each."""
    import torch  # here, because serving needs none

    from physalis import dictionaries
    from physalis.atlas.build.building import build_atlas
    from physalis.dictionaries import TopKConfig
    from physalis.models import load_model
    from physalis.placement.encoding import CHUNK
    from physalis.recording import record
    from physalis.site import Site
    from physalis.training.training import train

    model = load_model("smollm2")
    acts = record(model, "stdlib", [Site("resid_post", 9)], [folder / "acts"], tokens=tokens)[0]
    train(acts, [TopKConfig(d_in=acts.d, d_out=acts.d, n_features=8 * acts.d, k=32)], [folder / "sae"], epochs=1)
    coder = dictionaries.load(folder / "sae")
    coder.encode(next(iter(acts.ordered(CHUNK))).x)
    encode, build = [], []
    for turn in range(3):  # the first build compiles
        started, cpu = time.perf_counter(), time.process_time()
        with torch.no_grad():
            for x, _ in acts.ordered(CHUNK):
                coder.encode(x)
        encode.append((time.perf_counter() - started, time.process_time() - cpu))
        shutil.rmtree(folder / "atlas", ignore_errors=True)
        started, cpu = time.perf_counter(), time.process_time()
        build_atlas(folder / "sae", folder / "acts", model, folder / "atlas", causes=0)
        build.append((time.perf_counter() - started, time.process_time() - cpu))
        print(f"turn {turn}: encode {encode[-1]}, build {build[-1]} (wall, processor s)", file=sys.stderr)
    (encode_s, encode_cpu), (build_s, build_cpu) = min(encode), min(build[1:])
    return [
        row("tokens", acts.n_tokens, "tokens"),
        row("encode once", encode_s, "s"),
        row("build_atlas", build_s, "s"),
        row("first build, compiling", build[0][0], "s"),
        row("build / encode", build_s / encode_s, "times", 1.5),
        row("build / encode, processor time", build_cpu / encode_cpu, "times"),
    ]


def row(name: str, value: float, unit: str, bar: float | None = None) -> dict:
    return {"name": name, "value": round(value, 3), "unit": unit, "bar": bar}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("build", "serve"))
    parser.add_argument("--folder", type=Path, default=Path("/tmp/physalis-bench-atlas"), help="kept between runs")
    parser.add_argument(
        "--tokens", type=int, default=302_500, help="recorded for the build; BOS positions are left out"
    )
    parser.add_argument("--features", type=int, default=100_000, help="of the synthetic atlas")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    rows = []
    if args.only != "serve":
        rows += build_rows(args.folder, args.tokens)
    if args.only != "build":
        rows += serve_rows(args.folder / f"synthetic-{args.features}", args.features)
    if args.json:
        print(json.dumps(rows, indent=1))
        return
    for r in rows:
        bar = f"   (bar {r['bar']})" if r["bar"] else ""
        print(f"{r['name']:<50} {r['value']:>12,} {r['unit']}{bar}")


if __name__ == "__main__":
    main()
