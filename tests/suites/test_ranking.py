"""A metric that misranks the diagnostics is dropped, and a difference within the noise means nothing."""

import numpy as np
import pytest

from physalis.suites import Measured, Metric, ranking

UP = Metric(name="up", title="what should be high", higher_is_better=True)
DOWN = Metric(name="down", title="what should be low", higher_is_better=False)
RNG = np.random.default_rng(0)


def measured(metric, subject, centre, role="diagnostic", noise=0.01, rounds=5):
    values = centre + noise * RNG.standard_normal(rounds)
    return [Measured(metric=metric, subject=subject, role=role, round=i, value=float(v)) for i, v in enumerate(values)]


def diagnosed(metric, **centres):
    return [each for name, centre in centres.items() for each in measured(metric, name.replace("_", " "), centre)]


def why(metric=UP, **centres):
    return ranking.misranked(ranking.by_subject(diagnosed(metric.name, **centres), metric.name), metric)


def test_the_order_is_required():
    assert why(oracle=0.9, best_k=0.7, random=0.4, permuted=0.2) is None
    assert why(best_k=0.7, random=0.4, permuted=0.2) is None
    assert why(best_k=0.7, random=0.4, permuted=0.5) == "permuted scores better than random"
    assert why(oracle=0.6, best_k=0.7, random=0.4, permuted=0.2) == "best k scores better than oracle"
    assert why(best_k=0.4, random=0.7, permuted=0.2) == "random scores better than best k"
    assert why(oracle=0.6) == "it was not measured on the diagnostics"


def test_lower_may_be_better():
    assert why(DOWN, best_k=0.2, random=0.4, permuted=0.8) is None
    assert why(DOWN, best_k=0.4, random=0.2, permuted=0.8) == "random scores better than best k"


def test_what_knows_nothing_may_tie_and_nothing_else():
    tied = (
        diagnosed("up", best_k=0.7) + measured("up", "random", 0.4, noise=0) + measured("up", "permuted", 0.4, noise=0)
    )
    assert ranking.misranked(ranking.by_subject(tied, "up"), UP) is None
    blurred = measured("up", "best k", 0.5, noise=0) + measured("up", "random", 0.5, noise=0)
    assert ranking.misranked(ranking.by_subject(blurred, "up"), UP) == "best k is not told from random"


def test_a_dropped_metric_is_named_and_not_scored():
    good, bad = diagnosed("up", best_k=0.7, random=0.4, permuted=0.2), diagnosed("down", best_k=0.9, random=0.4)
    assert [(each.metric, each.why) for each in ranking.dropped(good + bad, [UP, DOWN])] == [
        ("down", "random scores better than best k")
    ]


def test_noise_is_the_spread_of_rounds():
    found = measured("up", "topk", 0.5, role="dictionary", noise=0.1)
    (score,) = ranking.scores(found, [UP], {"topk": 5})
    values = [each.value for each in found]
    assert score.value == pytest.approx(np.mean(values)) and score.noise == pytest.approx(np.std(values, ddof=1))
    assert score.smallest_difference == pytest.approx(1.96 * 2**0.5 * score.noise)
    assert score.low < score.value < score.high and score.n_seeds == 5


def test_differences_are_paired():
    shared = 0.3 * RNG.standard_normal(5)  # a hard round is hard for all

    def of(name, centre):
        values = centre + shared + 0.01 * np.random.default_rng(ord(name)).permutation([-2, -1, 0, 1, 2])
        return [
            Measured(metric="up", subject=name, role="dictionary", round=i, value=float(v))
            for i, v in enumerate(values)
        ]

    found = of("a", 0.5) + of("b", 0.4) + of("c", 0.5)
    by = {(each.a, each.b): each for each in ranking.differences(found, [UP])}
    assert by["a", "b"].means_something and by["a", "b"].value == pytest.approx(0.1)
    assert by["a", "b"].low < 0.1 < by["a", "b"].high
    assert not by["a", "c"].means_something


def test_of_many_comparisons_few_mean_something_by_chance():
    wrong = 0
    for _ in range(100):
        found = [each for name in "abcd" for each in measured("up", name, 0.5, role="dictionary")]
        wrong += any(each.means_something for each in ranking.differences(found, [UP]))
    assert wrong <= 12


def test_unmeasured_rounds_are_left_out():
    found = measured("up", "a", 0.5, role="dictionary") + [
        Measured(metric="up", subject="a", role="dictionary", round=5, value=None)
    ]
    assert ranking.scores(found, [UP], {})[0].n_rounds == 5
