"""ReLU and an L1 penalty on directions of length 1, dead features being resampled (Bricken et al. 2023, "Towards
Monosemanticity")."""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from physalis.dictionaries.base import Loss, Shape, Tick
from physalis.dictionaries.kernels import candidates, rows
from physalis.dictionaries.l0_control import L0Control, adjust, silence
from physalis.dictionaries.linear import Linear
from physalis.types import Batch, Codes, Frame


@dataclass(frozen=True, kw_only=True)
class L1ResampledConfig(Shape):
    k: int = 32
    """Features that fire on a token on average: the penalty's weight is moved until they do."""
    resample_at: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4)
    """Shares of the run after which dead features start anew. Published: .025 to .1 of a run a thousand times longer
    than a laptop's, in which that is enough for a feature to be known dead."""
    restart_length: float = 0.2
    """Of the average length of living encoder rows: what a resampled row starts with."""


@final
class L1Resampled(Linear):
    """``codes = relu((x - b_dec) @ W_enc + b_enc)``, ``y_hat = codes @ W_dec + b_dec``.

    ``b_dec`` is subtracted from the input as published, where input and output have the same width.
    """

    def __init__(self, config: L1ResampledConfig) -> None:
        super().__init__()
        self._make(config)
        self.asked = L0Control()
        self._tied = config.d_in == config.d_out

    @torch.no_grad()
    def settle(self, sample: Batch) -> None:
        super().settle(sample)
        self.asked.begin(silence(self, sample))

    def inside(self, x: Float[Tensor, "tokens d_in"]) -> Float[Tensor, "tokens d_in"]:
        x = super().inside(x)
        return x - self.b_dec if self._tied else x

    @torch.no_grad()
    def finish(self, sample: Batch) -> None:
        adjust(self, sample.x - self.centre - self.b_dec if self._tied else sample.x)

    def choose(self, x: Float[Tensor, "tokens d_in"]) -> Codes:
        return candidates.above(x, self.enc, self.b_enc)

    def loss(self, batch: Batch, tick: Tick) -> Loss:
        x = batch.x - self.b_dec if self._tied else batch.x
        codes = rows.differentiable(x, self.enc, self.b_enc, rows.above(x.detach(), self.enc, self.b_enc.detach()))
        rest = self.predict(x, codes) - batch.y
        l0 = (codes.values.detach() > 0).sum() / len(x)
        l1 = codes.values.sum() / batch.y.numel()
        return Loss({"fvu": rest.square().mean(), "l1": self.asked(l0, self.config.k) * l1}, codes)

    @torch.no_grad()
    def replace(self, batch: Batch, tick: Tick, *, seed: int) -> Int[Tensor, " replaced"] | None:
        """At each of ``resample_at``, dead features take on inputs drawn in proportion to their squared loss; where
        random directions are kept, as a baseline, none does."""
        if not (self.enc.requires_grad and self.dec.requires_grad):
            return None
        steps = tick.step / tick.progress if tick.progress else 0.0
        due = any(round(share * steps) == tick.step for share in self.config.resample_at) and tick.step > 0
        ids = tick.dead.nonzero().flatten()
        if not due or len(ids) == 0:
            return None
        x = batch.x - self.b_dec if self._tied else batch.x
        rest = batch.y - self.predict(x, self.choose(x))
        generator = torch.Generator().manual_seed(seed + tick.step)
        chance = rest.square().sum(1).square().cpu().double()
        drawn = torch.multinomial(chance, len(ids), replacement=True, generator=generator).to(x.device)
        lived = self.enc.data[~tick.dead]
        length = float(lived.norm(dim=1).mean()) if len(lived) else 1.0
        self.dec.data[ids] = nn.functional.normalize(rest[drawn] if not self._tied else batch.y[drawn], dim=1)
        self.enc.data[ids] = nn.functional.normalize(x[drawn], dim=1) * self.config.restart_length * length
        self.b_enc.data[ids] = 0
        self.enc.refresh()
        return ids

    @torch.no_grad()
    def fold(self, frame: Frame) -> None:
        inside = self.b_dec / frame.scale_in if self._tied else None
        super().fold(frame)
        if inside is not None:  # b_dec is subtracted as well, and holds the mean of what is written now
            self.centre.add_(inside).sub_(self.b_dec)

    @torch.no_grad()
    def recentre(self) -> None:
        if self._tied and self.skip is not None and self.centre.any():  # b_dec goes through the skip path, too
            beside = torch.eye(len(self.b_dec), device=self.b_dec.device) - self.skip
            more = torch.linalg.solve(beside, self.skip @ self.centre)
            self.b_dec.sub_(more)
            self.b_enc.sub_(self.enc.data @ (self.centre + more))
            self.centre.zero_()
        super().recentre()
