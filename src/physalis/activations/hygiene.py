"""hygiene: the one rule by which token positions are left out, and rows rounded, recorded once and re-applied by every
later step.

Models park attention on a few positions (the first one, some separators) whose activations are huge and nearly
constant; left in, they are most of the variance and a dictionary spends itself on them (Sun et al. 2024, "Massive
Activations"). In SmolLM2 the first position reaches 140 times the median norm from layer 10 on; no ordinary token
passes 4 times.

Rows are stored in bfloat16, whose 8 bits are enough for what varies about 0. Some dimensions vary about a mean that is
many times their spread, and rounding the sum would leave little of it (30,000 ± .45 would be 30,000 always): of these
the difference from a fixed offset near the mean is stored.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import BFloat16, Bool, Float, Float32
from torch import Tensor

from physalis.activations.rounding import read_back

TIMES_MEDIAN = 6.0
"""Above this many times the median norm a position counts as a sink. Measured on SmolLM2 at layers 0 to 29: ordinary
tokens stay below 4 at every depth but the third layer; sinks stand between 7 and 143, but for a few at 5 to 7 in the
last two layers, which are kept."""

TIMES_SPREAD = 4.0
"""A dimension whose mean is more than this many standard deviations from 0 has an offset. Without one, rounding makes
an error of at most r^2 / 2^14 / 12 of its variance where the mean is r deviations: 8e-5 at 4."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hygiene:
    """Which positions of a context are kept: not the first one if it is a BOS token, none that is not finite and none
    with a norm above ``max_norm``. And how the rows of those that are kept are rounded."""

    max_norm: float
    """The largest Euclidean norm that is kept."""
    skip_first: bool
    """True where every context starts with a BOS token."""
    offsets: tuple[tuple[int, float], ...] = ()
    """(dimension, offset): what is subtracted of that dimension before rows are rounded, and added when they are read;
    0 for all others."""

    @classmethod
    def measured(cls, x: Float[Tensor, "contexts context d"], *, skip_first: bool) -> "Hygiene":
        """The rule for activations like ``x``: ``max_norm`` is 6 times the median norm, the first position aside;
        dimensions that vary about a mean far from 0 have it as their offset."""
        norms = _norms(x)[:, 1:] if skip_first else _norms(x)
        rule = cls(max_norm=TIMES_MEDIAN * norms.nanmedian().item(), skip_first=skip_first)
        rows = x[rule.keep(x)].float()
        if len(rows) < 2:
            return rule
        spread, mean = torch.std_mean(rows, dim=0)
        far = (mean.abs() > TIMES_SPREAD * spread).nonzero()[:, 0].tolist()
        offsets = tuple((i, value) for i, value in zip(far, mean[far].tolist(), strict=True))
        return cls(max_norm=rule.max_norm, skip_first=skip_first, offsets=offsets)

    def keep(self, x: Float[Tensor, "contexts context d"]) -> Bool[Tensor, "contexts context"]:
        """True where a position is kept. ``x`` holds whole contexts, so that position 0 is the first."""
        norms = _norms(x)
        keep = (norms <= self.max_norm) & norms.isfinite()
        if self.skip_first:
            keep[:, 0] = False
        return keep

    def dropped(self, x: Float[Tensor, "contexts context d"]) -> dict[str, int]:
        """How many positions ``keep`` leaves out, by reason: "bos", "not_finite" (activations that are NaN or infinite,
        or whose norm is) and "sink"."""
        norms = _norms(x)[:, 1:] if self.skip_first else _norms(x)
        broken = int((~norms.isfinite()).sum())
        sinks = int((norms.isfinite() & (norms > self.max_norm)).sum())
        return {"bos": len(x) if self.skip_first else 0, "not_finite": broken, "sink": sinks}

    def offset(self, d: int) -> Float32[Tensor, " d"] | None:
        """What rows of width ``d`` lack of their values as they are stored; None where that is nothing."""
        if not self.offsets:
            return None
        dims, values = zip(*self.offsets, strict=True)
        out = torch.zeros(d)
        out[list(dims)] = torch.tensor(values)
        return out

    def stored(self, x: Float[Tensor, "*n d"]) -> BFloat16[Tensor, "*n d"]:
        """Rows as shards hold them."""
        offset = self.offset(x.shape[-1])
        return (x if offset is None else x.float() - offset.to(x.device)).to(torch.bfloat16)

    def rounded(self, x: Float[Tensor, "*n d"]) -> Float32[Tensor, "*n d"]:
        """Rows as they are when they were stored and read again."""
        return read_back(self.stored(x), self.offset(x.shape[-1])).float()

    def to_dict(self) -> dict[str, Any]:
        """As it is stored in manifests."""
        said: dict[str, Any] = {"max_norm": self.max_norm, "skip_first": self.skip_first}
        return said | ({"offsets": [list(each) for each in self.offsets]} if self.offsets else {})

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> "Hygiene":
        """Read back what ``to_dict`` gave."""
        return cls(**{**value, "offsets": tuple((int(i), float(v)) for i, v in value.get("offsets", ()))})


def _norms(x: Float[Tensor, "contexts context d"]) -> Float[Tensor, "contexts context"]:
    return torch.linalg.vector_norm(x, dim=-1, dtype=torch.float32)
