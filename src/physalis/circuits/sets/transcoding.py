"""transcode(): a transcoder for the MLP of every layer of a model, all trained on one pass and none of it on disk.

A transcoder predicts what an MLP writes from what it reads (Dunefsky et al. 2024), so features of one layer can be
followed into the next. The model is run once for all layers; each transcoder is what it would be trained alone.
"""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from physalis import artifact, dictionaries
from physalis.activations import View
from physalis.artifact import Manifest
from physalis.circuits.sets.transcoder_set import KIND, TranscoderSet, folder_of, hashes_of
from physalis.errors import BadInput
from physalis.models import Model
from physalis.placement.origin import Origin
from physalis.recording import stream
from physalis.recording.options import Reading
from physalis.recording.streaming import Stream
from physalis.runtime.device import chosen
from physalis.site import Site
from physalis.training.options import Training, stored
from physalis.training.training import train

READING = Reading()
TRAINING = Training(epochs=1)
HELD = 2 << 30
"""Bytes of activations that are held and shuffled at a time, about."""
WINDOW = 4
"""Shards of which these are."""


def transcode(
    model: Model,
    source: str,
    out: Path | str,
    *,
    layers: Sequence[int] | None = None,
    architecture: str = "topk",
    n_features: int | None = None,
    k: int = dictionaries.TopKConfig.k,
    skip: bool = False,
    reading: Reading = READING,
    training: Training = TRAINING,
    device: torch.device | str | None = None,
) -> TranscoderSet:
    """Train a transcoder of ``n_features`` (8 times the model's width unless given) for the MLP of each of ``layers``,
    all unless given, and write them to ``out``.

    One forward pass over the training part of ``source`` feeds them all, once for each epoch; what ``reading`` holds
    out stays unseen. ``skip`` gives each a linear path beside its features (arXiv 2501.18823). ``device`` is where they
    are trained, the best there is unless given. Memory: 16 bytes a weight, and some 2 GB of activations. Of these as
    many are shuffled together as fit, so ``reading.shard_rows`` is settled here, by the width of all layers.

    Run again after a kill, it goes on from the last checkpoint and gives the same bytes. Raises BadInput for a layer
    that the model does not have or that has no MLP, for an architecture that reads several sites, and as ``stream`` and
    ``train`` do.
    """
    out, device = Path(out), chosen(device)
    _check_architecture(architecture)
    chosen_layers = _layers(model, layers)
    sites = [(Site("mlp_in", layer), Site("mlp_out", layer)) for layer in chosen_layers]
    shapes = []
    for reads, writes in sites:
        across = dictionaries.across(architecture, [model.width(reads)], [model.width(writes)])
        shape = {**across, "n_features": n_features or 8 * across["d_in"], "k": k} | ({"skip": True} if skip else {})
        shapes.append(dictionaries.make(architecture, shape).config)
    row = 2 * sum(model.width(site) for pair in sites for site in pair)
    reading = replace(reading, shard_rows=_shard_rows(reading, row))
    job: dict[str, Any] = {
        "model": model.fingerprint, "source": source, "layers": chosen_layers, "architecture": architecture,
        "n_features": [shape.n_features for shape in shapes], "k": k, "skip": skip, "reading": asdict(reading),
        "training": stored(asdict(training)),
    }  # fmt: skip
    with artifact.claim(out, KIND, job) as done:
        if done is None:
            flow = _flow(model, source, sites, reading)
            folders = [out / folder_of(layer) for layer in chosen_layers]
            train([View(flow, *pair) for pair in sites], shapes, folders, training, device=device)
            config = {
                "model": model.name, "layers": chosen_layers, "architecture": architecture,
                "n_features": shapes[0].n_features, "k": k, "skip": skip, "reading": asdict(reading),
            }  # fmt: skip
            inputs = {"model": model.fingerprint, "text": flow.job_hash, **hashes_of(out, chosen_layers)}
            artifact.finish(out, Manifest(kind=KIND, config=config, seed=training.seed, inputs=inputs), [])
    return TranscoderSet.open(out, device=device)


def _check_architecture(name: str) -> None:
    fields = dictionaries.architecture(name).__init__.__annotations__["config"].__dataclass_fields__
    if "sites" in fields or "layers" in fields:
        raise BadInput(
            f"A {name} is of several layers at once, and a set has one transcoder for each. Choose topk, batchtopk, "
            "jumprelu, l1 or matryoshka."
        )
    if dictionaries.architecture(name) is dictionaries.MatchingPursuit:
        raise BadInput(
            "Matching pursuit reads and writes along the same directions, so it cannot be a transcoder. Choose topk, "
            "batchtopk, jumprelu, l1 or matryoshka."
        )


def text_of(model: Model, transcoders: TranscoderSet, source: str) -> Stream:
    """The text that a set was trained on, and that was held out of it, read again. Raises BadInput for another text, or
    another model."""
    origins = [Origin.of(transcoders.about(layer)) for layer in transcoders]
    for origin in origins:
        origin.check_model(model)
    sites = [(origin.reads[0], origin.writes[0]) for origin in origins]
    flow = _flow(model, source, sites, Reading(**transcoders.manifest.config["reading"]))
    if flow.job_hash != transcoders.manifest.inputs["text"]:
        raise BadInput(
            f"{source} is not the text that the set was trained on: another source, or its files have changed. What "
            "was held out of it is not known then. Name the source that `physalis transcode` was given."
        )
    return flow


def _flow(model: Model, source: str, sites: Sequence[tuple[Site, Site]], reading: Reading) -> Stream:
    return stream(model, source, [r for r, _ in sites], reading, writes=[w for _, w in sites], window=WINDOW)


def _layers(model: Model, layers: Sequence[int] | None) -> list[int]:
    found = list(range(model.n_layers)) if layers is None else sorted(set(layers))
    if not found or found[0] < 0 or found[-1] >= model.n_layers:
        asked = ", ".join(map(str, layers or ())) or "none"
        raise BadInput(f"{model.name} has layers 0 to {model.n_layers - 1}; received {asked}.")
    return found


def _shard_rows(reading: Reading, row: int) -> int:
    """Rows of a shard, whole batches of contexts, such that a window of them takes about ``HELD``."""
    batch = reading.batch * reading.context
    return min(reading.shard_rows, max(1, HELD // (WINDOW * row * batch)) * batch)
