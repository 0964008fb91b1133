"""Supernodes against groups that are known, and graphs under other transcoders: compiled programs; and a real model.

    python benchmarks/supernodes.py                                      # compiled programs, 1 minute on one core
    python benchmarks/supernodes.py --set transcoders --set other-seed   # and a real model: how far methods agree

Every feature of a program's oracle is split into four, which write other things besides; five splits of three programs.
Sets of transcoders that share some of their features say whether ``reproduce`` finds as many. One object is printed
with --json: ``known`` (program, noise, nodes, method; mean, low, high of the adjusted Rand index), ``reproduced``
(shared, features, and mean, low and high of ``influence``, ``jaccard`` and ``edge_r``, found and by chance) and with
sets ``real`` (prompt, first, second, agreement) and ``real_reproduced``.
"""

import argparse
import contextlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from physalis.circuits import Graph, Supernode, Supernodes, TranscoderSet, prune, reproduce, trace
from physalis.circuits.supernodes import (
    Likeness,
    Member,
    agreement,
    by_behaviour,
    by_chance,
    by_decoders,
    by_edges,
    group,
    together,
)
from physalis.dictionaries import Dictionary, TopK, TopKConfig
from physalis.errors import BadInput
from physalis.lab.rasp import dyck1, histogram, oracle, two_hop
from physalis.lab.rasp.algorithms import Task
from physalis.lab.rasp.compiling import Compiled
from physalis.lab.rasp.splitting import Split, split
from physalis.models import Model, load_model
from physalis.models.tiny import tiny_model

PROGRAMS = (histogram, dyck1, two_hop)
"""Those whose features are on the way to the answer: the others choose by where heads look."""
NOISE = ((0.0, 0.0), (0.5, 0.1), (1.0, 0.2))
"""Of what each part writes besides, and reads besides, as a share of its own."""
SEEDS = 5
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Of features that another set has too."""
WIDTH = 96
PROMPTS = (
    "When Mary and John went to the store, John gave a drink to",
    "After Mary and John went to the store, John gave a drink to",
    "When Alice and Paul went to the park, Paul gave a ball to",
)
UNRELATED = ("def main(argv):\n    path = os.path.join(", "Monday, Tuesday, Wednesday, Thursday,")


def parts_of(compiled: Compiled, noise: tuple[float, float], seed: int) -> dict[int, Split]:
    """Every layer's features, split."""
    return {
        layer: split(oracle(compiled, layer), noise=noise[0], reads=noise[1], seed=100 * seed + layer)
        for layer in range(compiled.model.n_layers)
    }


def known_groups(graph: Graph, parts: dict[int, Split]) -> Supernodes:
    """Parts of one feature at one position."""
    found: dict[tuple[int, int, int], list[Member]] = {}
    for layer, at, feature in zip(graph.layer.tolist(), graph.position.tolist(), graph.feature.tolist(), strict=True):
        key = layer, at, int(parts[layer].origin[feature])
        found.setdefault(key, []).append(Member(layer, at, feature))
    return Supernodes(tuple(Supernode(str(key), tuple(own)) for key, own in found.items()))


def ways(graph: Graph, model: Model, transcoders: TranscoderSet, texts: Any, seed: int) -> dict[str, Likeness]:
    """Every way of saying how alike features are, and chance."""
    three = [by_edges(graph), by_decoders(graph, transcoders), by_behaviour(graph, model, transcoders, texts)]
    return {way.method: way for way in three} | {"all three": together(*three), "chance": by_chance(graph, seed)}


def of_program(task: Task, noise: tuple[float, float]) -> list[dict[str, Any]]:
    """The adjusted Rand index of every way, over splits and inputs."""
    compiled = task.compiled()
    found: dict[str, list[float]] = {}
    nodes = []
    for seed in range(SEEDS):
        parts = parts_of(compiled, noise, seed)
        first, *texts = (compiled.encode([each])[0].tolist() for each in task.inputs(40, seed=seed))
        with tempfile.TemporaryDirectory() as folder:
            given = {layer: part.dictionary for layer, part in parts.items()}
            transcoders = TranscoderSet.write(Path(folder, "set"), compiled.model, given)
            graph = trace(compiled.model, transcoders, first)
            nodes.append(graph.n_features)
            true = known_groups(graph, parts)
            for name, way in ways(graph, compiled.model, transcoders, texts, seed).items():
                found.setdefault(name, []).append(agreement(group(graph, way), true, graph))
    said = {"program": task.name, "noise": noise[0], "nodes": float(np.mean(nodes))}
    return [
        {**said, "method": name, "mean": float(np.mean(values)), "low": min(values), "high": max(values)}
        for name, values in found.items()
    ]


def partly_same(share: float, seed: int) -> dict[int, Dictionary]:
    """Transcoders of the tiny model, of which a share of the features are those of any other such set, in another
    order; the rest are drawn."""
    model, made = tiny_model(), {}
    for layer in range(model.n_layers):
        made[layer] = TopK(TopKConfig(d_in=model.d_model, d_out=model.d_model, n_features=WIDTH, k=8))
        generator = torch.Generator().manual_seed(1 + layer)
        same = torch.randn(2, WIDTH, model.d_model, generator=generator)
        generator.manual_seed(1000 * (seed + 1) + layer)
        other = torch.randn(2, WIDTH, model.d_model, generator=generator)
        order = torch.randperm(WIDTH, generator=generator)
        mixed = torch.where(torch.rand(WIDTH, 1, generator=generator) < share, same, other)[:, order] * 0.3
        made[layer].enc.data, made[layer].dec.data = mixed[0].clone(), mixed[1].clone()
        made[layer].enc.refresh()
        made[layer].dec.refresh()
    return made


def reproduced(share: float) -> dict[str, Any]:
    """What is found again with sets that share some of the reference's features."""
    model = tiny_model()
    with tempfile.TemporaryDirectory() as folder:
        sets = {
            str(seed): TranscoderSet.write(Path(folder, str(seed)), model, partly_same(share if seed else 1.0, seed))
            for seed in range(SEEDS + 1)
        }
        found = reproduce(model, sets, ["in the beginning was the word"])
    spreads = found.record()["spreads"]["transcoders"]
    rows = {
        f"{measure} {of}": spread and [spread["mean"], spread["low"], spread["high"]]
        for measure, both in spreads.items()
        for of, spread in both.items()
    }
    return {"shared": share, "features": found.features, **rows}


def of_model(name: str, folders: list[Path]) -> dict[str, Any]:
    """How far ways agree on a real model's graphs, and what of one is found again."""
    model = load_model(name, dtype=torch.float32)
    sets = {folder.name: TranscoderSet.open(folder) for folder in folders}
    transcoders, rows = next(iter(sets.values())), []
    for prompt in (*PROMPTS, *UNRELATED):
        whole = trace(model, transcoders, prompt)
        graph = prune(whole)
        texts = [each for each in (*PROMPTS, *UNRELATED) if each != prompt]
        made = ways(graph, model, transcoders, texts, 0) | {"edges": by_edges(graph, whole)}
        groups = {name: group(graph, way) for name, way in made.items()}
        names = list(groups)
        rows += [
            {
                "prompt": prompt, "first": a, "second": b, "agreement": agreement(groups[a], groups[b], graph),
                "groups": len(groups[a]), "features": int(graph.kept[: graph.n_features].sum()),
            }
            for i, a in enumerate(names)
            for b in names[i + 1 :]
        ]  # fmt: skip
    return {"real": rows, "real_reproduced": reproduce(model, sets, PROMPTS, unrelated=UNRELATED).record()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", type=Path, action="append", default=[], help="a set of transcoders; the first is read")
    parser.add_argument("--model", default="smollm2", help="that the sets are of")
    parser.add_argument("--json", action="store_true", help="print only the object on standard output")
    args = parser.parse_args()
    found: dict[str, Any] = {"known": []}
    with contextlib.redirect_stdout(sys.stderr):
        for make in PROGRAMS:
            for noise in NOISE:
                found["known"] += of_program(make(), noise)
        found["reproduced"] = [reproduced(share) for share in SHARES]
        if args.set:
            found |= of_model(args.model, args.set)
    show(found, Console(stderr=args.json, width=None if sys.stdout.isatty() else 160))
    if args.json:
        print(json.dumps(found, indent=1))


def show(found: dict[str, Any], console: Console) -> None:
    """Tables of it."""
    for rows in (found["known"], found["reproduced"], found.get("real", [])):
        if rows:
            table = Table(*rows[0], box=None)
            for row in rows:
                table.add_row(*map(_cell, row.values()))
            console.print(table)
    if "real_reproduced" in found:
        console.print(found["real_reproduced"]["spreads"])


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return f"{value[0]:.2f} [{value[1]:.2f}, {value[2]:.2f}]"
    return f"{value:.2f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    try:
        main()
    except BadInput as error:
        sys.exit(str(error))
