"""counts: what both a comparison and a tree say of their dictionaries in numbers: shares and histograms."""

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float

from physalis import metrics
from physalis.comparing.records import Baseline, Estimate, Histogram, Level, Matched
from physalis.comparing.similarity.matching import Matching
from physalis.metrics import Ratio

LEVELS = (0.5, 0.7, 0.9)
"""Scores at which shares are also told, whatever chance says: published comparisons call .7 the same feature."""

SCORES = np.linspace(-1, 1, 81)


def share(count: int, of: int) -> Estimate:
    """``count`` of ``of`` features, with Wilson's interval; of none, nothing is known."""
    if of == 0:
        return Estimate(value=0.0, low=0.0, high=1.0)
    return Estimate(**metrics.share_estimate(Ratio(torch.tensor([float(count)]), torch.tensor([float(of)]))))


def histogram(values: Float[np.ndarray, " n"], edges: Float[np.ndarray, " edges"]) -> Histogram:
    """Values that are no numbers are left out; those beyond the edges count in the outermost intervals."""
    values = np.clip(values[~np.isnan(values)], edges[0], edges[-1])
    return Histogram(edges=edges.tolist(), counts=np.histogram(values, edges)[0].tolist())


def matched(matching: Matching, *, n_a: int, n_b: int, baselines: Mapping[str, Float[np.ndarray, " n"]]) -> Matched:
    """A matching in numbers. ``n_a`` and ``n_b`` count the features that could be paired; ``baselines`` are best scores
    of the narrower side where nothing is shared."""
    n_found, narrower = int(matching.found.sum()), min(n_a, n_b)
    threshold = matching.chance.threshold

    def beyond(score: float | None) -> list[Baseline]:
        return [
            Baseline(name=name, share=share(0 if score is None else int((best > score).sum()), len(best)))
            for name, best in baselines.items()
        ]

    return Matched(
        method=matching.method,
        chance=matching.chance,
        share_a=share(n_found, n_a),
        share_b=share(n_found, n_b),
        baselines=beyond(threshold),
        levels=[
            Level(score=at, share=share(int((matching.score > at).sum()), narrower), baselines=beyond(at))
            for at in LEVELS
        ],
        scores=histogram(matching.score, SCORES),
        by_chance=histogram(matching.drawn, SCORES),
    )
