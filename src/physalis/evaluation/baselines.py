"""baselines: LinearMap, the best map of a given rank from what a dictionary reads to what it predicts."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from physalis.activations import Recorded, Stored
from physalis.types import Batch, Frame

ROWS = 200_000
CHUNK = 4096
RIDGE = 1e-6
"""Of the mean variance of an input: what keeps inputs that repeat others from having coefficients without bound."""
WIDEST = 8_192
"""Wider inputs or outputs together would need a covariance beyond a GB, and minutes: no map is fitted to them."""


class LinearMap(NamedTuple):
    """``mean_out + (x - mean_in) @ reads @ writes``. Fitted to predict its own input it is PCA."""

    mean_in: Float[Tensor, " d_in"]
    mean_out: Float[Tensor, " d_out"]
    reads: Float[Tensor, "d_in rank"]
    writes: Float[Tensor, "rank d_out"]

    @property
    def rank(self) -> int:
        return len(self.writes)

    def rebuild(self, x: Float[Tensor, "tokens d_in"]) -> Float[Tensor, "tokens d_out"]:
        """What it predicts of rows."""
        return self.mean_out + (x - self.mean_in) @ self.reads @ self.writes

    @classmethod
    def fit(
        cls,
        source: Recorded,
        ranks: Sequence[int],
        *,
        rows: int = ROWS,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> "list[LinearMap]":
        """The map of least squared error of each rank, over a random sample of ``rows`` training rows, on ``device``.

        Reduced-rank regression (Izenman 1975): the least-squares map, then its predictions' leading principal
        components. A rank beyond the widths is that of the widths.
        """
        frame = source.frame
        mean_in, mean_out = frame.mean_in.to(device), frame.mean_out.to(device)
        read, both, n = _moments(source, mean_in, mean_out, rows, seed)
        return cls._best(read / n, both / n, mean_in, mean_out, ranks)

    @classmethod
    def of_rows(cls, batch: Batch, frame: Frame, rank: int) -> "LinearMap":
        """That of one rank, fitted to a few rows that are there already, raw and float32."""
        x = (batch.x - frame.mean_in).cpu().double()
        y = x if batch.y is batch.x else (batch.y - frame.mean_out).cpu().double()
        moments = x.T @ x / len(x), x.T @ y / len(x)
        return cls._best(*moments, frame.mean_in, frame.mean_out, [rank])[0]

    @classmethod
    def _best(
        cls, read: Tensor, both: Tensor, mean_in: Tensor, mean_out: Tensor, ranks: Sequence[int]
    ) -> "list[LinearMap]":
        ridge = RIDGE * read.diagonal().mean().clamp_min(1e-300)
        best = torch.linalg.solve(read + ridge * torch.eye(len(read), dtype=read.dtype), both)
        _, components = torch.linalg.eigh(best.T @ read @ best)
        maps = []
        for rank in ranks:
            kept = components[:, -min(rank, len(read)) :]
            maps.append(cls(mean_in, mean_out, *(part.float().to(mean_in.device) for part in (best @ kept, kept.T))))
        return maps


def _moments(
    source: Recorded, mean_in: Tensor, mean_out: Tensor, rows: int, seed: int
) -> tuple[Float64[Tensor, "d_in d_in"], Float64[Tensor, "d_in d_out"], int]:
    """Sums of products of centred inputs with each other and with outputs, on the CPU, and of how many rows."""
    d_in, d_out, n = len(mean_in), len(mean_out), 0
    read = torch.zeros(d_in, d_in, dtype=torch.float64)
    both = torch.zeros(d_in, d_out, dtype=torch.float64)
    train = source.train
    size = min(CHUNK, train.n_tokens)
    for batch in train.batches(size, seed=seed):
        x = batch.x.to(mean_in.device).float() - mean_in
        same = batch.y is batch.x
        y = x if same else batch.y.to(mean_out.device).float() - mean_out
        product = (x.T @ x).cpu().double()
        read += product
        both += product if same else (x.T @ y).cpu().double()
        n += size
        if n >= rows:
            break
    return read, both, n


def too_wide(source: Stored) -> bool:
    """Whether no map is fitted."""
    return source.d_in + source.d_out > WIDEST
