"""records: what is stored of scores: each with its interval, by decile of code, and how noisy it is."""

from math import sqrt

import numpy as np
from jaxtyping import Float

from physalis.atlas.records import Estimate, Record

MEANS_SOMETHING = 1.96 * sqrt(2)
"""Times a spread: what a difference of two such numbers reaches by chance in one of twenty cases."""


def variation(values: Float[np.ndarray, " values"], spread: float | None) -> float | None:
    """The spread over the mean, where that is above 0."""
    return None if spread is None or not values.mean() > 0 else float(spread / values.mean())


class Noise(Record):
    """How far a score moves when other passages are drawn."""

    draws: tuple[float | None, ...]
    """The score of each draw alone."""
    spread: float | None
    """Their standard deviation; None of fewer than two."""
    cv: float | None
    """The spread over their mean; None where that is 0 or less."""
    smallest_difference: float | None
    """1.96 * sqrt(2) * spread: what two scores of one draw each have to differ by for it to mean anything."""


class Score(Record):
    """One number of one judge at one task, the mean of features."""

    corpus: str
    """The recording that was judged on."""
    task: str
    judge: str
    metric: str
    """balanced_accuracy, f1, auroc, correlation, accuracy or share."""
    chance: float | None
    """What comes of knowing nothing; None where there is no such number."""
    estimate: Estimate
    """Of all draws together, with an interval over documents."""
    by_decile: tuple[float | None, ...]
    """The same of each tenth of the passages by the feature's largest code, the weakest first; None where nothing was
    asked of it."""
    noise: Noise
    n_features: int
    n_answers: int
    unanswered: int
    """Answers that could not be read: they count as a no, or as level 0."""


class OverCorpora(Record):
    """One score on several texts."""

    task: str
    judge: str
    metric: str
    values: dict[str, float]
    """By recording."""
    spread: float
    cv: float | None
    smallest_difference: float
    """1.96 * sqrt(2) * spread over the recordings."""
