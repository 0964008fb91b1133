"""probes: how well two classes of texts are told apart, by AUROC on texts that no probe was trained on.

A *sparse probe* reads few features: those whose mean codes differ most between the classes of the training texts, in
standard deviations. A *dense* one reads every dimension of the activations. *Difference of means* projects onto the
difference of the classes' means and fits nothing. The *token baseline* never sees the model: which tokens a text has.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.sparse import csr_array
from scipy.stats import rankdata
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0)
"""Of the penalty of dense and token probes (scikit-learn's C): the best one on a fifth of the training texts is
taken."""
SPARSE_STRENGTH = 1.0
ITERATIONS = 2_000


class Halves(NamedTuple):
    """Which texts are trained on, and which are judged on."""

    train: Int[np.ndarray, " train"]
    test: Int[np.ndarray, " test"]

    @classmethod
    def drawn(cls, labels: Bool[np.ndarray, " texts"], most: int, *, seed: int) -> "Halves":
        """``most`` texts at most, as many of either class, half of each class to train on."""
        rng = np.random.default_rng(seed)
        each = [rng.permutation(np.flatnonzero(labels == side)) for side in (False, True)]
        n = min(most // 2, *(len(some) for some in each))
        return cls(
            *(np.sort(np.concatenate([some[part] for some in each])) for part in (slice(n // 2), slice(n // 2, n)))
        )


def auroc(said: Float[np.ndarray, " texts"], labels: Bool[np.ndarray, " texts"]) -> float:
    """How often a text of the second class scores above one of the first, ties counting half; NaN of one class."""
    n = int(labels.sum())
    if not 0 < n < len(labels):
        return float("nan")
    return float((rankdata(said)[labels].sum() - n * (n + 1) / 2) / (n * (len(labels) - n)))


class Scorer(NamedTuple):
    """A trained probe: ``x`` [texts, inputs] to a score of each."""

    columns: Int[np.ndarray, " used"]
    shift: Float[np.ndarray, " used"]
    weights: Float[np.ndarray, " used"]

    def __call__(self, x: Float[np.ndarray, "texts inputs"]) -> Float[np.ndarray, " texts"]:
        return (x[:, self.columns] - self.shift) @ self.weights


def sparse_probe(x: Float[np.ndarray, "texts features"], labels: Bool[np.ndarray, " texts"], k: int) -> Scorer:
    """A logistic regression on the ``k`` features whose mean codes differ most, chosen and fitted on these texts."""
    spread = x.std(0)
    apart = np.abs(x[labels].mean(0) - x[~labels].mean(0)) / np.maximum(spread, 1e-9)
    chosen = np.argsort(-np.where(spread > 0, apart, -1.0), kind="stable")[:k]
    return _logistic(x, labels, chosen, SPARSE_STRENGTH)


def dense_probe(x: Float[np.ndarray, "texts d"], labels: Bool[np.ndarray, " texts"], *, seed: int) -> Scorer:
    """A logistic regression on all dimensions, as strongly penalised as is best on texts that were held back."""
    every, held = np.arange(x.shape[1]), _held_back(labels, seed)
    own = np.setdiff1d(np.arange(len(labels)), held)
    scores = [auroc(_logistic(x[own], labels[own], every, c)(x[held]), labels[held]) for c in STRENGTHS]
    return _logistic(x, labels, every, STRENGTHS[int(np.nanargmax(scores))])


def mean_difference(x: Float[np.ndarray, "texts d"], labels: Bool[np.ndarray, " texts"]) -> Scorer:
    """The difference of the classes' means, as a direction."""
    return Scorer(np.arange(x.shape[1]), np.zeros(x.shape[1]), x[labels].mean(0) - x[~labels].mean(0))


def token_auroc(
    texts: Sequence[Sequence[int]], labels: Bool[np.ndarray, " texts"], halves: Halves,
    others: Sequence[Sequence[int]] = (), other_labels: Bool[np.ndarray, " others"] | None = None, *, seed: int,
) -> tuple[float, float]:  # fmt: skip
    """AUROC of a logistic regression on which tokens a text has, of the texts judged on and of ``others``; NaN of
    none. It chooses its penalty as the dense one does."""
    size = 1 + max((max(ids, default=0) for ids in (*texts, *others)), default=0)
    x, y = _bags(texts, size), labels
    train, test = halves
    held = train[_held_back(labels[train], seed)]
    own = np.setdiff1d(train, held)
    fits = [LogisticRegression(C=10 * c, max_iter=ITERATIONS).fit(x[own], y[own]) for c in STRENGTHS]
    best = int(np.nanargmax([auroc(fit.decision_function(x[held]), y[held]) for fit in fits]))
    fit = LogisticRegression(C=10 * STRENGTHS[best], max_iter=ITERATIONS).fit(x[train], y[train])
    there = float("nan")
    if other_labels is not None:
        there = auroc(fit.decision_function(_bags(others, size)), other_labels)
    return auroc(fit.decision_function(x[test]), y[test]), there


def _held_back(labels: np.ndarray, seed: int) -> np.ndarray:
    """A fifth of the texts of either class, one at least."""
    rng = np.random.default_rng(seed)
    each = [rng.permutation(np.flatnonzero(labels == side)) for side in (False, True)]
    return np.sort(np.concatenate([some[: max(1, len(some) // 5)] for some in each]))


def _bags(texts: Sequence[Sequence[int]], size: int) -> csr_array:
    """Which tokens each text has, [texts, tokens]."""
    distinct = [np.unique(np.asarray(ids, np.int64)) for ids in texts]
    ends = np.cumsum([0, *(len(ids) for ids in distinct)])
    columns = np.concatenate([*distinct, np.zeros(0, np.int64)])
    return csr_array((np.ones(len(columns)), columns, ends), shape=(len(texts), size))


def _logistic(x: np.ndarray, labels: np.ndarray, columns: np.ndarray, strength: float) -> Scorer:
    scaler = StandardScaler().fit(x[:, columns])
    fit = LogisticRegression(C=strength, max_iter=ITERATIONS).fit(scaler.transform(x[:, columns]), labels)
    scale, mean = np.asarray(scaler.scale_), np.asarray(scaler.mean_)
    return Scorer(columns, mean, fit.coef_[0] / scale)
