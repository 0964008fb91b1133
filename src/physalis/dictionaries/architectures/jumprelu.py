"""A threshold of its own for every feature, learned through straight-through gradients (Rajamanoharan et al. 2024,
arXiv 2407.14435), at the L0 that was asked for."""

from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn

from physalis.dictionaries.base import Loss, Shape, Tick
from physalis.dictionaries.kernels import rows
from physalis.dictionaries.l0_control import L0Control, falling, level
from physalis.dictionaries.linear import Linear
from physalis.dictionaries.thresholded import Thresholded
from physalis.types import Batch, Codes

_SILENT = 1e-30  # a code that adds nothing, yet is not padding: its feature's threshold still gets a gradient

_FEW = 0.01  # of the features asked for, inside windows: fewer give thresholds no gradient to speak of
_WIDER = 1.05  # a step


@dataclass(frozen=True, kw_only=True)
class JumpReLUConfig(Shape):
    k: int = 32
    """Features that fire on a token on average: the penalty's weight is moved until they do."""
    k_start: float = 4.0
    """How many times k features fire at first; down to k by the end of the first fifth of the run. From 1 to 4, F1 on
    the scaled world rises from .61 to .66 and fewer features die, and FVU on SmolLM2 from .106 to .120 (held out, 819k
    tokens, one seed): 2 gives .64 and .113."""
    bandwidth: float = 0.5
    """Width of the window around a threshold in which it feels gradients, as a share of the threshold at the start."""
    aux_weight: float = 1 / 32
    """Weight of the auxiliary loss; 0 leaves dead features dead."""


@final
class JumpReLU(Thresholded):
    """``pre = (x - centre) @ W_enc + b_enc``, ``codes = pre * (pre > threshold)``, ``y_hat = codes @ W_dec + b_dec``; a
    threshold for each feature."""

    def __init__(self, config: JumpReLUConfig) -> None:
        super().__init__()
        Linear._make(self, config)
        self.threshold = nn.Parameter(torch.zeros(config.n_features))
        self.register_buffer("width", torch.zeros(()))
        self.width: Tensor
        self.asked = L0Control()

    @torch.no_grad()
    def settle(self, sample: Batch) -> None:
        super().settle(sample)
        needed = level(self, sample, self.config.k * self.config.k_start)
        self.threshold.fill_(needed)
        self.width.fill_(self.config.bandwidth * needed)
        self.asked.begin(self.config.k * needed**2 / self.config.d_out)

    def loss(self, batch: Batch, tick: Tick) -> Loss:
        c = self.config
        with torch.no_grad():
            low = self.threshold - self.width / 2  # of the window
            near = rows.above(batch.x, self.enc, self.b_enc - low)
            chosen = Codes(torch.where(near.values > 0, near.values + low[near.ids.long()], 0), near.ids)
        asked = falling(c.k, tick, start=c.k_start, over=0.2)
        starved = self._starved(chosen, asked)
        pre = rows.differentiable(batch.x, self.enc, self.b_enc, chosen)
        codes, fires = _Jump.apply(pre.values, self.threshold[pre.ids.long()], self.width)
        rest = self.predict(batch.x, Codes(codes, pre.ids)) - batch.y
        l0 = fires.sum() / len(fires)
        weight = self.asked.weight() if starved else self.asked(l0.detach(), asked)
        terms = {"fvu": rest.square().mean(), "l0": weight * l0 / c.k}
        if c.aux_weight:
            terms["aux"] = c.aux_weight * self.revive(batch.x, rest, tick)
        return Loss(terms, Codes(codes.detach() * fires.detach(), pre.ids))

    @torch.no_grad()
    def _starved(self, pre: Codes, asked: float) -> bool:
        """Whether too many features fire and next to none so little that a threshold feels it: codes that are all far
        above their thresholds, as where features are there or not and nothing between. No weight would help then, and
        one that grew meanwhile would ruin the rest; windows widen instead, until they reach the codes."""
        above = pre.values - self.threshold[pre.ids.long()]
        inside = (above.abs() < self.width / 2) & (pre.values > 0)
        starved = int((above > 0).sum()) > asked * len(above) and int(inside.sum()) < _FEW * asked * len(above)
        if starved:
            self.width.mul_(_WIDER)
        return starved

    @torch.no_grad()
    def constrain(self) -> None:
        """Thresholds stay above half a window: below it a feature that does not fire would get its gradients."""
        self.threshold.clamp_min_(self.width / 2)


class _Jump(torch.autograd.Function):
    """(codes, fires) from pre-activations and thresholds: ``pre * (pre > threshold)`` and ``pre > threshold``.

    The gradient towards the threshold is that of both smoothed by a window of ``width`` around it.
    """

    @staticmethod
    def forward(ctx: Any, pre: Tensor, threshold: Tensor, width: Tensor) -> tuple[Tensor, Tensor]:
        fires = pre > threshold
        ctx.save_for_backward(pre, threshold, width, fires)
        return torch.where(fires, pre, _SILENT * (pre > 0)), fires.float()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        pre, threshold, width, fires = ctx.saved_tensors
        g_codes, g_fires = grads
        inside = ((pre - threshold).abs() < width / 2) / width
        return g_codes * fires, -inside * (threshold * g_codes + g_fires), None
