"""Whatever ends a command is one sentence with what to do; and whatever is printed is printed as it stands."""

import dataclasses
import errno
import os
from pathlib import Path

import pytest
import torch
from pydantic import BaseModel
from rich.text import Text

from physalis.artifact import Manifest
from physalis.cli.arguments import sentences
from physalis.cli.arguments.sentences import explain
from physalis.cli.shown import comparisons, models, printing, verdicts
from physalis.cli.shown.console import make_console, spelt
from physalis.cli.shown.features import dead_features, steered
from physalis.cli.shown.lab import checks, counterexamples
from physalis.comparing.records import Side, Summary
from physalis.dead_features.records import Cause, DeadFeature, DeadFeatures
from physalis.errors import BadInput
from physalis.exchange import Conversion
from physalis.exchange.checks import Check as Verified
from physalis.exchange.judging import Verdict
from physalis.lab.checks import Check, Finding
from physalis.lab.counterexamples import Counterexample
from physalis.lab.counterexamples import Measured as Run
from physalis.lab.suite import Line, ReportCard
from physalis.models.inspection import Inspection, SitesOfAName
from physalis.steering import DoseResponse, Step
from physalis.steering.dose_curves import Dose, Measured, Response

ODD = "acts[/b][red]x[/red] :smile: \x1b[31m\x07"
SHOWN = "acts[/b][red]x[/red] :smile: \\x1b[31m\\x07"


@pytest.fixture(autouse=True)
def traceback_elsewhere(monkeypatch, tmp_path):
    monkeypatch.setattr(sentences.tempfile, "tempdir", str(tmp_path))
    monkeypatch.delenv("PHYSALIS_TRACEBACK", raising=False)


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (errno.ENOSPC, "The disk is full"), (errno.EROFS, "read-only disk"), (errno.EACCES, "by this user"),
        (errno.ENOENT, "There is no"), (errno.EISDIR, "is a folder"), (errno.ENOTDIR, "below a file"),
        (errno.EMFILE, "Too many files"), (errno.EIO, "The disk failed"), (errno.EXDEV, "cannot be used"),
    ],
)  # fmt: skip
def test_what_a_disk_refuses_names_the_path(capsys, number, says):
    assert explain(OSError(number, os.strerror(number), "some/odd[/b]place")) == 2
    err = capsys.readouterr().err
    assert err.startswith("physalis: ") and err.count("\n") == 1 and says in err
    assert number == errno.EMFILE or "some/odd[/b]place" in err


@pytest.mark.parametrize(
    "error",
    [MemoryError(), torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("can't allocate memory: 8 bytes")],
)
def test_too_little_memory_is_a_sentence(capsys, error):
    assert explain(error) == 2 and "Memory did not suffice" in capsys.readouterr().err


def test_an_error_of_ours_tells_where_the_traceback_is(capsys, tmp_path, monkeypatch):
    def fail():
        raise KeyError("n_features")

    with pytest.raises(KeyError) as failed:
        fail()
    assert explain(failed.value) == 1
    err = capsys.readouterr().err
    (file,) = tmp_path.glob("physalis-*.txt")
    assert err.count("\n") == 1 and "KeyError: 'n_features'" in err and str(file) in err
    assert "in fail" in file.read_text()
    monkeypatch.setenv("PHYSALIS_TRACEBACK", "1")
    assert explain(failed.value) == 1
    assert "in fail" in capsys.readouterr().err


def test_sentences_steer_no_terminal(capsys):
    assert explain(BadInput(f"There is no {ODD}.")) == 2
    assert capsys.readouterr().err == f"physalis: There is no {SHOWN}.\n"


def test_the_console_shows_what_it_is_given(capsys):
    make_console().print(ODD, Text(ODD))
    out = capsys.readouterr().out
    assert out.count("acts[/b][red]x[/red] :smile: \\x1b[31m") == 2 and "\x1b" not in out and "\x07" not in out
    assert spelt("a\tb\nc") == "a\tb\nc"


def made(kind, **known):
    """A record whose other fields are odd names, whatever it should hold."""
    if issubclass(kind, BaseModel):
        return kind.model_construct(**{name: ODD for name in kind.model_fields} | known)
    if issubclass(kind, tuple):
        return kind._make(known.get(name, ODD) for name in kind._fields)
    record = object.__new__(kind)
    for name, value in ({each.name: ODD for each in dataclasses.fields(kind)} | known).items():
        object.__setattr__(record, name, value)
    return record


def interval(value=0.5):
    return {"value": value, "low": 0.4, "high": 0.6}


NUMBER = made(Measured, value=0.5, low=0.4, high=0.6)
FINDING = Finding(ODD, 1.0, 0.0, 2.0)


def shown_dictionary():
    config = {"architecture": ODD, "dictionary": {"n_features": 4, "k": 2}}
    facts = {"n_tokens": 1, "last": {"fvu": 0.1, "dead": 0}}
    printing.show(Manifest(kind="dictionary", config=config, facts=facts), json=False)


def shown_evaluation():
    facts = {
        "metrics": {"fvu": interval()}, "baselines": [{"name": ODD, "metrics": {"fvu": interval()}}],
        "sites": {ODD: interval()}, "documents": {"held_out": 40, "spliced": 0},
        "firing": {"tokens": 5, "text": ODD}, "n_held_out": 7, "not_spliced": ODD, "n_spliced": 0,
    }  # fmt: skip
    printing.show(Manifest(kind="evaluation", config={}, facts=facts), json=False)


def shown_dead_features():
    cause = made(Cause, name=ODD, features=3)
    deaths = made(
        DeadFeatures, dead=interval(), n_features=9, n_tokens=5, never_fired=1,
        features=(made(DeadFeature, last_fired=3),), causes=(cause,), notes=(ODD,), curve=(),
    )  # fmt: skip
    dead_features.show(deaths, json=False)


def shown_verdict():
    config = {"architecture": ODD, "dictionary": {"n_features": 4, "d_in": 2, "d_out": 2}}
    verdict = Verdict((made(Verified, outcome="ok"),))
    about = Manifest(kind="dictionary", config=config)
    verdicts.show([made(Conversion, manifest=about, verdict=verdict, assumptions=(ODD,))], json=False)


def shown_model():
    site = made(SitesOfAName, width=3, layers=[0, 1])
    found = made(
        Inspection, parameters=1e6, layers=2, width=3, heads=1, vocabulary=5, found="table", multipliers={ODD: 2.0},
        sites={"resid_post": site}, parallel=True,
    )  # fmt: skip
    models.show(found, json=False)


def shown_comparison():
    nothing = {"fvu": None, "l0": None, "split_by_chance": None}
    side = made(Side, n_features=4, fates={ODD: None}, **nothing)
    nothing = dict.fromkeys(("fvu_difference", "l0_difference", "directions", "codes", "agreement"))
    comparisons.show_pair(made(Summary, a=side, b=side, **nothing), (Path(ODD), Path(ODD)), json=False)


def shown_doses(number=NUMBER):
    dose = made(Dose, strength=1.0, times=number, target=number, kl=number, perplexity=number)
    response = made(Response, doses=[dose], suggested=1.0, cliff=None)
    found = made(DoseResponse, target=["a"], unedited=number, n_tokens=5, unit=3.0, responses=[response])
    steered.show_doses(found, json=False)


def shown_steps():
    steered.show_texts([Step(ODD, ODD)], prompt=ODD, json=False)


def shown_checks():
    checks.show([Check(ODD, ODD, ODD, (FINDING,), ODD, (FINDING,))], json=False)


def shown_counterexamples():
    entry = made(Counterexample)
    counterexamples.show_list([entry], json=False)
    counterexamples.show_one(entry, json=False)
    run = made(Run, counterexample=entry, seeds=(0,), seconds=1.0, findings=(FINDING,), control_findings=())
    counterexamples.show_runs([run], json=False)
    row = made(Line, survived=True, wrong=0.0, control=0.0, most=1.0)
    counterexamples.show_cards([ReportCard(ODD, 0, (row,))], json=False)


PRINTERS = [
    shown_dictionary, shown_evaluation, shown_dead_features, shown_verdict, shown_model, shown_comparison, shown_doses,
    shown_steps, shown_checks, shown_counterexamples,
]  # fmt: skip


@pytest.mark.parametrize("show", PRINTERS, ids=lambda each: each.__name__)
def test_names_in_brackets_are_printed_as_they_stand(show, capsys):
    show()
    out = "".join(capsys.readouterr().out.split())
    assert "".join(SHOWN.split()) in out or "[/b][red]x[/red]" in out
    assert "\x1b" not in out and "\x07" not in out


def test_an_atlas_in_brackets(tiny_atlas, capsys):
    summary = tiny_atlas.summary().model_copy(update={"model": ODD, "text": ODD, "site": ODD})
    printing.show(summary, json=False)
    printing._feature(make_console(), tiny_atlas[0].model_copy(update={"headline": ODD}))
    assert capsys.readouterr().out.count("[/b][red]x[/red]") == 4


def test_both_counts_of_dead_features_are_told(capsys):
    deaths = made(
        DeadFeatures, dead=interval(), n_features=90, n_tokens=5, never_fired=1,
        features=(made(DeadFeature, last_fired=3),) * 2, causes=(), notes=(), curve=((1000, 4), (2000, 7)),
    )  # fmt: skip
    dead_features.show(deaths, json=False)
    said = " ".join(capsys.readouterr().out.split())
    assert "2 of 90 features are dead" in said and "Training counted 7 at its end, after 2,000 tokens" in said


def test_tables_do_not_wrap_inside_a_number(capsys):
    shown_doses(made(Measured, value=1470.123, low=932.1, high=2260.4))
    facts = {name: {"value": -1.234, "low": -1.345, "high": -1.123} for name in printing.TITLES}
    names = ("linear, of rank 32", "random directions, encoder trained the same way", "the mean")
    printing._metrics(make_console(), facts, [{"name": name, "metrics": facts} for name in names])
    out = capsys.readouterr().out
    assert out.count("[932, 2.26e+03]") == 5 and out.count("[-1.345, -1.123]") == 4 * len(printing.TITLES)
    assert max(map(len, out.splitlines())) <= 110 and all(title in out for title in printing.TITLES.values())
