"""Thresholded, a partial dictionary: a feature fires where its pre-activation exceeds its threshold.

BatchTopK and its descendants choose by rank over a batch while they train and need only a threshold afterwards
(Bussmann et al. 2024, arXiv 2412.06410).
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from physalis.dictionaries.base import Shape, Tick
from physalis.dictionaries.kernels import candidates, rows
from physalis.dictionaries.kernels.rows import Rows
from physalis.dictionaries.linear import Linear
from physalis.types import Batch, Codes

_NEAR = 0.8
"""Of the running threshold: a batch's own is seldom below, and where it is, a slower way finds it."""


class Thresholded(Linear):
    """``pre = (x - centre) @ W_enc + b_enc``, ``codes = pre * (pre > threshold)``."""

    threshold: Tensor
    """[features], never negative."""

    def _make(self, config: Shape) -> None:
        super()._make(config)
        self.register_buffer("threshold", torch.zeros(config.n_features))

    def choose(self, x: Float[Tensor, "tokens d_in"]) -> Codes:
        return candidates.above(x, self.enc, self.b_enc, self.threshold)

    @torch.no_grad()
    def finish(self, sample: Batch) -> None:
        """Move all thresholds together until k features fire on a row on average: running means lag behind the last
        steps."""
        self.threshold.mul_(excess([(sample.x, self.enc, self.b_enc, self.threshold)], self.config.k))

    def multiply_codes(self, by: Float[Tensor, " features"]) -> None:
        super().multiply_codes(by)
        self.threshold.data.mul_(by)


def best_of_batch(x: Float[Tensor, "tokens d_in"], enc: Rows, bias: Tensor, k: float, threshold: Tensor) -> Codes:
    """The batch's ``k * tokens`` largest positive pre-activations; differentiable.

    ``threshold`` is where earlier batches were cut: what falls short of it by more than batches differ need not be
    looked at.
    """
    with torch.no_grad():
        low = threshold.max() * _NEAR
        wanted = round(k * len(x))
        found = rows.above(x, enc, bias - low) if low > 0 else None
        if found is None or int((found.values > 0).sum()) < wanted:  # at the start: a cap keeps the codes small
            found = rows.top(x, enc, bias, min(8 * math.ceil(k), len(bias)))
        else:
            found = Codes(torch.where(found.values > 0, found.values + low, 0), found.ids)
        seen = found.values[found.values > 0]
        least = seen.kthvalue(len(seen) - wanted + 1).values if wanted < len(seen) else 0
        kept = rows.narrow(Codes(found.values * (found.values >= least), found.ids))
    return rows.differentiable(x, enc, bias, kept)


@torch.no_grad()
def follow(threshold: Tensor, codes: Codes, tick: Tick, decay: float) -> None:
    """Move a threshold towards the smallest code that a batch kept: a running mean over training batches."""
    lowest = torch.where(codes.values > 0, codes.values, torch.inf).min()
    if torch.isfinite(lowest):
        threshold.lerp_(lowest.expand_as(threshold), 1.0 if tick.step == 0 else 1 - decay)


@torch.no_grad()
def excess(layers: Sequence[tuple[Tensor, Rows, Tensor, Tensor]], k: float) -> float:
    """How many times their thresholds ``k`` features of a row exceed on average, those of all layers together; 1 where
    not as many are positive. A layer is (its input [tokens, d_in], encoder, bias, thresholds)."""
    wanted = round(k * len(layers[0][0]))
    for share in (1 / 2, 1 / 8, 0):  # nearly always half is low enough, and leaves little to look at
        found = []
        for x, enc, bias, threshold in layers:
            near = rows.above(x, enc, bias - share * threshold)
            found.append((near.values / threshold[near.ids.long()].clamp_min(1e-30) + share)[near.values > 0])
        times = torch.cat(found)
        if wanted < len(times):
            return float(times.kthvalue(len(times) - wanted + 1).values)
    return 1.0
