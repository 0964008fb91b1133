"""strata: what holds of a feature's firings on average, from a few examples of each level of its code.

Most firings lie at the lowest levels and the examples do not, so each level counts by its share of the firings: a
stratified sample (Cochran, Sampling Techniques, ch. 5 and 6).
"""

import numpy as np
from jaxtyping import Float, Float64, Int
from scipy.special import stdtrit

from physalis.atlas.records import Estimate


def weights(levels: Int[np.ndarray, " examples"], shares: Float[np.ndarray, " examples"]) -> Float64[np.ndarray, " n"]:
    """What each example counts: its level's share of the firings, divided among the examples of that level."""
    _, of, counts = np.unique(levels, return_inverse=True, return_counts=True)
    return shares.astype(np.float64) / counts[of]


def over_firings(
    num: Float64[np.ndarray, " examples"],
    den: Float[np.ndarray, " examples"] | Int[np.ndarray, " examples"],
    levels: Int[np.ndarray, " examples"],
    shares: Float[np.ndarray, " examples"],
) -> Estimate:
    """``num / den`` of a typical firing, each summed over the examples by ``weights``, with its 95 % interval.

    The interval is Student's, of the ratio's linearisation, with the degrees of freedom that the levels' variances
    leave together (Satterthwaite's). Levels with a single example share one variance, which what differs between them
    makes too large rather than too small (collapsed strata, Cochran 5A.12). Needs two examples.
    """
    each = weights(levels, shares)
    below = (each * den).sum()
    value = (each * num).sum() / below
    away = num - value * den
    variances, freedoms = [], []
    for rows in _strata(levels):
        variances.append((each[rows] ** 2).sum() * away[rows].var(ddof=1))
        freedoms.append(len(rows) - 1)
    total = sum(variances)
    freedom = total**2 / sum(v**2 / f for v, f in zip(variances, freedoms, strict=True)) if total > 0 else 1.0
    half = stdtrit(freedom, 0.975) * np.sqrt(total) / below
    return Estimate(value=float(value), low=float(value - half), high=float(value + half))


def _strata(levels: Int[np.ndarray, " examples"]) -> list[Int[np.ndarray, " n"]]:
    """The examples of each level that has two or more; the others together, and if that is one, with the next level."""
    rows = [np.flatnonzero(levels == level) for level in np.unique(levels)]
    several, alone = ([each for each in rows if (len(each) > 1) == many] for many in (True, False))
    if len(alone) == 1 and several:
        near = min(range(len(several)), key=lambda i: abs(int(levels[several[i][0]]) - int(levels[alone[0][0]])))
        several[near] = np.concatenate([several[near], alone[0]])
    elif alone:
        several.append(np.concatenate(alone))
    return several
