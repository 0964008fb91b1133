"""The suite: a method that is right survives, one that is blind falls, one that warns is heard, anything else is a
sentence."""

import json
import math

import numpy as np
import pytest

from physalis.cli.shown.lab import counterexamples as shown
from physalis.errors import BadInput
from physalis.lab import methods
from physalis.lab.fitting import Rows
from physalis.lab.suite import ReportCard, run_suite
from physalis.lab.traps import TRAPS, Outcome
from physalis.training.training import Source


def card(method, *ids):
    made = run_suite(method, ids=ids or None)
    assert isinstance(made, ReportCard) and len(made.lines)
    return {line.id: line for line in made.lines}


class Everything:
    """Gradients from 0, and nothing for an input that stands still while others move."""

    def attribute(self, network, inputs):
        from_zero = methods.IntegratedGradients().attribute(network, inputs)
        still = np.ptp(inputs, 0) == 0
        return np.where(still & ~still.all(), 0.0, from_zero)


class Cautious:
    """An ablation that passes where what it did leaves the range of what it saw."""

    def ablate(self, model, inputs):
        own = model.run(inputs)
        low, high = own.units.min(0) - 1e-9, own.units.max(0) + 1e-9
        found = []
        for part in model.parts:
            trace = model.run(inputs, {part: np.full(len(inputs), own.values[part].mean())})
            away = ((trace.units < low) | (trace.units > high)).any()
            found.append(math.nan if away else float(np.abs(trace.outputs - own.outputs).mean()))
        return np.array(found)


class Guarded:
    """A probe that passes on what lies outside of all that it was shown."""

    def fit_probe(self, x, y):
        inner, high = methods.LogisticProbe().fit_probe(x, y), x.max(0) + 0.2
        return lambda at: np.where((at > high).any(1), np.nan, inner(at))


class Axes:
    """Finds the half axes of a plane."""

    def find_features(self, activations, n_features, k):
        ways = np.linalg.eigh(np.cov(activations.T))[1][:, -2:].T
        return np.vstack([ways, -ways, np.zeros((n_features - 4, activations.shape[1]))])


class Blind:
    """Answers the same to everything."""

    def find_features(self, activations, n_features, k):
        return np.ones((n_features, activations.shape[1]))

    def find_codes(self, activations, n_features, k):
        return np.ones((len(activations), n_features)), np.ones((n_features, activations.shape[1]))

    def attribute(self, network, inputs):
        return np.ones_like(inputs)

    def fit_probe(self, x, y):
        return lambda at: np.zeros(len(at))

    def explain(self, activations, concepts):
        return np.full(concepts.shape[1], 1 / concepts.shape[1])

    def ablate(self, model, inputs):
        return np.ones(len(model.parts))


def test_a_method_that_is_right_survives():
    assert run_suite(Everything()).survived == 4
    assert all(line.survived for line in card(methods.Regression()).values())
    assert card(Axes(), "CX-13")["CX-13"].survived


def test_a_learned_rule_says_all_that_a_unit_does_and_too_much_of_one_that_does_nothing():
    lines = card(methods.LearnedRule())
    assert lines["CX-01"].survived and lines["CX-07"].survived and lines["CX-20"].control < 0.05


def test_a_method_that_warns_survives():
    line = card(Cautious(), "CX-08")["CX-08"]
    assert line.survived and math.isnan(line.wrong) and "cannot know" in line.why
    line = card(Guarded(), "CX-05")["CX-05"]
    assert line.survived and math.isnan(line.wrong) and line.control == 0


def test_a_method_that_is_blind_falls():
    lines = run_suite(Blind()).lines
    assert len(lines) == len(TRAPS)
    assert not [line for line in lines if line.survived]


def test_each_naive_method_falls_where_it_should():
    assert not card(methods.LinearAttribution(), "CX-12")["CX-12"].survived
    assert not card(methods.AttentionWeights(), "CX-09")["CX-09"].survived
    assert not card(methods.ZeroAblation(), "CX-11")["CX-11"].survived
    assert card(methods.MeanAblation(), "CX-11")["CX-11"].survived
    assert not card(methods.TopExamples(), "CX-07")["CX-07"].survived
    probes = card(methods.DifferenceOfMeans())
    assert not probes["CX-05"].survived and not probes["CX-14"].survived and probes["CX-16"].survived
    assert not card(methods.NetworkProbe(), "CX-16")["CX-16"].survived


def test_one_that_is_wrong_without_the_trap_does_not_survive():
    trap = TRAPS[0]
    assert trap.survived(Outcome(0.0, 0.0)) and trap.survived(Outcome(math.nan, 0.0))
    assert not trap.survived(Outcome(0.0, 1.0)) and not trap.survived(Outcome(math.nan, math.nan))
    assert not trap.survived(Outcome(1.0, 0.0))
    assert {trap.why(o) for o in (Outcome(0.0, 1.0), Outcome(0.0, math.nan))} == {"wrong where there is no trap, too"}


def test_a_dictionary_is_a_method():
    found = methods.DictionaryFinder("topk")
    x = np.abs(np.random.default_rng(0).normal(size=(4_000, 8))).astype(np.float32)
    methods_rows, methods.ROWS_SEEN = methods.ROWS_SEEN, 8_000
    try:
        codes, directions = found.find_codes(x, 16, 2)
        assert found.find_features(x, 16, 2).shape == directions.shape == (16, 8)
    finally:
        methods.ROWS_SEEN = methods_rows
    assert codes.shape == (4_000, 16) and ((codes > 0).sum(1) <= 2).all()
    rows = Rows(x)
    assert isinstance(rows, Source) and rows.n_batches(1_000, epochs=2) == 8
    first = [batch.x for batch in rows.batches(1_000, seed=0, epochs=2)]
    assert len(first) == 8 and np.allclose(np.sort(np.concatenate(first[:4]), 0), np.sort(x, 0))
    later = [batch.x for batch in rows.batches(1_000, seed=0, epochs=2, start=5)]
    assert all((a == b).all() for a, b in zip(first[5:], later, strict=True))


def test_what_is_no_method_is_a_sentence():
    with pytest.raises(BadInput, match="received a str, which is none"):
        run_suite("attention")
    with pytest.raises(BadInput, match="received the class Blind"):
        run_suite(Blind)
    with pytest.raises(BadInput, match="No trap of CX-01 fits"):
        run_suite(Everything(), ids=["CX-01"])
    Wrong = type("Wrong", (), {"explain": lambda self, activations, concepts: 3.0})
    with pytest.raises(BadInput, match=r"Wrong.explain must return an array of shape \[4\]; received \[\]"):
        run_suite(Wrong())
    with pytest.raises(BadInput, match="with rows"):
        Rows(np.zeros((0, 3)))


def test_a_card_is_told(capsys):
    made = run_suite(methods.AttentionWeights())
    row = json.loads(json.dumps(made.to_dict()))
    assert row["of"] == 4 and row["survived"] == 0 and row["lines"][1]["wrong"] is None
    assert "CX-09" in str(made) and str(made).startswith("attention weights: 0 of 4")
    shown.show_cards([made], json=False)
    assert "fell" in capsys.readouterr().out
    shown.show_cards([made], json=True)
    assert json.loads(capsys.readouterr().out)[0]["method"] == "attention weights"
