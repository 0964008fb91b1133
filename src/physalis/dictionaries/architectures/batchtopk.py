"""k features per token on average over a batch, a threshold afterwards (Bussmann et al. 2024, arXiv 2412.06410)."""

from dataclasses import dataclass
from typing import final

from physalis.dictionaries.base import Loss, Shape, Tick
from physalis.dictionaries.thresholded import Thresholded, best_of_batch, follow
from physalis.types import Batch


@dataclass(frozen=True, kw_only=True)
class BatchTopKConfig(Shape):
    k: int = 32
    """Features that fire on a token, on average over the text."""
    aux_weight: float = 1 / 32
    """Weight of the auxiliary loss; 0 leaves dead features dead."""
    threshold_decay: float = 0.99
    """Of the running mean, over training batches, of the smallest code that was kept."""


@final
class BatchTopK(Thresholded):
    """``pre = (x - centre) @ W_enc + b_enc``, ``codes = pre * (pre > threshold)``, ``y_hat = codes @ W_dec + b_dec``.

    While training, the threshold is whatever keeps the batch's k * tokens largest codes.
    """

    def __init__(self, config: BatchTopKConfig) -> None:
        super().__init__()
        self._make(config)

    def loss(self, batch: Batch, tick: Tick) -> Loss:
        c = self.config
        codes = best_of_batch(batch.x, self.enc, self.b_enc, c.k, self.threshold)
        follow(self.threshold, codes, tick, c.threshold_decay)
        rest = self.predict(batch.x, codes) - batch.y
        terms = {"fvu": rest.square().mean()}
        if c.aux_weight:
            terms["aux"] = c.aux_weight * self.revive(batch.x, rest, tick)
        return Loss(terms, codes)
