"""place: Place, one layer of a prompt in some basis: which features fire, what each reads and writes, what is left."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from physalis.site import Site


class Features(NamedTuple):
    """The features of one layer that fire on the prompt, in the order of positions."""

    positions: Int64[Tensor, " n"]
    ids: Int64[Tensor, " n"]
    codes: Float[Tensor, " n"]
    intercepts: Float[Tensor, " n"]
    """What a code has of itself: ``code = reads . x + intercept``."""


class Laid(ABC):
    """A layer whose features are computed anew in a pass of the model, some of them turned down by a mask."""

    @abstractmethod
    def codes(
        self, x: Float[Tensor, "variants context d_in"], masks: Float[Tensor, "variants _"]
    ) -> Float[Tensor, "variants context most"]:
        """Codes where they read ``x`` at ``Place.watches``, times their masks."""

    @abstractmethod
    def wrote(self, codes: Float[Tensor, "variants context most"], site: Site) -> Tensor | float:
        """What these write at a site, "variants context d_out"; 0.0 where they write nothing."""


class Place(ABC):
    """One layer of the prompt. What a feature reads is linear; what it writes it writes at its own position."""

    layer: int
    reads: Site
    """What a code is a linear function of, once all else is held."""
    watches: Site
    """Where a code is read off in the model itself: ``reads``, or where the features are values of the model."""
    writes: Site
    """Where features and error stand for what the model computes."""
    features: Features
    error: Float[Tensor, "context d_out"]
    """What this layer's site holds that no feature wrote."""
    least: float
    """What no code falls below."""

    @abstractmethod
    def reads_of(self, which: Int64[Tensor, " m"]) -> Float[Tensor, "m d_in"]:
        """What some features' codes grow by, per unit of what is read."""

    @abstractmethod
    def writes_of(self, which: Int64[Tensor, " m"]) -> Mapping[Site, Float[Tensor, "m d_out"]]:
        """What one unit of the codes adds, by the site to which it is added."""

    @abstractmethod
    def wrote(self) -> Mapping[Site, Float[Tensor, "context d_out"]]:
        """What all of them wrote on the prompt."""

    @abstractmethod
    def edges(self, slopes: Mapping[Site, Float[Tensor, "n context d_out"]]) -> Float[Tensor, "n features"]:
        """What each feature adds to some targets whose slopes at the sites are these."""

    @abstractmethod
    def sizes(self) -> Float[Tensor, " features"]:
        """How much each wrote on the prompt."""

    @abstractmethod
    def beside(self, x: Float[Tensor, "contexts context d_in"]) -> Float[Tensor, "contexts context d_out"] | float:
        """What is written beside features and error where this is read: biases, a skip path."""

    @abstractmethod
    def watched(
        self, x: Float[Tensor, "contexts context d"], which: Int64[Tensor, " m"]
    ) -> Float[Tensor, "contexts m"]:
        """Codes of some features, up to a constant of each, read off at ``watches``."""

    @abstractmethod
    def laid(self, columns: Int64[Tensor, " features"]) -> Laid:
        """The layer to be computed anew; ``columns`` says which mask multiplies each feature."""


def products(
    slopes: Float[Tensor, "n context d"], positions: Int64[Tensor, " m"], writes: Float[Tensor, "m d"]
) -> Float[Tensor, "n m"]:
    """Each target's slope at a feature's position times what the feature writes. ``positions`` do not fall."""
    out = slopes.new_empty(len(slopes), len(positions))
    counts = positions.bincount(minlength=slopes.shape[1]).tolist()
    start = 0
    for at, count in enumerate(counts):
        stop = start + count
        out[:, start:stop] = slopes[:, at] @ writes[start:stop].T
        start = stop
    return out


class Spread(Laid):
    """Features side by side, position by position, with as many places for each as the position with most has."""

    def __init__(
        self, features: Features, reads: Float[Tensor, "n d_in"], writes: Mapping[Site, Float[Tensor, "n d_out"]],
        n_tokens: int, columns: Int64[Tensor, " n"],
    ) -> None:  # fmt: skip
        counts = features.positions.bincount(minlength=n_tokens)
        number = torch.arange(len(features.positions), device=features.positions.device)
        slot = number - (counts.cumsum(0) - counts)[features.positions]
        at, most = (features.positions, slot), max(1, int(counts.max()))

        def spread(values: Tensor, empty: float) -> Tensor:
            out = values.new_full((n_tokens, most, *values.shape[1:]), empty)
            out[at] = values
            return out

        self._reads, self._intercepts = spread(reads, 0), spread(features.intercepts, 0)
        self._writes = {site: spread(value, 0) for site, value in writes.items()}
        self._columns = spread(columns, -1)  # the last mask is 1

    def codes(
        self, x: Float[Tensor, "variants context d_in"], masks: Float[Tensor, "variants _"]
    ) -> Float[Tensor, "variants context most"]:
        return (torch.einsum("btd,tkd->btk", x, self._reads) + self._intercepts).relu() * masks[:, self._columns]

    def wrote(self, codes: Float[Tensor, "variants context most"], site: Site) -> Tensor | float:
        if site not in self._writes:
            return 0.0
        return torch.einsum("btk,tkd->btd", codes, self._writes[site])


def wrote_of(
    features: Features, writes: Mapping[Site, Float[Tensor, "n d_out"]], n_tokens: int
) -> dict[Site, Float[Tensor, "context d_out"]]:
    """What features with these writes wrote, position by position."""
    return {
        site: value.new_zeros(n_tokens, value.shape[1]).index_add_(
            0, features.positions, features.codes[:, None] * value
        )
        for site, value in writes.items()
    }
