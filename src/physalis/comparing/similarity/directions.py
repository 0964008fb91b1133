"""directions: cosines between what two dictionaries' features write, a block at a time, and directions by chance.

Three kinds of chance, from the mildest to the strictest:
1. ``random``: both dictionaries independent and without preferred directions.
2. ``rotated``: one dictionary turned as a whole. Its features keep their angles among themselves and lose their place.
3. ``drawn``: independent directions with the mean and covariance of a dictionary's own. Activations fill few
   dimensions, and two features there are near each other without meaning the same; this is what thresholds come from.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

BLOCK = 1 << 24
"""Cosines in memory at once, 4 bytes each."""

ROWS = 4_096
"""Features whose best cosine is drawn in a round, at most."""

TRIAL, FITS = 8_192, 20
"""Directions drawn, and times, to make them alike."""


class Best(NamedTuple):
    """For each feature of one side the nearest of the other; -1 where there is none."""

    ids: Int64[np.ndarray, " features"]
    cosine: Float64[np.ndarray, " features"]


def units(directions: Float[Tensor, "features d"]) -> Float[Tensor, "features d"]:
    """At length 1; a direction of length 0 stays so."""
    x = directions.float()
    return x / x.norm(dim=1, keepdim=True).clamp_min(1e-12)


def cosines(
    a: Float[Tensor, "features_a d"], b: Float[Tensor, "features_b d"]
) -> Iterator[tuple[int, Float[Tensor, "block features_b"]]]:
    """Products of unit rows, some rows of ``a`` at a time, with the index of the first."""
    size = max(1, BLOCK // max(1, len(b)))
    for first in range(0, len(a), size):
        yield first, a[first : first + size] @ b.T


def bests(a: Float[Tensor, "features_a d"], b: Float[Tensor, "features_b d"]) -> tuple[Best, Best]:
    """The nearest of ``b`` to each of ``a``, and the other way round, in one pass over all cosines of unit rows."""
    of_a = Best(np.full(len(a), -1), np.full(len(a), -1.0))
    of_b = Best(np.full(len(b), -1), np.full(len(b), -1.0))
    for first, block in cosines(a, b):
        most, which = block.max(1)
        here = slice(first, first + len(block))
        of_a.ids[here], of_a.cosine[here] = which.numpy(), most.numpy()
        most, which = (each.numpy() for each in block.max(0))
        nearer = most > of_b.cosine
        of_b.ids[nearer], of_b.cosine[nearer] = first + which[nearer], most[nearer]
    return of_a, of_b


def random(n: int, d: int, generator: torch.Generator) -> Float[Tensor, "n d"]:
    """Directions without preference."""
    return units(torch.randn(n, d, generator=generator))


def rotated(directions: Float[Tensor, "features d"], generator: torch.Generator) -> Float[Tensor, "features d"]:
    """All turned by one random rotation (or reflection), uniform over them (Mezzadri 2007)."""
    d = directions.shape[1]
    q, r = torch.linalg.qr(torch.randn(d, d, generator=generator, dtype=torch.float64))
    return directions @ (q * r.diagonal().sign()).to(directions.dtype)


def drawn(
    a: Float[Tensor, "features_a d"], b: Float[Tensor, "features_b d"], *, rounds: int, seed: int
) -> Float64[np.ndarray, " drawn"]:
    """Best cosines of ``a``'s rows among as many random directions as ``b`` has, alike to ``b``'s in mean and
    covariance; new ones each round, for all rows or ``ROWS`` of them."""
    generator = torch.Generator().manual_seed(seed)
    alike = _Alike(b)
    found = []
    for _ in range(rounds):
        rows = torch.randperm(len(a), generator=generator)[:ROWS]
        found.append(bests(a[rows], alike.draw(len(b), generator))[0].cosine)
    return np.concatenate(found) if found else np.empty(0)


class _Alike:
    """Normal vectors brought to length 1. That bends their mean and covariance, most where few dimensions dominate, so
    the normal's own are moved until those of what is drawn are the dictionary's."""

    def __init__(self, directions: Tensor) -> None:
        x = directions.double()
        mean = x.mean(0)
        values, self.axes = torch.linalg.eigh((x - mean).T @ (x - mean) / max(1, len(x)))
        values, mean = values.clamp_min(0).float(), (mean @ self.axes).float()
        self.axes = self.axes.float()
        self.spread, self.mean = values, mean.clone()
        trial = torch.randn(TRIAL, len(mean), generator=torch.Generator().manual_seed(0))
        for _ in range(FITS):
            found = units(trial * self.spread.sqrt() + self.mean)
            self.spread = self.spread * (values / found.var(0).clamp_min(1e-12)).clamp(0.25, 4)
            self.mean = self.mean + mean - found.mean(0)

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        normal = torch.randn(n, len(self.mean), generator=generator)
        return units(normal * self.spread.sqrt() + self.mean) @ self.axes.T
