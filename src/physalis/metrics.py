"""Every metric: a function from a Reconstruction, a Splice or a Firing to a Ratio, divided once at the end.

A Ratio holds, for each token (or feature), its share of two sums. Whoever aggregates adds both over everything and
divides once: averaging the ratios of batches gives another number, which has reached published benchmarks more than
once. The shares also give the interval: whole contexts are resampled, for tokens of one context are not independent.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from physalis.types import Codes


class Ratio(NamedTuple):
    """``num.sum() / den.sum()``, before the sums."""

    num: Float[Tensor, " n"]
    den: Float[Tensor, " n"]


class Reconstruction(NamedTuple):
    """Activations and what a dictionary makes of them; ``mean`` is that of the training activations."""

    y: Float[Tensor, "tokens d_out"]
    y_hat: Float[Tensor, "tokens d_out"]
    codes: Codes
    mean: Float[Tensor, " d_out"]


class Splice(NamedTuple):
    """Loss of the model on each next token, in nats: as it is, with the reconstruction in place of the activations, and
    with all of them replaced by zero or by their mean; ``kl`` is KL(as it is || spliced)."""

    clean: Float[Tensor, " tokens"]
    spliced: Float[Tensor, " tokens"]
    zeroed: Float[Tensor, " tokens"]
    averaged: Float[Tensor, " tokens"]
    kl: Float[Tensor, " tokens"]


class Firing(NamedTuple):
    """How many of ``n_tokens`` tokens each feature fired on."""

    counts: Int[Tensor, " features"]
    n_tokens: int


def fvu(r: Reconstruction) -> Ratio:
    """Fraction of variance unexplained: 0 is perfect, 1 is no better than the mean."""
    return Ratio((r.y - r.y_hat).square().sum(1), (r.y - r.mean).square().sum(1))


def cosine(r: Reconstruction) -> Ratio:
    """Mean cosine between the centred activation and its centred reconstruction."""
    value = torch.nn.functional.cosine_similarity(r.y - r.mean, r.y_hat - r.mean, dim=1)
    return Ratio(value, torch.ones_like(value))


def l0(r: Reconstruction) -> Ratio:
    """Mean number of features that fire on a token."""
    value = (r.codes.values > 0).sum(1).float()
    return Ratio(value, torch.ones_like(value))


def ce(s: Splice) -> Ratio:
    """The model's own cross-entropy, nats a token."""
    return Ratio(s.clean, torch.ones_like(s.clean))


def ce_increase(s: Splice) -> Ratio:
    """What splicing the reconstruction in adds to the model's cross-entropy, nats a token."""
    return Ratio(s.spliced - s.clean, torch.ones_like(s.clean))


def kl(s: Splice) -> Ratio:
    """KL divergence from the model's predictions to the spliced model's, nats a token."""
    return Ratio(s.kl, torch.ones_like(s.kl))


def loss_recovered_zero(s: Splice) -> Ratio:
    """Share of the loss of zeroing the site that the reconstruction avoids: 1 is perfect. Zeroing is a low bar: it
    destroys the model, so nearly anything recovers most of it."""
    return Ratio(s.zeroed - s.spliced, s.zeroed - s.clean)


def loss_recovered_mean(s: Splice) -> Ratio:
    """Share of the loss of replacing the site by its mean that the reconstruction avoids: 1 is perfect."""
    return Ratio(s.averaged - s.spliced, s.averaged - s.clean)


def dead_fraction(f: Firing) -> Ratio:
    """Share of features that fired on no token of the text they were counted on."""
    value = (f.counts == 0).float()
    return Ratio(value, torch.ones_like(value))


def dense_fraction(f: Firing) -> Ratio:
    """Share of features that fired on more than a tenth of the tokens."""
    value = (f.counts > 0.1 * f.n_tokens).float()
    return Ratio(value, torch.ones_like(value))


RECONSTRUCTION = (fvu, cosine, l0)
SPLICE = (ce, ce_increase, kl, loss_recovered_zero, loss_recovered_mean)
FIRING = (dead_fraction, dense_fraction)


def log_density_histogram(f: Firing, bins: int = 40) -> tuple[list[float], list[int]]:
    """(edges, counts) of log10 density over the features that fired."""
    alive = f.counts[f.counts > 0].double()
    density = torch.log10(alive / f.n_tokens).cpu().numpy()
    counts, edges = np.histogram(density, bins=bins, range=(np.log10(1 / max(f.n_tokens, 1)), 0.0))
    return edges.tolist(), counts.tolist()


class Sums:
    """Both sums of a Ratio, kept apart by context so that contexts can be resampled."""

    def __init__(self, n_contexts: int) -> None:
        self.num = torch.zeros(n_contexts, dtype=torch.float64)
        self.den = torch.zeros(n_contexts, dtype=torch.float64)

    def add(self, ratio: Ratio, contexts: Int[Tensor, " n"]) -> None:
        """Add a batch's shares; ``contexts[i]`` is the context that share i belongs to."""
        self.num.index_add_(0, contexts.cpu().long(), ratio.num.detach().cpu().double())
        self.den.index_add_(0, contexts.cpu().long(), ratio.den.detach().cpu().double())

    def estimate(self, *, resamples: int = 1000, seed: int = 0) -> dict[str, float]:
        """``{value, low, high}``: the ratio and its 95 % percentile bootstrap interval over contexts."""
        used = self.den.ne(0) | self.num.ne(0)
        num, den = self.num[used].numpy(), self.den[used].numpy()
        return _bootstrap(num, den, resamples, seed)


def _bootstrap(num: np.ndarray, den: np.ndarray, resamples: int, seed: int) -> dict[str, float]:
    if len(num) == 0 or den.sum() == 0:
        raise ValueError("nothing was measured")
    value = float(num.sum() / den.sum())
    rng = np.random.default_rng(seed)
    ratios = []
    for _ in range(resamples):
        weight = np.bincount(rng.integers(0, len(num), len(num)), minlength=len(num))
        below = weight @ den
        ratios.append(weight @ num / below if below else np.nan)
    low, high = np.nanquantile(ratios, [0.025, 0.975])
    return {"value": value, "low": float(low), "high": float(high)}


def share_estimate(ratio: Ratio) -> dict[str, float]:
    """``{value, low, high}`` of a share of features, with Wilson's 95 % interval: how far the share would move with
    another dictionary of the same kind, if features were independent."""
    n, p = float(ratio.den.sum()), float(ratio.num.sum() / ratio.den.sum())
    z = 1.96
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return {"value": p, "low": max(0.0, float(centre - half)), "high": min(1.0, float(centre + half))}
