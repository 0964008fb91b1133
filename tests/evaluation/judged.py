"""Recordings of many short documents, and dictionaries with weights made by hand, whose reconstructions plain torch
gives."""

from dataclasses import asdict

import numpy as np
import torch

from physalis import artifact, dictionaries
from physalis.activations import Activations
from physalis.artifact import Manifest
from physalis.recording import record
from physalis.site import Site

SITES = [Site(name, layer) for layer in (0, 1) for name in ("mlp_in", "mlp_out")] + [Site("resid_post", 1)]
CONTEXT = 32


def write_text(folder, files=60):
    """Files of unequal length, of few words each."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(files):
        words = rng.choice(["alpha", "beta", "gamma", "delta", "if", "else", "\n"], size=int(rng.integers(15, 60)))
        (folder / f"{i:02d}.txt").write_text(" ".join(words))
    return folder


def record_all(model, folder):
    """Every site of SITES in one pass, in folders named after them; nearly a third is held out."""
    text = write_text(folder / "text")
    folders = [folder / str(site) for site in SITES]
    options = {"tokens": 9_000, "context": CONTEXT, "held_out": 0.3, "shard_rows": 2048}
    return dict(zip(map(str, SITES), record(model, str(text), SITES, folders, **options), strict=True))


def save(dictionary, folder, *recorded: Activations, **origin):
    """A finished dictionary of the recordings' model; ``origin`` has "site" and what else its manifest is to say."""
    folder.mkdir()
    one = recorded[0].manifest
    said = {"architecture": type(dictionary).__name__, "dictionary": asdict(dictionary.config)}
    said |= {"model": one.config["model"], "hygiene": one.config["hygiene"], **origin}
    inputs = {key: one.inputs[key] for key in ("model", "tokenizer")}
    artifact.finish(
        folder, Manifest(kind="dictionary", config=said, inputs=inputs), [dictionaries.save(dictionary, folder)]
    )
    return folder


def filled(name, seed=0, **shape):
    """A dictionary with random weights in every part."""
    made = dictionaries.make(name, shape)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for key, value in made.state_dict().items():
            size = 0.05 if key == "threshold" else 0.3
            noise = torch.randn(value.shape, generator=generator) * size
            value.copy_(noise.abs() if key == "threshold" else noise)
    return made


def rows(part):
    """All rows of a part, raw, in the order of their places: (x, y)."""
    pieces = list(part.ordered(10_000))
    order = torch.cat([piece.at for piece in pieces]).argsort()
    return tuple(torch.cat([getattr(piece, side).float() for piece in pieces])[order] for side in "xy")
