"""Exactly k features per token, with an auxiliary loss for dead features (Gao et al. 2024, arXiv 2406.04093)."""

from dataclasses import dataclass
from typing import final

from jaxtyping import Float
from torch import Tensor

from physalis.dictionaries.base import Loss, Shape, Tick
from physalis.dictionaries.kernels import candidates, rows
from physalis.dictionaries.linear import Linear
from physalis.types import Batch, Codes


@dataclass(frozen=True, kw_only=True)
class TopKConfig(Shape):
    k: int = 32
    """Features that fire on a token, at most: a negative pre-activation never fires."""
    aux_weight: float = 1 / 32
    """Weight of the auxiliary loss; 0 leaves dead features dead."""


@final
class TopK(Linear):
    """``codes = top_k(relu((x - centre) @ W_enc + b_enc))``, ``y_hat = codes @ W_dec + b_dec``."""

    def __init__(self, config: TopKConfig) -> None:
        super().__init__()
        self._make(config)

    def choose(self, x: Float[Tensor, "tokens d_in"]) -> Codes:
        return candidates.top(x, self.enc, self.b_enc, self.config.k)

    def absorbed(self, lengths: Float[Tensor, " features"]) -> Float[Tensor, " features"]:
        """The same for all: the largest codes are chosen, so features must keep their order."""
        return lengths.mean().expand_as(lengths)

    def loss(self, batch: Batch, tick: Tick) -> Loss:
        found = rows.top(batch.x, self.enc, self.b_enc, self.config.k)
        codes = rows.differentiable(batch.x, self.enc, self.b_enc, found)
        rest = self.predict(batch.x, codes) - batch.y
        terms = {"fvu": rest.square().mean()}  # the batch has mean square 1 an element
        if self.config.aux_weight:
            terms["aux"] = self.config.aux_weight * self.revive(batch.x, rest, tick)
        return Loss(terms, codes)
