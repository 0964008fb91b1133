"""counting: from answers to scores: metrics of rows of answers, their means over features, intervals and noise."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import rankdata

from physalis.atlas.records import Estimate
from physalis.judging.judges import YES
from physalis.judging.passages import BLOCKS, DECILES
from physalis.judging.questions import Asked
from physalis.judging.records import MEANS_SOMETHING, Noise, variation
from physalis.metrics import interval_without


class Rows(NamedTuple):
    """Answers about one feature."""

    said: Float[np.ndarray, " rows"]
    truth: Float[np.ndarray, " rows"]
    decile: Int[np.ndarray, " rows"]
    block: Int[np.ndarray, " rows"]
    draw: Int[np.ndarray, " rows"]

    def where(self, mask: np.ndarray) -> "Rows":
        """Some of them."""
        return Rows(*(part[mask] for part in self))


Metric = Callable[[Rows], float]
"""NaN where there is nothing to measure."""


def balanced_accuracy(rows: Rows) -> float:
    """Mean of the shares of right answers where it fires and where it does not: .5 for always yes or always no."""
    yes, true = rows.said >= YES, rows.truth > 0
    if true.all() or not true.any():
        return np.nan
    return float((yes[true].mean() + (~yes[~true]).mean()) / 2)


def f1(rows: Rows) -> float:
    """2 hits / (yeses + firing ones), as if as many passages were silent as fire: a decile is not the worse for being a
    tenth of them."""
    yes, true = rows.said >= YES, rows.truth > 0
    if true.all() or not true.any():
        return np.nan
    hits, wrong = float(yes[true].mean()), float(yes[~true].mean())
    return 2 * hits / (hits + wrong + 1)


def auroc(rows: Rows) -> float:
    """How often a passage in which it fires is held the likelier of two, ties counting half."""
    true = rows.truth > 0
    n = int(true.sum())
    if not 0 < n < len(true):
        return np.nan
    return float((rankdata(rows.said)[true].sum() - n * (n + 1) / 2) / (n * (len(true) - n)))


def correlation(rows: Rows) -> float:
    """Pearson's, of what was said and the code. What is said to be the same everywhere explains nothing: 0."""
    if len(rows.truth) < 2 or np.ptp(rows.truth) == 0:
        return np.nan
    return float(np.corrcoef(rows.said, rows.truth)[0, 1]) if np.ptp(rows.said) > 0 else 0.0


def mean(rows: Rows) -> float:
    """Of what was counted right."""
    return float(rows.truth.mean()) if len(rows.truth) else np.nan


METRICS: dict[str, dict[str, tuple[Metric, float | None]]] = {
    "detection": {"balanced_accuracy": (balanced_accuracy, 0.5), "f1": (f1, None), "auroc": (auroc, 0.5)},
    "fuzzing": {"balanced_accuracy": (balanced_accuracy, 0.5), "f1": (f1, None), "auroc": (auroc, 0.5)},
    "simulation": {"correlation": (correlation, 0.0)},
    "intruder": {"accuracy": (mean, 0.2)},
    "embedding": {"auroc": (auroc, 0.5)},
    "purity": {"share": (mean, None)},
    "responsiveness": {"share": (mean, None)},
}
"""Of each task, each metric and what chance is."""


def rows_of(task: str, asked: Sequence[Asked], answers: Sequence[np.ndarray], draw: int) -> tuple[Rows, int]:
    """Answers beside what is right, and how many were none, which are a no. ``intruder`` has a row a question: 1 for
    the right one, its share where several passages are called equally odd."""
    none = sum(int(np.isnan(each).sum()) for each in answers)
    parts = []
    for (_, key), given in zip(asked, answers, strict=True):
        said = np.where(np.isnan(given), 0.0, given)
        if task == "intruder":
            best = said == said.max()
            right = float(best[key.truth > 0].sum() / best.sum())
            parts.append((np.zeros(1), np.array([right]), key.decile[:1], key.block[key.truth > 0]))
        elif task == "purity":
            yes = (said[key.counts] >= YES) * 1.0
            parts.append((yes, yes, key.decile[key.counts], key.block[key.counts]))
        else:
            parts.append((said[key.counts], *(part[key.counts] for part in (key.truth, key.decile, key.block))))
    if not parts:
        return Rows(np.zeros(0), np.zeros(0), *(np.zeros(0, np.int64) for _ in range(3))), none
    said, truth, decile, block = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Rows(said, truth, decile, block, np.full(len(said), draw)), none


def over_features(rows: Sequence[Rows], metric: Metric) -> float:
    """The mean of the features on which there is something to measure; NaN where there is none."""
    values = [value for each in rows if not np.isnan(value := metric(each))]
    return float(np.mean(values)) if values else np.nan


def estimate(rows: Sequence[Rows], metric: Metric) -> Estimate:
    """With an interval of leaving out one block of documents after another, inside what the metric can be."""
    value = over_features(rows, metric)
    sizes = np.bincount(np.concatenate([each.block for each in rows]), minlength=BLOCKS).astype(float)
    there = np.flatnonzero(sizes)
    without = np.array([over_features([each.where(each.block != b) for each in rows], metric) for b in there])
    worth = float(sizes.sum() ** 2 / np.square(sizes).sum()) if len(there) else 0.0
    least, found = (-1.0 if metric is correlation else 0.0), interval_without(value, without, (len(there), worth))
    ends = {end: None if (at := found[end]) is None else min(1.0, max(least, at)) for end in ("low", "high")}
    return Estimate(value=found["value"], **ends)


def by_decile(rows: Sequence[Rows], metric: Metric) -> tuple[float | None, ...]:
    """Of passages of each decile, with all those in which the feature is silent."""
    found = []
    for decile in range(DECILES):
        of = [each.where((each.decile == decile) | (each.decile < 0)) for each in rows if (each.decile == decile).any()]
        found.append(told(over_features(of, metric)))
    return tuple(found)


def noise(rows: Sequence[Rows], metric: Metric, draws: int) -> Noise:
    """Over draws."""
    values = [over_features([each.where(each.draw == draw) for each in rows], metric) for draw in range(draws)]
    found = np.array([value for value in values if not np.isnan(value)])
    spread = float(found.std(ddof=1)) if len(found) > 1 else None
    return Noise(
        draws=tuple(map(told, values)), spread=spread, cv=variation(found, spread),
        smallest_difference=None if spread is None else MEANS_SOMETHING * spread,
    )  # fmt: skip


def told(value: float) -> float | None:
    """None for NaN."""
    return None if np.isnan(value) else value
