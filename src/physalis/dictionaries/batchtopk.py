"""k features per token on average over a batch, a threshold afterwards (Bussmann et al. 2024, arXiv 2412.06410)."""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from physalis.dictionaries import rows
from physalis.dictionaries.base import Linear, Loss, Shape, Tick
from physalis.types import Batch, Codes


@dataclass(frozen=True, kw_only=True)
class BatchTopKConfig(Shape):
    k: int = 32
    """Features that fire on a token, on average over the text."""
    most: int = 4
    """No token gets more than ``most * k``: codes stay small and rectangular."""
    aux_weight: float = 1 / 32
    """Weight of the auxiliary loss; 0 leaves dead features dead."""
    threshold_decay: float = 0.99
    """Of the running mean, over training batches, of the smallest code that was kept."""


@final
class BatchTopK(Linear):
    """``pre = relu((x - centre) @ W_enc + b_enc)``, ``codes = pre * (pre > threshold)``,
    ``y_hat = codes @ W_dec + b_dec``.

    While training, the threshold is whatever keeps the batch's k * tokens largest codes.
    """

    def __init__(self, config: BatchTopKConfig) -> None:
        super().__init__()
        self.config = config
        self._make(config)
        self.register_buffer("threshold", torch.zeros(()))
        self.threshold: Tensor

    def _candidates(self, x: Tensor) -> Codes:
        return rows.top(x, self.enc, self.b_enc, min(self.config.most * self.config.k, self.config.n_features))

    def encode(self, x: Float[Tensor, "tokens d_in"]) -> Codes:
        x = x.float() - self.centre
        codes = rows.exact(x, self.enc, self.b_enc, self._candidates(x))
        return _narrow(Codes(codes.values * (codes.values > self.threshold), codes.ids))

    def loss(self, batch: Batch, tick: Tick) -> Loss:
        found = self._candidates(batch.x)
        keep = min(self.config.k * len(batch.x), found.values.numel())
        least = found.values.flatten().kthvalue(found.values.numel() - keep + 1).values
        kept = Codes(found.values * (found.values >= least), found.ids)
        with torch.no_grad():
            lowest = torch.where(kept.values > 0, kept.values, torch.inf).min()
            if torch.isfinite(lowest):
                self.threshold.lerp_(lowest, 1.0 if tick.step == 0 else 1 - self.config.threshold_decay)
        codes = rows.differentiable(batch.x, self.enc, self.b_enc, _narrow(kept))
        rest = self.decode(codes) - batch.y
        terms = {"fvu": rest.square().mean()}
        if self.config.aux_weight:
            terms["aux"] = self.config.aux_weight * self.revive(batch.x, rest, tick)
        return Loss(terms, codes)

    def constrain(self) -> None:
        """Nothing to do: the optimiser keeps the directions at length 1."""

    def fold(self, mean_in: Tensor, scale_in: float, mean_out: Tensor, scale_out: float) -> None:
        super().fold(mean_in, scale_in, mean_out, scale_out)
        self.threshold.div_(scale_out)


def _narrow(codes: Codes) -> Codes:
    """The same codes in as few columns as the fullest token needs."""
    width = max(1, int((codes.values > 0).sum(1).max())) if len(codes.values) else 1
    if width == codes.values.shape[1]:
        return codes
    order = (codes.values <= 0).to(torch.uint8).argsort(dim=1, stable=True)[:, :width]
    return Codes(codes.values.gather(1, order), codes.ids.gather(1, order))
