"""A second, tiny corpus, and a model that reads it: made pictures of a bar or a blob, each position a pixel.

It is what CONTRIBUTING's recipe asks for, and no more: the corpus, and what makes the model that brings it.
"""

import re

import numpy as np

from physalis.corpora.corpus import Corpus
from physalis.errors import BadInput
from physalis.models.families import TINY
from physalis.models.model import Model
from physalis.models.tiny import TinyConfig, untrained

SIDE = 8
SHADES = "□░▒▓█"


class Pictures(Corpus):
    """Pictures of five shades of grey, made from a seed; ``made:300`` are the first 300 of them."""

    name = "pictures"
    shape = (SIDE, SIDE)
    ids = range(len(SHADES))

    def documents(self, source, *, field=None, trail=None):
        if not re.fullmatch(r"made:\d+", source):
            raise BadInput(f"There are no pictures {source!r}. Give made:N for N of them.")
        return (picture(np.random.default_rng(seed)) for seed in range(int(source[5:])))

    def encoded(self, documents):
        return (each.reshape(-1).astype(np.int32) for each in documents)

    def pieces(self, ids):
        return [SHADES[i] for i in ids]

    def typed(self, texts):
        if stray := set("".join(texts)) - {*SHADES, "\n"}:
            raise BadInput(f"Pictures are drawn of {SHADES}; received {sorted(stray)[0]!r}.")
        return [[SHADES.index(each) for each in text if each != "\n"] for text in texts]


def picture(rng: np.random.Generator) -> np.ndarray:
    """A bar across, or a blob that fades, on an empty ground: [rows, columns] of shades."""
    rows, columns = np.indices((SIDE, SIDE))
    at, beside = rng.integers(1, SIDE - 1, 2)
    if rng.random() < 0.5:
        return np.where((rows if rng.random() < 0.5 else columns) == at, len(SHADES) - 1, 0)
    return np.clip(len(SHADES) - 1 - np.abs(rows - at) - np.abs(columns - beside), 0, None)


def pixel_model() -> Model:
    """A small untrained transformer that reads a picture pixel by pixel."""
    config = TinyConfig(vocab_size=len(SHADES), context=SIDE * SIDE, n_layers=2)
    return Model(untrained(config), Pictures(), name="pixels", family=TINY)
