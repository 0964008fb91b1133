"""Features are chosen one after another, each the best for what the others left (Mallat & Zhang 1993; as a sparse
autoencoder, Costa et al. 2025, arXiv 2506.03093)."""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from physalis.dictionaries.base import Loss, Shape, Tick
from physalis.dictionaries.kernels import cpu, rows
from physalis.dictionaries.kernels.rows import Rows
from physalis.dictionaries.linear import Linear
from physalis.errors import BadInput
from physalis.types import Batch, Codes, Frame

_MOST_PRODUCTS = 16_384  # features whose products with each other are held: a gigabyte
_PIECE = 1_024  # tokens whose products with every feature are held at a time


@dataclass(frozen=True, kw_only=True)
class MatchingPursuitConfig(Shape):
    k: int = 32
    """Rounds: features that fire on a token, at most."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.d_in != self.d_out or self.skip:
            raise BadInput(
                "Matching pursuit reads and writes along the same directions, so it cannot be a transcoder: d_in must "
                f"be d_out, without a skip path; received {self.d_in} and {self.d_out}. Choose another --dictionary."
            )


@final
class MatchingPursuit(Linear):
    """``rest = x - b_dec``; k times: the feature with the largest ``rest . W_dec[f]`` takes that much of it.

    Encoder and decoder are one matrix. Codes count as given when its gradient is taken: at the end of a pursuit what
    moving them would change is small, and what it would cost is k more passes.
    """

    def __init__(self, config: MatchingPursuitConfig) -> None:
        super().__init__()
        self._make(config)
        self.enc = self.dec
        self.b_enc.requires_grad_(False)

    @torch.no_grad()
    def settle(self, sample: Batch) -> None:
        self.dec.data.copy_(torch.nn.functional.normalize(self.dec.data, dim=1))
        self.dec.refresh()

    def inside(self, x: Float[Tensor, "tokens d_in"]) -> Float[Tensor, "tokens d_in"]:
        return super().inside(x) - self.b_dec

    @torch.no_grad()
    def choose(self, x: Float[Tensor, "tokens d_in"]) -> Codes:
        k, features = self.config.k, len(self.dec)
        if x.device.type == "cpu" and len(x) * k > features <= _MOST_PRODUCTS:
            return rows.narrow(_merged(*self._by_products(x)))
        rest, chosen, exact = x.contiguous().clone(), [], Rows(self.dec.data)  # in float32: errors would add up
        for _ in range(k):
            best = rows.top(rest, exact, self.b_enc, 1)
            values = rows.dot_rows(rest, best, exact).clamp_min_(0)
            rest = rows.add_rows(Codes(-values, best.ids), exact, rest)
            chosen.append(Codes(values, best.ids))
        values, ids = torch.cat([c.values for c in chosen], 1), torch.cat([c.ids for c in chosen], 1)
        return rows.narrow(_merged(values, ids))

    def _by_products(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The same choice without going back to the rows (Krstulovic & Gribonval 2006's speed-up of the pursuit): one
        product with all features, and then only the features' products with each other."""
        gram, values = self.dec.data @ self.dec.data.T, torch.empty(len(x), self.config.k)
        ids = torch.empty(values.shape, dtype=torch.int32)
        for piece in torch.arange(len(x)).split(_PIECE):
            scores = x[piece] @ self.dec.data.T
            cpu.pursue(scores.numpy(), gram.numpy(), values[piece[0] :].numpy(), ids[piece[0] :].numpy())
        return values, ids

    def valued(self, x: Float[Tensor, "tokens d_in"], codes: Codes) -> Codes:
        return codes

    def loss(self, batch: Batch, tick: Tick) -> Loss:
        if batch.y is not batch.x:
            raise BadInput("Matching pursuit explains what it reads, so it cannot be a transcoder. Choose another.")
        codes = self.choose((batch.x - self.b_dec).detach())
        return Loss({"fvu": (self.decode_rows(codes) - batch.y).square().mean()}, codes)

    @torch.no_grad()
    def fold(self, frame: Frame) -> None:
        scale = frame.scale_in[0]
        if not bool((frame.scale_in == scale).all()):
            raise BadInput("Matching pursuit needs one scale for all inputs; these activations join several sites.")
        self.b_dec.data.div_(scale).add_(frame.mean_in)
        self.centre.zero_()
        self.dec.refresh()


def _merged(values: Tensor, ids: Tensor) -> Codes:
    """A feature chosen twice counts once, with both amounts."""
    values = values.clone()
    for j in range(ids.shape[1] - 1, 0, -1):
        earlier = (ids[:, :j] == ids[:, j : j + 1]) & (values[:, :j] > 0)
        first = earlier.int().argmax(1, keepdim=True)
        again = earlier.any(1, keepdim=True)
        values[:, :j].scatter_add_(1, first, values[:, j : j + 1] * again)
        values[:, j : j + 1] *= ~again
    return Codes(values, ids)
