"""What commands show: each number says on what it stands, and what is not there says why."""

import re
import shlex
from pathlib import Path

import pytest

from physalis import artifact
from physalis.cli.shown import comparisons, hints, printing
from physalis.comparing.comparison import compare
from physalis.metrics import FIRING


def test_the_footnote_tells_both_kinds_of_intervals(tiny_evaluation, capsys):
    printing.show(artifact.read(tiny_evaluation, "evaluation"), json=False)
    said = " ".join(capsys.readouterr().out.split())
    assert "Intervals are 95 %: over documents of what is averaged over tokens, Wilson's of shares of features." in said


@pytest.mark.parametrize(
    "on, said",
    [
        ("held out", "Measured on text the dictionary never saw:"),
        ("training", "never saw; dead and dense features are counted on text it was trained on:"),
        ("all", "dead and dense features are counted on all text of the atlas, also what it was trained on:"),
        ("", "Measured on text the dictionary never saw:"),
    ],
)
def test_an_atlas_says_where_shares_were_counted(tiny_atlas, capsys, on, said):
    summary = tiny_atlas.summary()
    assert summary.held_out and {each.__name__ for each in FIRING} <= summary.metrics.keys()
    printing.show(summary.model_copy(update={"counted_on": on}), json=False)
    assert said in " ".join(capsys.readouterr().out.split())


def test_an_atlas_knows_where_its_evaluation_counted(tiny_atlas, tiny_evaluation):
    facts = artifact.read(tiny_evaluation, "evaluation").facts
    assert tiny_atlas.summary().counted_on == facts["firing"]["text"]


def test_a_comparison_without_codes_says_why_it_has_no_fvu(widths, comparison, capsys, tmp_path):
    alone = compare(*widths[:2], out=tmp_path / "alone").summary
    comparisons.show_pair(alone, widths[:2], json=False)
    said = capsys.readouterr().out
    assert "name a recording that both read" in said and "–" not in said
    comparisons.show_pair(comparison.summary, widths[:2], json=False)
    said = capsys.readouterr().out
    assert "name a recording" not in said and re.search(r"FVU +\.?0?\.", said)


def test_two_that_are_called_alike_are_told_apart(comparison):
    found = comparison.summary
    assert found.names == (found.a.name, found.b.name)
    alike = found.model_copy(update={"b": found.b.model_copy(update={"name": found.a.name})})
    a, b = alike.names
    assert a != b and a == f"{found.a.name} ({found.a.hash[:6]})" and found.b.hash[:6] in b


def next_of(out: str) -> list[str]:
    return shlex.split(out.strip().splitlines()[-1].removeprefix("Next: physalis "))


def test_what_follows_a_sweep_is_told(physalis, tiny_activations, tmp_path):
    words = ("sweep", tiny_activations.folder, "--dictionary", "topk", "--k", "4", "--k", "8", "--features", "48")
    words = (*words, "--epochs", "1", "--batch-size", "512", "--out", tmp_path / "my sweep")
    code, out, err = physalis(*words)
    assert code == 0, err
    verb, best, acts, option, folder = next_of(out)
    assert (verb, acts, option) == ("evaluate", str(tiny_activations.folder), "--out")
    assert best.startswith(str(tmp_path / "my sweep")) and artifact.read(tmp_path / "my sweep" / best, "dictionary")
    assert folder == str(tmp_path / "my sweep" / "eval")


def test_what_follows_a_conversion_is_told(physalis, tiny_activations, tiny_dictionary, tmp_path):
    code, out, err = physalis("convert", tiny_dictionary, "--to", "saelens", "--out", tmp_path / "theirs")
    assert code == 0 and "Next:" not in out, err
    back = ("convert", tmp_path / "theirs", "--activations", tiny_activations.folder, "--out", tmp_path / "back")
    code, out, err = physalis(*back)
    assert code == 0, (out, err)
    assert re.search(r"unexplained on [\d,]+ rows of the recording that are not held out", " ".join(out.split()))
    assert next_of(out)[:3] == ["evaluate", str(tmp_path / "back"), str(tiny_activations.folder)]
    code, out, err = physalis(*back, "--json")
    assert code == 0 and "Next:" not in out, err


def test_a_folder_that_is_taken_is_not_named_again(tmp_path):
    assert hints.beside(tmp_path / "acts", "dictionary") == tmp_path / "sae"
    (tmp_path / "sae").mkdir()
    assert hints.beside(tmp_path / "acts", "dictionary") == tmp_path / "acts-sae"
    assert str(hints.beside(Path("/"), "atlas")) == "atlas"
