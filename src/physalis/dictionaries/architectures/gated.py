"""One path decides whether a feature fires and another how strongly (Rajamanoharan et al. 2024, arXiv 2404.16014)."""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from physalis.dictionaries.base import Loss, Shape, Tick
from physalis.dictionaries.kernels import candidates, rows
from physalis.dictionaries.l0_control import L0Control, adjust, silence
from physalis.dictionaries.linear import Linear
from physalis.types import Batch, Codes


@dataclass(frozen=True, kw_only=True)
class GatedConfig(Shape):
    k: int = 32
    """Features that fire on a token on average: the penalty's weight is moved until they do."""


@final
class Gated(Linear):
    """``gate = (x - centre) @ W_enc + b_enc``, ``codes = (gate > 0) * relu(exp(r_mag) * (gate - b_enc) + b_mag)``,
    ``y_hat = codes @ W_dec + b_dec``: both paths read along the same directions."""

    def __init__(self, config: GatedConfig) -> None:
        super().__init__()
        self._make(config)
        self.r_mag = nn.Parameter(torch.zeros(config.n_features))
        self.b_mag = nn.Parameter(torch.zeros(config.n_features))
        self.asked = L0Control()

    @torch.no_grad()
    def settle(self, sample: Batch) -> None:
        super().settle(sample)
        self.asked.begin(silence(self, sample))
        self.b_mag.copy_(self.b_enc)

    @torch.no_grad()
    def finish(self, sample: Batch) -> None:
        adjust(self, sample.x, silent=lambda gate: self._sizes(gate) <= 0)

    def choose(self, x: Float[Tensor, "tokens d_in"]) -> Codes:
        return candidates.above(x, self.enc, self.b_enc)

    def valued(self, x: Float[Tensor, "tokens d_in"], codes: Codes) -> Codes:
        return self._magnitudes(rows.differentiable(x, self.enc, self.b_enc, codes))

    def _sizes(self, gate: Codes) -> Tensor:
        ids = gate.ids.long()
        return self.r_mag[ids].exp() * (gate.values - self.b_enc[ids]) + self.b_mag[ids]

    def _magnitudes(self, gate: Codes) -> Codes:
        return Codes(self._sizes(gate).relu() * (gate.values > 0), gate.ids)

    def loss(self, batch: Batch, tick: Tick) -> Loss:
        found = rows.above(batch.x, self.enc, self.b_enc.detach())
        gate = rows.differentiable(batch.x, self.enc, self.b_enc, found)
        codes = self._magnitudes(gate)
        rest = self.predict(batch.x, codes) - batch.y
        l0 = (codes.values.detach() > 0).sum() / len(batch.x)
        l1 = gate.values.sum() / batch.y.numel()
        with torch.no_grad():
            beside = batch.y - self.predict(batch.x, Codes(torch.zeros_like(gate.values), gate.ids))
        by_gate = rows.decode(gate, rows.frozen(self.dec), torch.zeros_like(self.b_dec))
        terms = {
            "fvu": rest.square().mean(),
            "l1": self.asked(l0, self.config.k) * l1,
            "gate": (by_gate - beside).square().mean(),  # so that the gate learns what matters
        }
        return Loss(terms, codes)

    def multiply_codes(self, by: Tensor) -> None:
        super().multiply_codes(by)
        self.b_mag.data.mul_(by)

    @torch.no_grad()
    def recentre(self) -> None:
        self.b_mag.sub_(self.r_mag.exp() * (self.enc.data @ self.centre))
        super().recentre()
