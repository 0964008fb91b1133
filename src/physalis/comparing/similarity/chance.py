"""chance: which scores are more than chance gives, at a false-discovery rate.

Every score is the best of many, so it is held against the best of as many that mean nothing. The share of those that
are as large is its p-value; Benjamini & Hochberg's rule (1995) then takes as many scores as keep the expected share of
chance among those taken below the rate. Null scores of all features are pooled: the rate holds over features, not for
each kind of them.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from physalis.comparing.records import Chance
from physalis.errors import BadInput

ROUNDS = 20
"""Draws of each feature's best score: 1 / rate at the usual rate, so that even a single feature can be found."""


class Judged(NamedTuple):
    """One entry a score."""

    p: Float[np.ndarray, " scored"]
    found: Bool[np.ndarray, " scored"]
    chance: Chance


def judge(
    scores: Float[np.ndarray, " scored"], drawn: Float[np.ndarray, " drawn"], *, tested: int, rate: float
) -> Judged:
    """Hold scores against best scores ``drawn`` by chance. ``tested`` counts the features that were looked at: those
    that got no score were looked at too.

    With few draws less is found, never more: a p-value counts the draw itself. Raises BadInput for a rate that is none.
    """
    if not 0 < rate < 1:
        raise BadInput(f"A false-discovery rate lies between 0 and 1; received {rate:g}. Usual is 0.05.")
    drawn = np.sort(drawn)
    n = len(drawn)
    p = (1 + n - np.searchsorted(drawn, scores, side="left")) / (1 + n)
    passes = np.flatnonzero(np.sort(p) <= rate * np.arange(1, len(p) + 1) / tested)
    threshold = None
    if len(passes) and n:
        allowed = int(rate * (passes[-1] + 1) / tested * (1 + n) + 1e-9) - 1  # draws that may be as large
        threshold = float(drawn[n - 1 - allowed])
    return Judged(
        p=p,
        found=np.zeros(len(p), bool) if threshold is None else scores > threshold,
        chance=Chance(
            rate=rate,
            threshold=threshold,
            n_drawn=n,
            typical=float(np.median(drawn)) if n else 0.0,
            highest=float(drawn[-1]) if n else 0.0,
        ),
    )
