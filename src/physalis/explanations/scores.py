"""scores: how well predicted codes agree with a feature's, on text that nothing was learned from.

Counts are kept by document, in blocks where there are many, so that every score has an interval over documents, and the
mean of many features too: what is alike inside a document repeats in all of its tokens.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from physalis.atlas.records import Estimate
from physalis.explanations.records import Detection, Explanation, Mean
from physalis.metrics import ENOUGH, Ratio, Sums, interval_without

BLOCKS = 64
"""Documents are joined to so many blocks at most."""


class Held(NamedTuple):
    """The positions that are judged."""

    at: Int[np.ndarray, " tokens"]
    blocks: Int[np.ndarray, " tokens"]
    """The block of documents that each stands in, from 0."""
    n_blocks: int

    @classmethod
    def of(cls, at: Int[np.ndarray, " tokens"], documents: Int[np.ndarray, " positions"]) -> "Held":
        """Of positions of a text whose document is known for each."""
        _, numbers = np.unique(documents[at], return_inverse=True)
        n = min(BLOCKS, int(numbers.max(initial=-1)) + 1)
        return cls(at, (numbers % max(1, n)).astype(np.int32), n)


class Counts(NamedTuple):
    """In each block of documents."""

    hits: Int[np.ndarray, " blocks"]
    predicted: Int[np.ndarray, " blocks"]
    fires: Int[np.ndarray, " blocks"]
    tokens: Int[np.ndarray, " blocks"]

    @classmethod
    def of(cls, predicted: Bool[np.ndarray, " tokens"], fires: Bool[np.ndarray, " tokens"], held: Held) -> "Counts":
        """Of held-out tokens."""
        n = held.n_blocks
        parts = (predicted & fires, predicted, fires)
        hits, said, true = (np.bincount(held.blocks[part], minlength=n) for part in parts)
        return cls(hits, said, true, np.bincount(held.blocks, minlength=n))

    def detection(self) -> Detection:
        """What they say."""
        hits, said, fires, tokens = (int(part.sum()) for part in self)
        sums = Sums()
        numbers = np.arange(len(self.hits))
        num, den = 2.0 * self.hits, (self.predicted + self.fires).astype(float)
        sums.add(Ratio(torch.from_numpy(num), torch.from_numpy(den)), numbers)
        silent = tokens - fires
        recall = hits / fires if fires else None
        return Detection(
            f1=_share(sums.estimate()) if said + fires else Estimate(value=0.0, low=None, high=None),
            precision=hits / said if said else None,
            recall=recall,
            balanced_accuracy=(recall + (silent - said + hits) / silent) / 2 if recall is not None and silent else None,
        )


class Judged(NamedTuple):
    """The counts of one feature: of the rule for all firings and the strong ones, and of the best token."""

    all: Counts
    strong: Counts
    token: Counts

    def array(self) -> Int[np.ndarray, "3 4 blocks"]:
        """To be kept."""
        return np.stack([np.stack(part) for part in self])


def judge(
    predicted: Float[np.ndarray, " tokens"],
    codes: Float[np.ndarray, " tokens"],
    is_token: Bool[np.ndarray, " tokens"],
    median: float,
    held: Held,
) -> Judged:
    """Counts on held-out tokens: of predicted codes and true ones, and of the best token's places. Firings below the
    ``median`` are neither strong nor silent."""
    fires, said = codes > 0, predicted > 0
    use = ~fires | (codes >= median)
    some = Held(held.at[use], held.blocks[use], held.n_blocks)
    return Judged(
        Counts.of(said, fires, held), Counts.of(said[use], fires[use], some), Counts.of(is_token, fires, held)
    )


def correlation(a: Float[np.ndarray, " tokens"], b: Float[np.ndarray, " tokens"]) -> float | None:
    """Pearson's; None where one of them is constant."""
    if not len(a) or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(np.corrcoef(a, b)[0, 1])


def f1s(counts: Int[np.ndarray, "features 4 blocks"]) -> Float[np.ndarray, " features"]:
    """F1 of each feature, 0 where nothing is predicted and nothing fires."""
    hits, said, fires, _ = counts.sum(2).T
    return 2 * hits / np.maximum(1, said + fires)


def mean_f1(counts: Int[np.ndarray, "features 4 blocks"]) -> Estimate:
    """Mean F1 of features, each of which fires somewhere, with an interval of leaving out one block after another."""
    value = float(f1s(counts).mean()) if len(counts) else 0.0
    with_firings = int((counts[:, 2].sum(0) > 0).sum())
    if with_firings < ENOUGH:
        return Estimate(value=value, low=None, high=None)
    whole = counts.sum(2, keepdims=True)
    without = []
    for block in range(counts.shape[2]):
        hits, said, fires, _ = (whole[:, :, 0] - counts[:, :, block]).T
        without.append(float((2 * hits / np.maximum(1, said + fires)).mean()))
    weights = counts[:, 3].sum(0).astype(float)
    n = float(weights.sum() ** 2 / np.square(weights).sum())
    return _share(interval_without(value, np.array(without), (len(without), n)))


def _share(measured: Mapping[str, Any]) -> Estimate:
    """Of what lies between 0 and 1, with its interval inside these."""
    ends = {end: None if measured[end] is None else min(1.0, max(0.0, measured[end])) for end in ("low", "high")}
    return Estimate(value=measured["value"], **ends)


def mean(explanations: list[Explanation], counts: Int[np.ndarray, "features 3 4 blocks"]) -> Mean:
    """Of features that fire in the text that was learned from, as far as they fire in the held-out text too."""
    fires = counts[:, 0, 2].sum(1) > 0
    kept = counts[fires]
    return Mean(
        f1=mean_f1(kept[:, 0]),
        f1_strong=mean_f1(kept[:, 1]),
        f1_token=mean_f1(kept[:, 2]),
        at_least_80=float((f1s(kept[:, 0]) >= 0.8).mean()) if len(kept) else 0.0,
        size=float(np.median([each.size for each in explanations])) if explanations else 0.0,
        features=len(kept),
    )
