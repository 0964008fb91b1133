"""The curve's arithmetic, and what it says of a ranking that is known to be right."""

import pytest
import torch
from made_models import induction_pair

from physalis.errors import BadInput
from physalis.patching import ablating_nodes, graph_nodes, heads, measure_faithfulness, rank_by_magnitude, rank_by_score

THOUSAND = tuple(range(1000))


def adding(worth):
    """A model that measures the sum of what its parts are worth, and 5 without any; two contexts."""
    return lambda kept: torch.tensor([0.0, 10.0]) + float(sum(worth[i] for i in kept))


def test_a_straight_line():
    curve = measure_faithfulness(adding([1.0] * 1000), THOUSAND)
    assert curve.sizes == (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
    assert curve.faithfulness == pytest.approx(curve.shares)
    assert curve.cpr == pytest.approx((1 - 0.001**2) / 2)
    assert (curve.nothing, curve.whole) == (5, 1005)


def test_areas_sum_to_the_axis_where_f_is_never_above_1():
    draw = torch.Generator().manual_seed(0)
    for _ in range(5):
        worth = torch.rand(1000, generator=draw).pow(4).tolist()
        curve = measure_faithfulness(adding(worth), rank_by_score(THOUSAND, torch.tensor(worth)))
        assert max(curve.faithfulness) <= 1 and curve.cpr + curve.cmd == pytest.approx(0.999, abs=1e-9)


def test_rankings_part_where_something_harms():
    """By score the curve rises above 1 and comes back; by magnitude it does not where what harms does most."""
    worth = [3.0] * 500 + [-1.0] * 500
    by_score = measure_faithfulness(adding(worth), rank_by_score(THOUSAND, torch.tensor(worth)))
    assert max(by_score.faithfulness) == pytest.approx(1.5)
    assert by_score.cpr + by_score.cmd > 0.999 + 0.2
    worth = [3.0] * 500 + [-1.0] * 400 + [-9.0] * 100
    by_score, by_magnitude = (
        measure_faithfulness(adding(worth), ranked(THOUSAND, torch.tensor(worth)))
        for ranked in (rank_by_score, rank_by_magnitude)
    )
    assert min(by_magnitude.faithfulness) < 0 < min(by_score.faithfulness)
    assert by_score.cpr > by_magnitude.cpr


def test_by_hand():
    curve = measure_faithfulness(adding([2.0, 1.0, -1.0, 2.0]), (0, 1, 2, 3), shares=(0.25, 0.5, 1.0))
    assert curve.faithfulness == (0.5, 0.75, 1.0)
    assert curve.cpr == pytest.approx(0.25 * 0.625 + 0.5 * 0.875)
    assert curve.cmd == pytest.approx(0.25 * 0.375 + 0.5 * 0.125)
    assert repr(curve) == "Curve(3 sizes up to 4, CPR 0.594, CMD 0.156)"


def test_each_size_is_measured_once():
    sizes = []

    def measured(kept):
        sizes.append(len(kept))
        return torch.tensor([float(len(kept))])

    curve = measure_faithfulness(measured, tuple(range(10)))
    assert sorted(sizes) == [0, 1, 2, 5, 10]
    assert curve.sizes == (0, 0, 0, 0, 0, 0, 1, 2, 5, 10)


def test_the_circuit_that_was_set_by_hand_comes_first():
    pair, metric = induction_pair()
    nodes = graph_nodes(pair.model)
    circuit = [nodes[0], heads(pair.model, 0)[0], nodes[5], heads(pair.model, 1)[3], nodes[10]]
    others = [node for node in nodes if node not in circuit]
    measured = ablating_nodes(pair.model, pair.clean, pair.corrupted, metric, nodes)
    right, wrong = (
        measure_faithfulness(measured, each, shares=(0.5, 0.75, 1.0)) for each in (circuit + others, others + circuit)
    )
    assert right.faithfulness == pytest.approx((1, 1, 1), abs=1e-3) and right.cmd < 1e-3
    assert wrong.faithfulness[0] == pytest.approx(0, abs=1e-3) and wrong.cpr < 0.5 * right.cpr


@pytest.mark.parametrize(
    ("shares", "said"),
    [
        ((0.5, 0.5), "received 0.5, 0.5"),
        ((0.5, 1.5), "received 0.5, 1.5"),
        ((-0.1, 1.0), "received -0.1"),
        ((1.0,), "1.0"),
    ],
)
def test_shares_that_are_none_are_refused(shares, said):
    with pytest.raises(BadInput, match=said):
        measure_faithfulness(adding([1.0]), (0,), shares=shares)


def test_what_explains_nothing_is_refused():
    with pytest.raises(BadInput, match="The ranking is empty"):
        measure_faithfulness(adding([]), ())
    with pytest.raises(BadInput, match="The metric is 5 with all parts and with none"):
        measure_faithfulness(adding([1.0, -1.0]), (0, 1))
