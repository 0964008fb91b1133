"""Every kind of dictionary judged three times: by evaluate, by the atlas and by a few lines of plain torch; and its
features explained by rules and scored.

    python benchmarks/kinds.py            # some minutes on 2 cores: a tiny model, and dictionaries trained on it
    python benchmarks/kinds.py --json     # only the list of rows on standard output

1. A tiny model with random weights reads a few hundred short documents; what the MLPs of two blocks read and write and
   the residual stream after both are recorded at the same positions.
2. Every architecture is trained as an autoencoder, a transcoder, and with a skip path where it may have one. One that
   normalises each token is not trained here but made of a trained one's weights, as converted ones are.
3. FVU on held-out text: what ``evaluate`` says, what an atlas says that is built without an evaluation, and what plain
   torch gives from the stored weights.
4. Rules of some features, scored by every task that needs no model: an oracle must come out right on each.

Rows are {architecture, kind, fvu_evaluate, fvu_atlas, fvu_torch, rules, oracle}: numbers, or the sentence by which a
verb refuses. ``rules`` is detection by rules, balanced accuracy; ``oracle`` the worst that an oracle does at any task.
"""

import argparse
import contextlib
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from physalis import artifact, dictionaries
from physalis.activations import Activations, Pairs
from physalis.artifact import Manifest
from physalis.atlas.build.building import build_atlas
from physalis.dictionaries import ARCHITECTURES, Crosscoder, CrossLayer, Dictionary, L1Resampled
from physalis.errors import BadInput
from physalis.evaluation import evaluate
from physalis.explanations import explain
from physalis.judging import score
from physalis.models import Model, tiny_model
from physalis.recording import record
from physalis.site import Site
from physalis.training.training import train

SITES = [Site(name, layer) for layer in (0, 1) for name in ("mlp_in", "mlp_out")] + [Site("resid_post", 1)]
TOLERANCE = 1e-3  # relative
ORACLE = 0.95
SHAPE = {"n_features": 256, "k": 8}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", help="architectures")
    parser.add_argument("--json", action="store_true", help="print only the list of rows on standard output")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        model, out = tiny_model(), Path(folder)
        recorded = record_text(model, out)
        rows = [
            row(model, recorded, architecture.__name__.lower(), kind, out)
            for architecture in ARCHITECTURES
            if not args.only or architecture.__name__.lower() in args.only
            for kind in ("autoencoder", "transcoder", "skip", "layer norm")
        ]
    show(Console(stderr=args.json, width=None if sys.stdout.isatty() else 140), rows)
    if args.json:
        print(json.dumps(rows, indent=1))


def record_text(model: Model, out: Path) -> dict[str, Activations]:
    """Recordings by the name of their site."""
    rng, text = np.random.default_rng(0), out / "text"
    text.mkdir()
    for i in range(300):
        words = rng.choice(["alpha", "beta", "gamma", "delta", "if", "else", "\n"], size=int(rng.integers(10, 60)))
        (text / f"{i:03d}.txt").write_text(" ".join(words))
    folders = [out / str(site) for site in SITES]
    made = record(model, str(text), SITES, folders, tokens=40_000, context=64, held_out=0.2)
    return dict(zip(map(str, SITES), made, strict=True))


def row(model: Model, recorded: dict[str, Activations], architecture: str, kind: str, out: Path) -> dict[str, Any]:
    """One dictionary, judged three times."""
    folder = out / f"{architecture}-{kind.replace(' ', '-')}"
    found: dict[str, Any] = {"architecture": architecture, "kind": kind}
    try:
        source, reads = made(recorded, architecture, kind, folder)
    except BadInput as refusal:
        return found | dict.fromkeys(("fvu_evaluate", "fvu_atlas", "fvu_torch", "rules", "oracle"), str(refusal))
    evaluation = folder.with_name(folder.name + "-evaluation")

    def by_evaluate() -> float:
        return evaluate(folder, reads, model, out=evaluation, splice_tokens=640).facts["metrics"]["fvu"]["value"]

    def by_atlas() -> float:
        atlas = build_atlas(
            folder, reads if len(reads) > 1 else reads[0], model, folder.with_name(folder.name + "-atlas"), causes=0
        )
        return atlas.summary().metrics["fvu"].value

    for name, by in (("evaluate", by_evaluate), ("atlas", by_atlas)):
        try:
            found[f"fvu_{name}"] = by()
        except BadInput as refusal:
            found[f"fvu_{name}"] = str(refusal)
    try:
        found["rules"], found["oracle"] = scored(folder, reads, model)
    except BadInput as refusal:
        found["rules"] = found["oracle"] = str(refusal)
    return found | {"fvu_torch": plain(dictionaries.load(folder), source)}


def scored(folder: Path, reads: list[Path], model: Model) -> tuple[float, float]:
    """Detection by rules, and the worst that the oracle does at any task: purity and responsiveness are shares of what
    is right by themselves."""
    recordings = reads if len(reads) > 1 else reads[0]
    rules, scores = (folder.with_name(f"{folder.name}-{name}") for name in ("rules", "scores"))
    explain(folder, recordings, model, rules, features=range(0, SHAPE["n_features"], 8))
    found = score(rules, folder, recordings, model, scores, sample=12, passages=10)
    oracle = min(each.estimate.value for each in found if each.judge == "oracle")
    return found.get("detection", "rule").estimate.value, oracle


def made(
    recorded: dict[str, Activations], architecture: str, kind: str, folder: Path
) -> tuple[Activations | Pairs, list[Path]]:
    """Train a dictionary of the kind into the folder; what it was trained on, and the folders of what it reads. Raises
    BadInput where the architecture has no such kind."""
    joins = dictionaries.architecture(architecture) in (Crosscoder, CrossLayer)
    ends = ["mlp_in", "mlp_out"] if kind in ("transcoder", "skip") else ["mlp_out"]
    reads, *writes = ([recorded[f"L{i}.{name}"].folder for i in ((0, 1) if joins else (1,))] for name in ends)
    if kind in ("autoencoder", "layer norm") and not joins:
        reads = [recorded["L1.resid_post"].folder]
    alone = len(reads) == 1 and not writes
    source = Activations.open(reads[0]) if alone else Pairs.open(reads, writes[0] if writes else None)
    shape = SHAPE | {"d_in": source.d_in, "d_out": source.d_out, "skip": kind == "skip"}
    if architecture == "crosslayer":
        shape["layers"] = len(reads)
    config = dictionaries.make(architecture, shape).config
    if kind == "layer norm":
        dictionaries.make(architecture, shape | {"layer_norm": True})  # refuses before anything is trained
    into = folder.with_name(folder.name + "-trained") if kind == "layer norm" else folder
    [trained] = train(source, [config], [into], batch_size=512)
    if kind == "layer norm":
        normalising(trained, architecture, artifact.read(into, "dictionary"), folder)
    return source, reads


def normalising(trained: Dictionary, architecture: str, about: Manifest, folder: Path) -> None:
    """The same weights, but for tokens that are normalised before they are read, as in converted dictionaries."""
    changed = dictionaries.make(architecture, asdict(trained.config) | {"layer_norm": True})
    changed.load_state_dict(trained.state_dict())
    folder.mkdir()
    config = {key: value for key, value in about.config.items() if key != "training"}
    config["dictionary"] = asdict(changed.config)
    manifest = Manifest(kind="dictionary", config=config, inputs=about.inputs)
    artifact.finish(folder, manifest, [dictionaries.save(changed, folder)])


@torch.no_grad()
def plain(sae: Dictionary, source: Activations | Pairs) -> float:
    """FVU on the held-out rows from the codes and the stored weights, without the dictionary's own decoding."""
    over = under = 0.0
    w, mean, shape = sae.state_dict(), source.frame.mean_out, sae.config
    for rows in source.held_out.ordered(2_048):
        x, y = rows.x.float(), rows.y.float()
        codes = sae.encode(x)
        dense = torch.zeros(len(x), shape.n_features)
        dense.scatter_add_(1, codes.ids.long(), codes.values)
        if isinstance(sae, CrossLayer):
            y_hat = w["b_dec"].expand(len(x), -1).clone()
            for i, each in enumerate(dense.split(sae.each, dim=1)):
                y_hat[:, i * sae.d_out :] += each @ w[f"dec.{i}"]
        else:
            y_hat = dense @ w["dec"] + w["b_dec"]
        if shape.skip:
            before = w["b_dec"] if isinstance(sae, L1Resampled) and shape.d_in == shape.d_out else w["centre"]
            y_hat = y_hat + (x - before) @ w["skip"].T
        if shape.layer_norm:
            y_hat = y_hat * x.std(1, keepdim=True) + x.mean(1, keepdim=True)
        over += float((y - y_hat).double().square().sum())
        under += float((y - mean).double().square().sum())
    return over / under


def show(console: Console, rows: list[dict[str, Any]]) -> None:
    table = Table(box=None, header_style="dim")
    names = ("evaluate", "atlas", "torch")
    for name in ("", "kind", *names, "rules", "oracle"):
        table.add_column(name)
    for row in rows:
        cells = [*(row[f"fvu_{name}"] for name in names), row["rules"], row["oracle"]]
        table.add_row(row["architecture"], row["kind"], *(c if isinstance(c, str) else f"{c:.4f}" for c in cells))
    console.print(table)
    for name in names[:2]:
        pairs = [(row[f"fvu_{name}"], row["fvu_torch"]) for row in rows]
        numbers = [(a, b) for a, b in pairs if not isinstance(a, str) and not isinstance(b, str)]
        off = max((abs(a / b - 1) for a, b in numbers), default=0.0)
        met = "met   " if off <= TOLERANCE else "MISSED"
        console.print(
            f"{met} {name}: {len(numbers)} dictionaries, at most {off:.1e} off plain torch, bar {TOLERANCE:g}"
        )
    right = [row["oracle"] for row in rows if not isinstance(row["oracle"], str)]
    worst = min(right, default=1.0)
    met = "met   " if worst >= ORACLE else "MISSED"
    console.print(f"{met} score: {len(right)} dictionaries, an oracle is right in {worst:.3f} at least, bar {ORACLE:g}")


if __name__ == "__main__":
    main()
