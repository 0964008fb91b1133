"""The catalogue: every gap is there and goes with its cause; and a counterexample that is none is found out."""

import json
from dataclasses import replace

import numpy as np
import pytest

from physalis.cli.shown.lab import counterexamples as shown
from physalis.errors import BadInput
from physalis.lab.counterexamples import COUNTEREXAMPLES, Gap, find_counterexamples, measure
from physalis.lab.counterexamples.dictionaries.absorption import Plain, pair, train_plain
from physalis.lab.counterexamples.interventions.circuits import minimal
from physalis.lab.counterexamples.readings.examples import Fooling
from physalis.lab.counterexamples.readings.probes import TOKENS, onions, peel
from physalis.lab.counterexamples.superposition.neurons import EVEN, cross_entropy, squared_error

fast = [each for each in COUNTEREXAMPLES if each.fast]
slow = [each for each in COUNTEREXAMPLES if not each.fast]


def holds(counterexample, seeds):
    measured = measure(counterexample, seeds)
    assert measured.passed, json.dumps(measured.to_dict(), indent=1)
    assert measured.gap.what == "the gap" and measured.gap.value >= counterexample.least > counterexample.spared
    assert measured.control_gap.value <= counterexample.spared


@pytest.mark.parametrize("counterexample", fast, ids=lambda each: each.id)
def test_a_fast_counterexample(counterexample):
    holds(counterexample, (0, 1, 2))


@pytest.mark.slow
@pytest.mark.parametrize("counterexample", slow, ids=lambda each: each.id)
def test_a_slow_counterexample(counterexample):
    holds(counterexample, (0, 1, 2))


def test_the_catalogue_says_all_of_each():
    assert len({each.id for each in COUNTEREXAMPLES}) == len(COUNTEREXAMPLES) >= 16
    for each in COUNTEREXAMPLES:
        assert all(len(said) >= 5 for said in each.to_dict().values()), each.id
        assert each.least > each.spared


def test_a_gap_that_stays_in_the_control_does_not_pass():
    honest, same = (
        replace(fast[0], run=lambda seed, c=c: Gap(1.0, 0.0, c, 0.0), least=0.5, spared=0.1, beside={})
        for c in (0.0, 1.0)
    )
    assert measure(honest, (0,)).passed and not measure(same, (0,)).passed
    none = replace(honest, run=lambda seed: Gap(1.0, 1.0, 0.0, 0.0))
    assert not measure(none, (0,)).passed
    beside = replace(honest, run=lambda seed: Gap(1.0, 0.0, 0.0, 0.0, {"x": 3.0}), beside={"x": (0.0, 1.0)})
    assert not measure(beside, (0,)).passed


def test_the_median_counts_and_all_are_kept():
    one = replace(fast[0], run=lambda seed: Gap(float(seed), 0.0, 0.0, 0.0), least=0.5, spared=0.1, beside={})
    measured = measure(one, (0, 1, 5))
    assert measured.gap.value == 1 and measured.gap.seeds == (0, 1, 5) and measured.passed
    row = json.loads(json.dumps(measured.to_dict()))
    assert row["findings"][2]["high"] is None and row["findings"][2]["holds"] and row["seeds"] == [0, 1, 5]
    with pytest.raises(BadInput, match="at least one seed"):
        measure(one, ())


def test_an_unknown_id_is_a_sentence():
    assert [each.id for each in find_counterexamples(["cx-07", "CX-01"])] == ["CX-07", "CX-01"]
    assert find_counterexamples() == list(COUNTEREXAMPLES)
    with pytest.raises(BadInput, match="There is no counterexample 'CX-99'"):
        find_counterexamples(["CX-99"])


def test_what_is_shown(capsys):
    (one,) = find_counterexamples(["CX-08"])
    shown.show_list([one], json=False)
    shown.show_one(one, json=False)
    assert shown.show_runs([measure(one, (0, 1))], json=False)
    said = capsys.readouterr().out
    assert said.count("CX-08") == 3 and "holds" in said and "Makelov" in said
    assert shown.show_runs([measure(one, (0,))], json=True)
    (row,) = json.loads(capsys.readouterr().out)
    assert row["id"] == "CX-08" and row["passed"]


def test_a_binary_neurons_losses():
    two, one = np.array([1.0, 1, 0, 0]), np.array([1.0, 0, 0, 0])
    assert cross_entropy(two, EVEN) == pytest.approx(np.log(2))
    assert cross_entropy(one, EVEN) == pytest.approx(0.75 * np.log(3))
    assert squared_error(two, EVEN) == pytest.approx(0.5) == squared_error(one, EVEN)


def test_an_onion_is_peeled():
    tokens = np.array([[3, 3, 0, 7, 1], [0, 1, 2, 3, 4]])
    basis = np.eye(TOKENS)
    assert (peel(onions(tokens, basis, apart=False), basis) == tokens).all()


def test_minimal_subsets():
    found = np.zeros(8, bool)
    found[[0b011, 0b111, 0b100, 0b101]] = True
    assert np.flatnonzero(minimal(found)).tolist() == [0b011, 0b100]


def test_the_fooling_units_gradient():
    rng = np.random.default_rng(0)
    plane = np.linalg.qr(rng.normal(size=(32, 4)))[0]
    unit = Fooling(rng.normal(size=32), rng.normal(size=32), np.eye(32) - plane @ plane.T)
    x = rng.normal(size=(3, 4)) @ plane.T + 0.01 * rng.normal(size=(3, 32))
    assert ((unit.natural(x) > 0.1) & (unit.natural(x) < 0.9)).all()
    step = 1e-6 * np.eye(32)
    each = [[(unit(row[None] + s)[0] - unit(row[None] - s)[0]) / 2e-6 for s in step] for row in x]
    assert np.allclose(unit.gradient(x), each, rtol=1e-4, atol=1e-6)


def test_a_plain_dictionary_learns_independent_features():
    world = pair(0.5, implied=False, seed=0)
    trained = train_plain(world, 2, penalty=1e-3, steps=1_500, seed=0)
    assert isinstance(trained, Plain)
    assert float((trained.directions @ world.directions.T).max(0).values.min()) > 0.98
