"""One set of features for several sites of a model, or several models: each reads from all and writes to all (Lindsey
et al. 2024, "Sparse Crosscoders"), chosen by rank over a batch, which keeps shared features from looking exclusive to
one model as an L1 penalty makes them (Minder et al. 2025, arXiv 2504.02922)."""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from physalis.dictionaries.base import Loss, Shape, Tick
from physalis.dictionaries.thresholded import Thresholded, best_of_batch, follow
from physalis.errors import BadInput
from physalis.types import Batch


@dataclass(frozen=True, kw_only=True)
class CrosscoderConfig(Shape):
    k: int = 32
    """Features that fire on a token, on average over the text."""
    sites: tuple[int, ...] = ()
    """Widths of the joined sites, in their order; one site unless given."""
    aux_weight: float = 1 / 32
    """Weight of the auxiliary loss; 0 leaves dead features dead."""
    threshold_decay: float = 0.99
    """Of the running mean, over training batches, of the smallest code that was kept."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sites and sum(self.sites) != self.d_out:
            raise BadInput(
                f"The joined sites have width {self.d_out}; sites = {list(self.sites)} adds up to {sum(self.sites)}."
            )


@final
class Crosscoder(Thresholded):
    """``pre = sum over sites of (x_s - centre_s) @ W_enc_s + b_enc``, ``codes = pre * (pre > threshold)``,
    ``y_hat_s = codes @ W_dec_s + b_dec_s``. Input and output are the sites' activations side by side."""

    def __init__(self, config: CrosscoderConfig) -> None:
        super().__init__()
        self._make(config)

    def parts(self) -> list[Float[Tensor, "features d_site"]]:
        """The directions, site by site."""
        return list(self.W_dec.split(self.config.sites or (self.config.d_out,), dim=1))

    def lengths(self) -> Float[Tensor, "features sites"]:
        """How much of each feature's direction lies in each site: near 0 is a feature that the site does not have.

        In raw activations, so sites of different norm differ in this too.
        """
        return torch.stack([part.norm(dim=1) for part in self.parts()], dim=1)

    def loss(self, batch: Batch, tick: Tick) -> Loss:
        c = self.config
        codes = best_of_batch(batch.x, self.enc, self.b_enc, c.k, self.threshold)
        follow(self.threshold, codes, tick, c.threshold_decay)
        rest = self.predict(batch.x, codes) - batch.y
        terms = {"fvu": rest.square().mean()}
        if c.aux_weight:
            terms["aux"] = c.aux_weight * self.revive(batch.x, rest, tick)
        return Loss(terms, codes)
