"""BatchTopK whose first features must rebuild alone, then with the next, up to all (Bussmann et al. 2025,
arXiv 2503.17547)."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from physalis.dictionaries import nested
from physalis.dictionaries.base import Loss, Shape, Tick
from physalis.dictionaries.thresholded import Thresholded, best_of_batch, follow
from physalis.types import Batch


@dataclass(frozen=True, kw_only=True)
class MatryoshkaConfig(Shape):
    k: int = 32
    """Features that fire on a token, on average over the text."""
    widths: tuple[int, ...] = ()
    """Sizes of the nested prefixes, ascending to all features; all, three quarters, half, three eighths and so on
    down to four unless given. Few leave general features absorbed: on the scaled world (docs/worlds.md, one seed) F1
    was .75 with halves down to 32 of 256, .82 down to 16 and .85 down to 4; the steps between halves bring MCC from .78
    to .79."""
    aux_weight: float = 1 / 32
    """Weight of the auxiliary loss; 0 leaves dead features dead."""
    threshold_decay: float = 0.99
    """Of the running mean, over training batches, of the smallest code that was kept."""


@final
class Matryoshka(Thresholded):
    """``codes = pre * (pre > threshold)`` as BatchTopK; trained so that every prefix of the features rebuilds."""

    def __init__(self, config: MatryoshkaConfig) -> None:
        super().__init__()
        self._make(config)
        self.widths = nested.widths(config.widths, config.n_features)

    def loss(self, batch: Batch, tick: Tick) -> Loss:
        c = self.config
        codes = best_of_batch(batch.x, self.enc, self.b_enc, c.k, self.threshold)
        follow(self.threshold, codes, tick, c.threshold_decay)
        level = nested.levels_by_rank(torch.arange(c.n_features, device=codes.ids.device), self.widths)
        target = batch.y - self.b_dec if self.skip is None else batch.y - self.b_dec - batch.x @ self.skip.T
        squares, rest = nested.squares(codes, level, len(self.widths), self.dec, target, carry=1.0)
        each = squares.mean(1)
        terms: dict[str, Tensor] = {"fvu": each[-1], "inner": each[:-1].sum()}
        if c.aux_weight:
            terms["aux"] = c.aux_weight * self.revive(batch.x, rest, tick)
        return Loss(terms, codes)
