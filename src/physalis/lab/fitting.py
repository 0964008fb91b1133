"""Dictionaries fitted to samples that lie in memory, or to a world's, by the package's training loop."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float

from physalis import dictionaries
from physalis.dictionaries import ARCHITECTURES, Crosscoder, CrossLayer, Dictionary
from physalis.errors import BadInput
from physalis.training.training import Source, train
from physalis.types import Batch, Frame

ARCHITECTURES_OF_ONE_SITE = tuple(k.__name__.lower() for k in ARCHITECTURES if k not in (Crosscoder, CrossLayer))
"""Those that an array of activations can train."""


class Rows:
    """Activations in memory as what ``train`` reads (a ``training.Source``), in another order each epoch. ``y`` is what
    is to be predicted from ``x``: itself unless given."""

    def __init__(self, x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "n d_out"] | None = None) -> None:
        for given in (x, x if y is None else y):
            if given.ndim != 2 or not len(given) or len(given) != len(x):
                raise BadInput(f"Activations are an array [n, d] with rows; received one of shape {given.shape}.")
        self.x = torch.from_numpy(np.ascontiguousarray(x, np.float32))
        self.y = self.x if y is None else torch.from_numpy(np.ascontiguousarray(y, np.float32))

    @property
    def train(self) -> "Rows":
        return self

    @property
    def n_tokens(self) -> int:
        return len(self.x)

    @property
    def d_in(self) -> int:
        return self.x.shape[1]

    @property
    def d_out(self) -> int:
        return self.y.shape[1]

    @property
    def origin(self) -> dict[str, Any]:
        return {"rows": self.n_tokens}

    @property
    def inputs(self) -> dict[str, str]:
        return {}

    @property
    def frame(self) -> Frame:
        (mean_x, scale_x), (mean_y, scale_y) = map(_centred, (self.x, self.y))
        return Frame(mean_x, scale_x, mean_y, scale_y)

    def n_batches(self, size: int, *, epochs: int = 1) -> int:
        """Whole batches: what is left of an epoch is dropped."""
        return epochs * (self.n_tokens // size)

    def batches(self, size: int, *, seed: int, epochs: int = 1, start: int = 0) -> Iterator[Batch]:
        each = self.n_tokens // size
        for epoch in range(start // each, epochs) if each else ():
            order = torch.from_numpy(np.random.default_rng([seed, epoch]).permutation(self.n_tokens))
            for place in range(start - epoch * each if epoch == start // each else 0, each):
                some = order[place * size : (place + 1) * size]
                x = self.x[some]
                yield Batch(x, x if self.y is self.x else self.y[some])


def _centred(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    mean = x.mean(0)
    return mean, (x - mean).square().mean().clamp_min(1e-12).rsqrt().expand_as(mean).contiguous()


def fit_dictionary(
    source: Source,
    architecture: str,
    *,
    n_features: int,
    k: int,
    epochs: int = 1,
    batch_size: int = 1_024,
    layers: int | None = None,
    frozen: Literal["dec", "enc"] | None = None,
    seed: int = 0,
) -> Dictionary:
    """A dictionary trained with its architecture's defaults, its folder thrown away. It is on the CPU, where samples of
    worlds are, wherever it was trained."""
    shape = {"d_in": source.d_in, "d_out": source.d_out, "n_features": n_features, "k": k}
    shape |= {} if layers is None else {"layers": layers}
    config = dictionaries.make(architecture, shape).config
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "dictionary"
        train(source, [config], [out], epochs=epochs, batch_size=batch_size, frozen=frozen, seed=seed)
        return dictionaries.load(out)
