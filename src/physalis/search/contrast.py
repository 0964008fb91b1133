"""contrast: which features fire here and not there: two sets of texts, or two prompts, compared feature by feature.

The unit is the text: tokens of one text depend on each other, so ten texts a side are ten observations.

1. A measure gives each text's share of two sums for each feature; a set's value is the two sums divided once.
2. The true split into two sets is compared with other splits of the same texts: all of them, or a random thousand. A
   feature's p is the share of splits under which it differs as much (Fisher 1935; never 0: Phipson & Smyth 2010).
3. With thousands of features and a handful of texts no p of one feature can survive a correction: ten texts have only
   252 splits. So the differences of all features, each in units of its own deviation between texts, are pooled: the
   false discovery rate of a list is how many features pass its threshold under an average split, over how many pass
   under the true one (Tusher, Tibshirani & Chu 2001, doi 10.1073/pnas.091062498), made monotone as Benjamini & Hochberg
   (1995) do.
4. Each split has a best list of its own. No q is smaller than the share of splits whose best list is as good as that of
   the true one. Where the labels mean nothing the true split is one among equals; so whatever the features'
   distributions, and however they depend on each other, anything at all is found in no more than 1 of 20 cases.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from math import comb
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int64

from physalis.errors import BadInput
from physalis.runtime.cancellation import check_interrupted
from physalis.search.reading import Reading
from physalis.search.records import Contrast, Contrasted

LEVEL = 0.05
"""The false discovery rate up to which a feature is counted as found."""

TIE = 1e-9
"""Differences that are equal but for the order of summation count as equal."""

STEPS = 2048
"""How finely differences are told apart where whole labellings are compared."""

BLOCK = 1 << 22
"""Differences held in memory at once."""


class Counted(NamedTuple):
    """One text's share of a measure's two sums: ``num`` for the features that fire on it, ``den`` for all alike."""

    ids: Int64[np.ndarray, " fired"]
    num: Float[np.ndarray, " fired"]
    den: float


Measure = Callable[[Reading], Counted]


def mean_code(reading: Reading) -> Counted:
    """Mean code a token, those on which the feature is silent too."""
    fired = reading.summed()
    return Counted(fired.ids, fired.total, float(reading.n_kept))


def share_of_tokens(reading: Reading) -> Counted:
    """Share of tokens on which the feature fires."""
    fired = reading.summed()
    return Counted(fired.ids, fired.tokens.astype(np.float64), float(reading.n_kept))


def share_of_texts(reading: Reading) -> Counted:
    """Share of texts in which the feature fires at all."""
    ids = reading.summed().ids
    return Counted(ids, np.ones(len(ids)), 1.0)


MEASURES: tuple[Measure, ...] = (mean_code, share_of_tokens, share_of_texts)


class _Table(NamedTuple):
    """Both sums, text by text, of the features that fire in any of them."""

    ids: Int64[np.ndarray, " features"]
    num: Float[np.ndarray, "texts features"]
    den: Float[np.ndarray, " texts"]


def contrast(
    here: Sequence[Reading],
    there: Sequence[Reading],
    *,
    measure: Measure = mean_code,
    top: int = 50,
    labellings: int = 1000,
    resamples: int = 1000,
    seed: int = 0,
) -> Contrast:
    """Compare two sets of texts: the ``top`` features that ``measure`` finds more of in each than in the other.

    ``q`` is what to believe, and ``least_q`` says what so few texts can show at best: with 3 texts a side nothing can
    pass 0.05, with 4 it can. ``labellings`` splits are tried at most, all of them where there are no more;
    ``resamples`` bootstrap samples give the intervals. One prompt against another is a set of one each: the ranking
    tells the two apart, and says nothing about others.

    Raises BadInput if a set is empty, or if hygiene leaves nothing of a text.
    """
    if not here or not there:
        raise BadInput(f"Two sets of texts are compared; received {len(here)} here and {len(there)} there.")
    table = _table([*here, *there], measure)
    fires = _table([*here, *there], share_of_texts).num
    n, n_here = len(table.den), len(here)
    labels = _labellings(n, n_here, labellings, seed)
    exhaustive = len(labels) == comb(n, n_here)
    apart = _deviations(table)
    effect = _differences(labels[:1], table)[0] / apart
    p, q = _judged(np.abs(effect), labels, table, apart)
    shown = [_ranked(sign * effect, sign * _differences(labels[:1], table)[0])[:top] for sign in (1, -1)]
    every = np.concatenate(shown)
    few = _Table(table.ids[every], table.num[:, every], table.den)
    chance = np.quantile(np.abs(_differences(labels, few)), 1 - LEVEL, axis=0)
    intervals = _intervals(few, n_here, resamples, seed) if n_here > 1 and n - n_here > 1 else None
    means = [_ratios(few, some) for some in (slice(n_here), slice(n_here, n))]
    rows = [
        Contrasted(
            id=int(few.ids[j]),
            here=float(means[0][j]),
            there=float(means[1][j]),
            difference=float(means[0][j] - means[1][j]),
            low=None if intervals is None else float(intervals[0, j]),
            high=None if intervals is None else float(intervals[1, j]),
            effect=float(effect[f]) if n > 2 else None,
            p=float(p[f]),
            q=float(q[f]),
            baseline=float(chance[j]),
            texts_here=float(fires[:n_here, f].mean()),
            texts_there=float(fires[n_here:, f].mean()),
        )
        for j, f in enumerate(every)
    ]
    mirrored = exhaustive and 2 * n_here == n  # the opposite split differs as much as the true one
    return Contrast(
        measure=getattr(measure, "__name__", "measure"),
        n_here=n_here,
        n_there=n - n_here,
        n_features=len(table.ids),
        labellings=len(labels),
        exhaustive=exhaustive,
        least_q=(2 if mirrored else 1) / len(labels),
        found=int((q <= LEVEL).sum()),
        more_here=rows[: len(shown[0])],
        more_there=rows[len(shown[0]) :],
    )


def verdict(found: Contrast) -> str:
    """What a contrast allows to conclude, in a sentence."""
    texts = f"{found.n_here} {'text' if found.n_here == 1 else 'texts'} in A and {found.n_there} in B"
    if found.least_q > LEVEL:
        return (
            f"With {texts} nothing can be told from chance: these are differences between these texts, not between "
            "kinds of text. Give at least 4 in each."
        )
    if not found.found:
        return f"With {texts}, no feature differs by more than chance would (at a false discovery rate of 5 %)."
    what = "1 feature differs" if found.found == 1 else f"{found.found:,} features differ"
    return f"{what} between {texts}, of {found.n_features:,} that fire at all; at most 1 in 20 of such is chance."


def resampled(
    num: Float[np.ndarray, "texts features"], den: Float[np.ndarray, " texts"], resamples: int, rng: np.random.Generator
) -> Float[np.ndarray, "resamples features"]:
    """``num.sum(0) / den.sum()`` of as many texts drawn with replacement, again and again (Efron 1979)."""
    times = rng.multinomial(len(den), np.full(len(den), 1 / len(den)), size=resamples).astype(np.float64)
    return (times @ num) / (times @ den)[:, None]


def interval(values: Float[np.ndarray, "resamples features"]) -> Float[np.ndarray, "2 features"]:
    """The middle 95 %, low and high."""
    return np.quantile(values, [0.025, 0.975], axis=0)


def _table(readings: Sequence[Reading], measure: Measure) -> _Table:
    counted = [measure(reading) for reading in readings]
    for number, each in enumerate(counted):
        if not each.den:
            raise BadInput(
                f"Hygiene leaves nothing of text {number + 1}, {readings[number].text[:40]!r}: it has no token that "
                "the dictionary reads. Give a longer text."
            )
    ids = np.unique(np.concatenate([each.ids for each in counted]))
    num = np.zeros((len(counted), len(ids)))
    for row, each in zip(num, counted, strict=True):
        row[np.searchsorted(ids, each.ids)] = each.num
    return _Table(ids, num, np.array([each.den for each in counted]))


def _ratios(table: _Table, some: slice) -> Float[np.ndarray, " features"]:
    return table.num[some].sum(0) / table.den[some].sum()


def _labellings(n: int, n_here: int, most: int, seed: int) -> Bool[np.ndarray, "labellings texts"]:
    """Splits of ``n`` texts, True for the first set; the true one comes first. All there are, or ``most`` of them."""
    true = np.arange(n) < n_here
    if comb(n, n_here) <= most:  # combinations come in lexicographic order, so the true split is the first of them
        chosen = np.array(list(combinations(range(n), n_here)))
        labels = np.zeros((len(chosen), n), bool)
        np.put_along_axis(labels, chosen, True, axis=1)
        return labels
    rng = np.random.default_rng(seed)
    return np.stack([true, *(rng.permutation(true) for _ in range(most - 1))])


def _differences(
    labels: Bool[np.ndarray, "labellings texts"], table: _Table
) -> Float[np.ndarray, "labellings features"]:
    """The first set's value less the second's, under each labelling."""
    inside, outside = labels.astype(np.float64), (~labels).astype(np.float64)
    here = (inside @ table.num) / (inside @ table.den)[:, None]
    return here - (outside @ table.num) / (outside @ table.den)[:, None]


def _deviations(table: _Table) -> Float[np.ndarray, " features"]:
    """The standard deviation between texts, both sets together: the same under every labelling, as it must be. For a
    ratio of sums it is that of the residuals; infinite where texts do not differ, so that nothing is found there."""
    rest = table.num - np.outer(table.den, table.num.sum(0) / table.den.sum())
    deviation = np.sqrt(np.square(rest).sum(0) / max(1, len(rest) - 1)) / table.den.mean()
    largest = np.abs(table.num).max(0) / table.den.mean()
    return np.where(deviation > TIE * largest, deviation, np.inf)


def _judged(
    found: Float[np.ndarray, " features"],
    labels: Bool[np.ndarray, "labellings texts"],
    table: _Table,
    apart: Float[np.ndarray, " features"],
) -> tuple[Float[np.ndarray, " features"], Float[np.ndarray, " features"]]:
    """(p, q) of each feature. ``found`` are the true split's differences, without sign, in units of ``apart``."""
    bar = found * (1 - TIE)
    heights = np.zeros((len(labels), STEPS), np.int64)
    done = 0
    order = np.argsort(bar)
    rising = bar[order]
    own = np.zeros(len(found))
    passed = np.zeros(len(found) + 1)
    for some in _blocks(labels, len(found)):
        check_interrupted()
        sizes = np.abs(_differences(some, table)) / apart
        own += (sizes >= bar).sum(0)
        passed += np.bincount(np.searchsorted(rising, sizes.ravel(), side="right"), minlength=len(found) + 1)
        step = (np.round(sizes, 9) / (1 + np.round(sizes, 9)) * STEPS).astype(np.int64)
        at = (np.arange(len(some))[:, None] * STEPS + step).ravel()
        heights[done : done + len(some)] = np.bincount(at, minlength=len(some) * STEPS).reshape(len(some), STEPS)
        done += len(some)
    by_chance = np.cumsum(passed[::-1])[::-1][1:] / len(labels)  # features that reach each bar under an average split
    true = len(found) - np.searchsorted(rising, rising, side="left")
    q = np.empty(len(found))
    q[order] = np.minimum.accumulate(np.minimum(1.0, by_chance / true))
    return own / len(labels), np.maximum(q, _any(heights))


def _any(heights: Int64[np.ndarray, "labellings steps"]) -> float:
    """The p of all features together: the share of labellings whose best list is as good as the true labelling's, which
    comes first. ``heights`` counts each labelling's features by how far apart they are; a list is those from some step
    up, and as good as its false discovery rate is low."""
    reach = np.cumsum(heights[:, ::-1], axis=1)[:, ::-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        rates = np.where(reach > 0, reach.mean(0) / reach, np.inf)
    best = rates.min(axis=1)
    return float((best <= best[0] * (1 + TIE)).mean())


def _blocks(labels: Bool[np.ndarray, "labellings texts"], n_features: int) -> Iterator[np.ndarray]:
    step = max(1, BLOCK // max(1, n_features))
    return (labels[i : i + step] for i in range(0, len(labels), step))


def _ranked(
    effect: Float[np.ndarray, " features"], difference: Float[np.ndarray, " features"]
) -> Int64[np.ndarray, " some"]:
    """Features with a positive difference, largest effect first; among equal effects the larger difference."""
    order = np.lexsort((-difference, -np.round(effect, 6)))
    return order[difference[order] > 0]


def _intervals(table: _Table, n_here: int, resamples: int, seed: int) -> Float[np.ndarray, "2 features"]:
    rng = np.random.default_rng(seed)
    here = resampled(table.num[:n_here], table.den[:n_here], resamples, rng)
    return interval(here - resampled(table.num[n_here:], table.den[n_here:], resamples, rng))
