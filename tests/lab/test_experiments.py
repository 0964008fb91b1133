"""Experiments: what is published holds and the controls fail; the slow ones in the slow run."""

import json

import pytest

from physalis.cli import app
from physalis.errors import BadInput
from physalis.lab.checks import Check, Finding
from physalis.lab.experiments import EXPERIMENTS, find_experiments

LONG = {"TMS-1", "DD-5"}  # fast for what they show, and a minute of every run
fast = [pytest.param(e, marks=pytest.mark.slow if e.id in LONG else ()) for e in EXPERIMENTS if e.fast]
slow = [e for e in EXPERIMENTS if not e.fast]


def said(check: Check) -> str:
    return json.dumps(check.to_dict(), indent=1)


@pytest.mark.parametrize("experiment", fast, ids=lambda e: e.id)
def test_a_fast_experiment(experiment):
    check = experiment.run()
    assert check.passed and check.id == experiment.id, said(check)


@pytest.mark.slow
@pytest.mark.parametrize("experiment", slow, ids=lambda e: e.id)
def test_a_slow_experiment(experiment):
    check = experiment.run()
    assert check.passed and check.id == experiment.id, said(check)


def test_a_check_whose_control_passes_fails():
    good, bad = Finding("a number", 1.0, low=0.5), Finding("a number", 0.0, low=0.5)
    made = [Check("X", "", "", (f,), "nothing", (c,)) for f, c in ((good, bad), (good, good), (bad, bad))]
    assert [check.passed for check in made] == [True, False, False]
    assert made[0].to_dict()["findings"][0]["high"] is None


def test_the_command_prints_rows(capsys):
    with pytest.raises(SystemExit) as done:
        app(["lab", "check", "COMP-1", "--json"])
    rows = json.loads(capsys.readouterr().out)
    assert done.value.code == 0 and [row["id"] for row in rows] == ["COMP-1"] and rows[0]["passed"]


def test_an_unknown_id_is_a_sentence():
    with pytest.raises(BadInput, match="There is no experiment 'TMS-99'"):
        find_experiments(["TMS-99"])
