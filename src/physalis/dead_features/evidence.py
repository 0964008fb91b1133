"""What can be measured of dead features without repeating anything."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from physalis.dictionaries import Dictionary, Linear, Tick
from physalis.runtime.device import moved
from physalis.training.training import Part
from physalis.types import Batch, Codes

CHUNK = 4096  # rows encoded at a time
FEATURES = 512  # whose dense pre-activations are held at a time
MANY_TIMES, MOST = 10.0, 0.3
"""Dimensions whose variance is that many times the median are outliers, if they hold that share of all variance."""


class Counts(NamedTuple):
    """On how many tokens each feature fired."""

    fired: Int[Tensor, " features"]
    n_tokens: int


@torch.no_grad()
def count(dictionary: Dictionary, part: Part, tokens: int) -> Counts:
    """Over the first ``tokens`` rows, in whole chunks, or all that there are."""
    device = device_of(dictionary)
    fired, seen = torch.zeros(dictionary.config.n_features, dtype=torch.int64), 0
    for x in rows_of(part, tokens, device):
        fired += firings(dictionary.encode(x), len(fired))
        seen += len(x)
    return Counts(fired, seen)


def device_of(dictionary: Dictionary) -> torch.device:
    return next(dictionary.parameters()).device


def rows_of(part: Part, tokens: int, device: torch.device) -> Iterator[Float[Tensor, "n d_in"]]:
    """Raw rows on ``device``, chunk by chunk, until there are ``tokens`` of them."""
    n, seen = part.n_tokens, 0
    size = n // max(1, -(-n // CHUNK))  # so that few rows are left over
    for batch in moved(part.batches(size, seed=0), device) if size else ():
        if seen >= tokens:
            return
        yield batch.x.float()
        seen += len(batch.x)


def firings(codes: Codes, features: int) -> Int[Tensor, " features"]:
    """On how many rows each feature fired; on the CPU."""
    return torch.bincount(codes.ids[codes.values > 0].long().flatten(), minlength=features).cpu()


@torch.no_grad()
def count_at_start(young: Dictionary, sample: list[Batch]) -> Counts:
    """With the weights that training starts from, chosen as training chooses."""
    n = young.config.n_features
    nobody = torch.zeros(n, dtype=torch.bool, device=device_of(young))
    fired = sum((firings(young.loss(batch, Tick(0, 0.0, nobody)).codes, n) for batch in sample), torch.zeros(n).long())
    return Counts(fired, sum(len(batch.x) for batch in sample))


@dataclass(frozen=True, kw_only=True)
class Spread:
    """How rows are spread: around what mean, and over which dimensions."""

    mean: Float[Tensor, " d"]
    deviation: Float[Tensor, " d"]
    outliers: Bool[Tensor, " d"]
    """Dimensions that hold most of the variance among them."""

    @classmethod
    def of(cls, x: Float[Tensor, "tokens d"]) -> "Spread":
        deviation = x.std(0)
        variance = deviation.square()
        outliers = variance > MANY_TIMES * variance.median()
        if variance[outliers].sum() < MOST * variance.sum():
            outliers = torch.zeros_like(outliers)
        return cls(mean=x.mean(0), deviation=deviation, outliers=outliers)

    @property
    def offset(self) -> float:
        """Length of the mean over that of the deviation: gamma of arXiv 2605.31518."""
        return float(self.mean.norm() / self.deviation.norm().clamp_min(1e-30))

    @property
    def share(self) -> float:
        """Of all variance, what the outlier dimensions hold."""
        variance = self.deviation.square()
        return float(variance[self.outliers].sum() / variance.sum().clamp_min(1e-30))


def inside(dictionary: Dictionary, x: Float[Tensor, "tokens d"]) -> Float[Tensor, "tokens d"]:
    """What the encoder's product is taken with."""
    return dictionary.inside(x) if isinstance(dictionary, Linear) else x - dictionary.centre  # pyright: ignore


@torch.no_grad()
def shortfall(
    dictionary: Dictionary, x: Float[Tensor, "tokens d"], ids: Int[Tensor, " dead"]
) -> Float[Tensor, " dead"]:
    """By how many of its standard deviations each feature's pre-activation stays below what it would have to exceed,
    on the row where it comes nearest; negative where it exceeds it. On the CPU, as ``ids`` are."""
    codes, z = dictionary.encode(x), inside(dictionary, x)
    found = []
    for part in ids.to(x.device).split(FEATURES):
        pre = z @ dictionary.reads(part).T + dictionary.b_enc[part]  # pyright: ignore
        rest = _needed(dictionary, codes, part) - pre
        found.append(rest.min(0).values / pre.std(0).clamp_min(1e-30))
    return torch.cat(found).cpu() if found else torch.zeros(0)


def _needed(dictionary: Dictionary, codes: Codes, ids: Tensor) -> Tensor:
    threshold = getattr(dictionary, "threshold", None)
    if threshold is not None:
        return threshold[ids]
    if hasattr(dictionary, "asked"):  # a penalty decides, and a positive pre-activation fires
        return torch.zeros(len(ids), device=ids.device)
    return codes.values.min(1, keepdim=True).values  # a full row is entered by exceeding its smallest code


@torch.no_grad()
def alignment(reads: Float[Tensor, "n d"], mean: Float[Tensor, " d"]) -> Float[Tensor, " n"]:
    """Cosine of what each feature reads with the mean; on the CPU."""
    return (normalize(reads, dim=1) @ normalize(mean, dim=0)).cpu()


@torch.no_grad()
def mass(reads: Float[Tensor, "n d"], dimensions: Bool[Tensor, " d"]) -> Float[Tensor, " n"]:
    """Share of each row's squared length in these dimensions; on the CPU."""
    return normalize(reads, dim=1)[:, dimensions].square().sum(1).cpu()


@torch.no_grad()
def nearest(rows: Float[Tensor, "n d"], others: Float[Tensor, "m d"]) -> Float[Tensor, " n"]:
    """The largest cosine of each row with one of the others, on the CPU; 0 where there is none."""
    if not len(others):
        return torch.zeros(len(rows))
    others = normalize(others, dim=1)
    found = [(normalize(part, dim=1) @ others.T).max(1).values for part in rows.split(FEATURES)]
    return torch.cat(found).cpu() if found else torch.zeros(0)
