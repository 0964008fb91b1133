"""ranking: whether a metric ranks the diagnostics as it should, and which differences of dictionaries are more than
noise.

Everything is paired. A round is one draw of everything that is random in a measurement (texts, splits, contexts,
features) and, where a dictionary was trained from several seeds, one of these; all subjects of a round share it. So two
subjects are compared by their differences round by round, with Student's t.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from scipy.stats import t as student

from physalis.judging.counting import MEANS_SOMETHING, variation
from physalis.suites.records import Difference, Dropped, Measured, Metric, Role, SuiteScore

ORDER = ("oracle", "best k", "random", "permuted")
"""The diagnostics, from the best to the worst."""
TIED = ("random", "permuted")
"""Neither knows anything: which of the two scores higher may be left to chance."""
RATE = 0.05

Values = Mapping[str, Float[np.ndarray, " rounds"]]
"""Of each subject, a value a round; NaN where there was nothing to measure."""


def by_subject(found: Sequence[Measured], metric: str) -> dict[str, Float[np.ndarray, " rounds"]]:
    """The values of a metric, in the order in which subjects come."""
    here = [each for each in found if each.metric == metric]
    n = 1 + max((each.round for each in here), default=-1)
    values: dict[str, np.ndarray] = {}
    for each in here:
        row = values.setdefault(each.subject, np.full(n, np.nan))
        if each.value is not None:
            row[each.round] = each.value
    return values


def paired(
    a: Float[np.ndarray, " rounds"], b: Float[np.ndarray, " rounds"]
) -> tuple[float, float | None, float | None, float | None]:
    """Mean of ``a - b`` over the rounds that have both, its 95 % interval and p, by Student's t: None of fewer than
    three rounds. NaN of none."""
    away = (a - b)[np.isfinite(a) & np.isfinite(b)]
    if len(away) < 3:
        return (float(away.mean()) if len(away) else float("nan")), None, None, None
    mean, error = float(away.mean()), float(away.std(ddof=1) / np.sqrt(len(away)))
    half = float(student.ppf(0.975, len(away) - 1)) * error
    p = float(2 * student.sf(abs(mean) / error, len(away) - 1)) if error > 0 else float(mean == 0)
    return mean, mean - half, mean + half, p


def misranked(values: Values, metric: Metric) -> str | None:
    """Why a metric is not to be believed, or None. The diagnostics that there are must stand in ``ORDER``, each above
    the next by more than the noise of the rounds; random and permuted must only not stand the other way round."""
    there = [name for name in ORDER if name in values]
    if not {"best k", "random"} <= {*there}:
        return "it was not measured on the diagnostics"
    sign = 1 if metric.higher_is_better else -1
    for above, below in zip(there, there[1:], strict=False):
        mean, low, high, _ = paired(sign * values[above], sign * values[below])
        if low is None or high is None:
            return f"there are too few rounds to tell {above} from {below}"
        if high < 0:
            return f"{below} scores better than {above}"
        if low <= 0 and (above, below) != TIED:
            return f"{above} is not told from {below}"
    return None


def dropped(found: Sequence[Measured], metrics: Sequence[Metric]) -> list[Dropped]:
    """The metrics that misrank the diagnostics."""
    why = {each.name: misranked(by_subject(found, each.name), each) for each in metrics}
    return [Dropped(metric=each.name, title=each.title, why=said) for each in metrics if (said := why[each.name])]


def scores(found: Sequence[Measured], metrics: Sequence[Metric], seeds: Mapping[str, int]) -> list[SuiteScore]:
    """Each metric of each subject, over rounds. ``seeds`` says how many dictionaries stand behind a subject."""
    roles: dict[str, Role] = {each.subject: each.role for each in found}
    made = []
    for metric in metrics:
        for subject, row in by_subject(found, metric.name).items():
            row = row[np.isfinite(row)]
            if not len(row):
                continue
            spread = float(row.std(ddof=1)) if len(row) > 1 else None
            half = None
            if spread is not None and len(row) > 2:
                half = float(student.ppf(0.975, len(row) - 1)) * spread / len(row) ** 0.5
            value = float(row.mean())
            made.append(SuiteScore(
                metric=metric.name, dictionary=subject, role=roles[subject], value=value, noise=spread,
                cv=variation(row, spread), low=None if half is None else value - half,
                high=None if half is None else value + half,
                smallest_difference=None if spread is None else MEANS_SOMETHING * spread,
                n_rounds=len(row), n_seeds=seeds.get(subject, 0),
            ))  # fmt: skip
    return made


def differences(found: Sequence[Measured], metrics: Sequence[Metric], rate: float = RATE) -> list[Difference]:
    """Every pair of dictionaries on every metric. Those that mean something are chosen together, by Benjamini &
    Hochberg's rule (1995): of so many comparisons some differ by chance."""
    subjects = list(dict.fromkeys(each.subject for each in found if each.role == "dictionary"))
    rows = []
    for metric in metrics:
        values = by_subject(found, metric.name)
        there = [name for name in subjects if name in values]
        for i, a in enumerate(there):
            rows += [(metric.name, a, b, *paired(values[a], values[b])) for b in there[i + 1 :]]
    rows = [row for row in rows if np.isfinite(row[3])]
    p = np.sort([row[6] for row in rows if row[6] is not None])
    passes = np.flatnonzero(p <= rate * np.arange(1, len(p) + 1) / max(1, len(p)))
    bar = p[passes[-1]] if len(passes) else -1.0
    return [
        Difference(
            metric=metric, a=a, b=b, value=mean, low=low, high=high, p=chance,
            means_something=chance is not None and chance <= bar,
        )
        for metric, a, b, mean, low, high, chance in rows
    ]  # fmt: skip
