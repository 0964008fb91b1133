"""ReLU and an L1 penalty weighted by the decoder's row lengths, which are free: the form of Anthropic's "Circuits
Updates, April 2024", used in Templeton et al. 2024 (arXiv 2605.29358). No resampling."""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from physalis.dictionaries.base import Loss, Shape, Tick
from physalis.dictionaries.kernels import candidates, rows
from physalis.dictionaries.l0_control import L0Control, adjust, silence
from physalis.dictionaries.linear import Linear
from physalis.types import Batch, Codes


@dataclass(frozen=True, kw_only=True)
class L1Config(Shape):
    k: int = 32
    """Features that fire on a token on average: the penalty's weight is moved until they do."""


@final
class L1(Linear):
    """``codes = relu((x - centre) @ W_enc + b_enc)``, ``y_hat = codes @ W_dec + b_dec``."""

    def __init__(self, config: L1Config) -> None:
        super().__init__()
        self._make(config)
        self.dec.on_sphere = False
        self.asked = L0Control()

    @torch.no_grad()
    def settle(self, sample: Batch) -> None:
        super().settle(sample)
        self.asked.begin(silence(self, sample))

    @torch.no_grad()
    def finish(self, sample: Batch) -> None:
        adjust(self, sample.x)

    def choose(self, x: Float[Tensor, "tokens d_in"]) -> Codes:
        return candidates.above(x, self.enc, self.b_enc)

    def loss(self, batch: Batch, tick: Tick) -> Loss:
        codes = rows.differentiable(batch.x, self.enc, self.b_enc, rows.above(batch.x, self.enc, self.b_enc.detach()))
        rest = self.predict(batch.x, codes) - batch.y
        l0 = (codes.values.detach() > 0).sum() / len(batch.x)
        lengths = self.dec.norm(dim=1)
        l1 = (codes.values * lengths[codes.ids.long()]).sum() / batch.y.numel()
        return Loss({"fvu": rest.square().mean(), "l1": self.asked(l0, self.config.k) * l1}, codes)
