"""Metrics against their definitions, intervals against what they promise, noise against what was put in."""

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score, roc_auc_score

from physalis.judging import counting
from physalis.judging.counting import Rows

N = 200


def rows(rng, n=N, blocks=12, draws=5, skill=1.0, shift=0.0):
    truth = np.repeat([1.0, 0.0], n // 2)
    said = np.clip(0.5 + skill * (truth - 0.5) * 0.4 + 0.4 * rng.normal(size=n) + shift, 0, 1)
    decile = np.where(truth > 0, rng.integers(10, size=n), -1)
    return Rows(said, truth, decile, rng.integers(blocks, size=n), rng.integers(draws, size=n))


def test_metrics_are_what_others_compute():
    some = rows(np.random.default_rng(0))
    yes, true = some.said >= 0.5, some.truth > 0
    assert counting.balanced_accuracy(some) == pytest.approx(balanced_accuracy_score(true, yes))
    assert counting.f1(some) == pytest.approx(f1_score(true, yes))
    assert counting.auroc(some) == pytest.approx(roc_auc_score(true, some.said))
    coarse = some._replace(said=some.said.round(1))
    assert counting.auroc(coarse) == pytest.approx(roc_auc_score(true, coarse.said))
    assert counting.correlation(some) == pytest.approx(np.corrcoef(some.said, some.truth)[0, 1])


def test_f1_is_the_same_however_many_are_silent():
    some = rows(np.random.default_rng(0))
    silent = some.where(some.truth == 0)
    more = Rows(*(np.concatenate([a, b, b]) for a, b in zip(some, silent, strict=True)))
    assert counting.f1(more) == pytest.approx(counting.f1(some))


def test_what_cannot_be_measured_is_nan_and_a_constant_is_chance():
    some = rows(np.random.default_rng(0))
    firing = some.where(some.truth > 0)
    assert all(np.isnan(metric(firing)) for metric in (counting.balanced_accuracy, counting.auroc, counting.f1))
    zeros = some._replace(said=np.zeros(N))
    assert counting.correlation(zeros) == 0 and counting.auroc(zeros) == 0.5
    assert counting.balanced_accuracy(zeros) == 0.5 and counting.f1(zeros) == 0


def test_intervals_over_documents_hold_the_truth_as_often_as_they_say():
    """What is alike inside a document makes the score of a text differ from another's; intervals know of it."""
    held, shifts = 0, 0.25
    big = [rows(np.random.default_rng([1, i]), n=20_000, skill=0.8) for i in range(4)]
    rng = np.random.default_rng(2)
    for each in big:  # the population: every document has a shift of its own
        each.said[:] = np.clip(each.said + rng.normal(0, shifts, len(each.said)), 0, 1)
    truth = counting.over_features(big, counting.balanced_accuracy)
    for trial in range(150):
        rng = np.random.default_rng([3, trial])
        document = rng.normal(0, shifts, 12)
        some = []
        for _ in range(4):
            each = rows(rng, skill=0.8)
            some.append(each._replace(said=np.clip(each.said + document[each.block], 0, 1)))
        found = counting.estimate(some, counting.balanced_accuracy)
        assert found.low is not None and found.high is not None
        held += found.low <= truth <= found.high
    assert 0.88 <= held / 150 <= 1


def test_too_few_documents_give_no_interval():
    found = counting.estimate([rows(np.random.default_rng(0), blocks=4)], counting.auroc)
    assert found.low is None and 0.5 < found.value < 1


def test_an_interval_ends_where_the_metric_does():
    some = rows(np.random.default_rng(0), n=40)
    for metric, said in (
        (counting.f1, (some.truth > 0) & (some.block < 1)),
        (counting.auroc, some.truth - 0.1 * (some.block < 2)),
    ):
        found = counting.estimate([some._replace(said=said.astype(float))], metric)
        assert found.low is not None and found.high is not None and 0 <= found.low <= found.value <= found.high <= 1


def test_noise_is_the_spread_of_draws():
    some = [rows(np.random.default_rng(i)) for i in range(3)]
    found = counting.noise(some, counting.auroc, 5)
    values = [np.mean([counting.auroc(each.where(each.draw == d)) for each in some]) for d in range(5)]
    assert found.draws == pytest.approx(values)
    assert found.spread == pytest.approx(np.std(values, ddof=1))
    assert found.cv == pytest.approx(found.spread / np.mean(values))
    assert found.smallest_difference == pytest.approx(1.96 * 2**0.5 * found.cv * np.mean(values))
    assert counting.noise(some, counting.auroc, 1).smallest_difference is None


def test_deciles_stand_against_all_silent_passages():
    some = rows(np.random.default_rng(0))
    some.said[(some.decile == 0)] = 0.0
    some.said[(some.decile == 9)] = 1.0
    found = counting.by_decile([some], counting.balanced_accuracy)
    silent = float((some.said[some.decile < 0] < 0.5).mean())
    assert found[0] == pytest.approx(silent / 2) and found[9] == pytest.approx((1 + silent) / 2)
    assert counting.by_decile([some.where(some.decile < 5)], counting.auroc)[7] is None
