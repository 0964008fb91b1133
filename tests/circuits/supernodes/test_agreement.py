"""adjusted_rand: scikit-learn's number; 0 on average for chance."""

import numpy as np
import pytest
from planted_groups import planted_graph
from sklearn.metrics import adjusted_rand_score

from physalis.circuits.supernodes import adjusted_rand, agreement
from physalis.errors import BadInput


def test_it_is_the_number_of_others():
    rng = np.random.default_rng(0)
    for n, k in ((2, 2), (7, 3), (40, 4), (300, 20)):
        for _ in range(20):
            a, b = rng.integers(0, k, n), rng.integers(0, max(2, k // 2), n)
            assert adjusted_rand(a, b) == pytest.approx(adjusted_rand_score(a, b), abs=1e-12)
    assert adjusted_rand(np.arange(5), np.arange(5)) == 1 == adjusted_rand(np.zeros(5, int), np.zeros(5, int))
    assert adjusted_rand(np.arange(5), np.zeros(5, int)) == 0


def test_random_labels_agree_by_0():
    rng = np.random.default_rng(0)
    true = np.repeat(np.arange(8), 5)
    assert abs(np.mean([adjusted_rand(true, rng.permutation(true)) for _ in range(400)])) < 0.01


def test_groupings_of_a_graph():
    graph, groups = planted_graph()
    assert agreement(groups, groups, graph) == 1
    renamed = groups.merged("0", "1", name="x").split("x", groups["0"].members, "y")
    assert agreement(renamed, groups, graph) == 1
    assert 0 < agreement(groups.merged("0", "1", name="x"), groups, graph) < 1
    alone = groups.without(groups["0"].members)  # features in no group are groups of their own
    assert 0 < agreement(alone, groups, graph) < 1


def test_refused():
    for a, b in ((np.arange(3), np.arange(4)), (np.arange(1), np.arange(1))):
        with pytest.raises(BadInput, match="two things or more"):
            adjusted_rand(a, b)
