"""diagnostics: dictionaries whose rank is known beforehand, on which a metric is tried before it is believed.

In falling order (Chanin 2026, "Are Sparse Autoencoder Benchmarks Reliable?", arXiv 2605.18229, has four of the kind):
an *oracle*, where truth is known (``lab.oracles``); *best k*, the half of a trained dictionary's features that carry
most of what it writes; *random* directions, as many, of which as many fire; and *permuted*, the trained weights with
what is read and what is written put in another order, so that nothing reads what it did or writes what it read.
"""

from abc import abstractmethod
from typing import Any, NoReturn, final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from physalis.dictionaries import Dictionary, Loss, Tick, TopK, TopKConfig
from physalis.lab import recipes
from physalis.types import Batch, Codes, Frame

SHARE = 0.5
"""Of the features, that best k keeps."""


class Derived(Dictionary):
    """A dictionary made of another one, which it holds. It is judged, and never trained."""

    def __init__(self, of: Dictionary) -> None:
        super().__init__()
        self.of = of
        self.config = of.config

    @property
    def W_dec(self) -> Float[Tensor, "features d_out"]:
        """What one unit of each feature adds to the output."""
        like = next(self.parameters())
        return self.writes(torch.arange(self.config.n_features, device=like.device))

    @abstractmethod
    def encode_rows(self, x: Float[Tensor, "tokens d_in"]) -> Codes: ...

    def decode_rows(self, codes: Codes) -> Float[Tensor, "tokens d_out"]:
        return self.of.decode_rows(codes)

    def rebuild_rows(self, x: Float[Tensor, "tokens d_in"], codes: Codes) -> Float[Tensor, "tokens d_out"]:
        return self.of.rebuild_rows(x, codes)

    def gain(self, x: Float[Tensor, "tokens d_in"]) -> Float[Tensor, "tokens 1"]:
        return self.of.gain(x)

    def reads(self, ids: Int[Tensor, " n"]) -> Float[Tensor, "n d_in"]:
        return self.of.reads(ids)

    def writes(self, ids: Int[Tensor, " n"]) -> Float[Tensor, "n d_out"]:
        return self.of.writes(ids)

    def compute_in(self, dtype: torch.dtype) -> None:
        self.of.compute_in(dtype)

    def start(self, sample: Batch, *, seed: int) -> NoReturn:
        raise TypeError("a diagnostic is made of a trained dictionary, and not trained itself")

    def loss(self, batch: Batch, tick: Tick) -> Loss:
        raise TypeError("a diagnostic is made of a trained dictionary, and not trained itself")

    def fold(self, frame: Frame) -> None:
        self.of.fold(frame)

    def recentre(self) -> None:
        self.of.recentre()


@final
class BestK(Derived):
    """The same dictionary, of which some features alone are left: the others are silent."""

    left: Tensor

    def __init__(self, of: Dictionary, left: Float[Tensor, " features"]) -> None:
        """``left`` is 1 for features that stay, and 0."""
        super().__init__(of)
        self.register_buffer("left", left)

    @classmethod
    @torch.no_grad()
    def chosen(cls, of: Dictionary, x: Float[Tensor, "tokens d_in"], share: float = SHARE) -> "BestK":
        """Those stay that write most on these rows: the sum of squares of a feature's code times the length of what it
        writes."""
        n = of.config.n_features
        codes = of.encode(x)
        squares = (codes.values * of.gain(x)).square().flatten()
        ids = codes.ids.long().flatten()
        length = of.writes(torch.arange(n, device=x.device)).square().sum(1)
        written = torch.zeros(n, device=x.device).index_add_(0, ids, squares) * length
        left = torch.zeros(n, device=x.device)
        left[written.argsort(descending=True, stable=True)[: max(1, round(share * n))]] = 1
        return cls(of, left)

    def encode_rows(self, x: Float[Tensor, "tokens d_in"]) -> Codes:
        codes = self.of.encode_rows(x)
        return codes._replace(values=codes.values * self.left[codes.ids.long()])


@final
class Permuted(Derived):
    """The same weights: dimensions of what is read change places, about ``mean``; features write what others did."""

    dims: Tensor
    others: Tensor
    mean: Tensor

    def __init__(self, of: Dictionary, mean: Float[Tensor, " d_in"], *, seed: int) -> None:
        super().__init__(of)
        generator = recipes.generator("permuted", seed)
        self.register_buffer("dims", torch.randperm(of.config.d_in, generator=generator).to(mean.device))
        self.register_buffer("others", torch.randperm(of.config.n_features, generator=generator).to(mean.device))
        self.register_buffer("mean", mean)

    def encode_rows(self, x: Float[Tensor, "tokens d_in"]) -> Codes:
        away = x.float() - self.mean
        return self.of.encode_rows(self.mean + away[:, self.dims])

    def decode_rows(self, codes: Codes) -> Float[Tensor, "tokens d_out"]:
        return self.of.decode_rows(self._exchanged(codes))

    def rebuild_rows(self, x: Float[Tensor, "tokens d_in"], codes: Codes) -> Float[Tensor, "tokens d_out"]:
        return self.of.rebuild_rows(x, self._exchanged(codes))

    def reads(self, ids: Int[Tensor, " n"]) -> Float[Tensor, "n d_in"]:
        found = torch.empty_like(self.of.reads(ids))
        found[:, self.dims] = self.of.reads(ids)
        return found

    def writes(self, ids: Int[Tensor, " n"]) -> Float[Tensor, "n d_out"]:
        return self.of.writes(self.others[ids.long()])

    def _exchanged(self, codes: Codes) -> Codes:
        return codes._replace(ids=self.others[codes.ids.long()].to(codes.ids.dtype))


def random_like(of: Dictionary, frame: Frame, *, seed: int) -> TopK:
    """As many random directions, of which as many fire, read and written about the means: along the same ones where
    what is read is what is written, else along others, in units of each side. Nothing was learned but the means."""
    c: Any = of.config
    made = TopK(TopKConfig(d_in=c.d_in, d_out=c.d_out, n_features=c.n_features, k=c.k))
    generator = recipes.generator("random dictionary", seed)
    normal = torch.nn.functional.normalize
    reads = normal(torch.randn(c.n_features, c.d_in, generator=generator), dim=1)
    same = c.d_in == c.d_out and torch.equal(frame.mean_in, frame.mean_out)
    writes = reads if same else normal(torch.randn(c.n_features, c.d_out, generator=generator), dim=1)
    made.enc.data.copy_(reads * (frame.scale_in / frame.scale_out.mean()).cpu())
    made.dec.data.copy_(writes)
    made.b_dec.data.copy_(frame.mean_out.cpu())
    made.centre.copy_(frame.mean_in.cpu())
    made.enc.refresh()
    made.dec.refresh()
    made.requires_grad_(False)
    return made
