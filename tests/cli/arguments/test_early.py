"""What can be judged without the model is judged before it is loaded: with torch it takes seconds."""

import json
import shutil

import pytest

from physalis import artifact
from physalis.cli.arguments.options import Loading
from physalis.models.sources import depth
from physalis.models.sources.depth import told_layers


@pytest.fixture
def refused(physalis, monkeypatch):
    """What is said of a command that is refused, and that no model is loaded for it."""

    def load(*_):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(Loading, "load", load)
    monkeypatch.setattr(Loading, "load_found", load)
    monkeypatch.setattr("physalis.cli.arguments.sources.opened", load)

    def run(*words) -> str:
        code, out, err = physalis(*words)
        assert code == 2 and not out, err
        return err

    return run


@pytest.fixture
def strangers(tmp_path):
    folder = tmp_path / "theirs"
    folder.mkdir()
    (folder / "thesis.tex").write_text("years of work")
    return folder


def test_a_folder_of_something_else_is_told_before_a_model_is_loaded(
    refused, strangers, tiny_activations, tiny_dictionary, tiny_text
):
    acts = tiny_activations.folder
    site = ("--site", "L1.resid_post", "--text", tiny_text)
    for command in (
        ("record", "tiny", *site), ("train", acts), ("finetune", tiny_dictionary, acts),
        ("evaluate", tiny_dictionary, acts), ("build-atlas", tiny_dictionary, acts),
        ("compare", "pair", tiny_dictionary, tiny_dictionary, acts),
        ("compare", "tree", tiny_dictionary, tiny_dictionary, "--activations", acts),
    ):  # fmt: skip
        err = refused(*command, "--out", strangers)
        assert "holds something else (thesis.tex)" in err, command
        other = "a dictionary, not a recording" if command[0] == "record" else "a recording, not "
        assert f"already holds {other}" in refused(*command, "--out", elsewhere(command, acts)), command
    assert [each.name for each in strangers.iterdir()] == ["thesis.tex"]


def elsewhere(command, acts):
    """An artefact of another kind."""
    return acts.parent / ("dictionary" if command[0] == "record" else "activations")


def test_another_job_is_told_before_a_model_is_loaded(
    refused, tiny_activations, tiny_dictionary, tiny_evaluation, tiny_atlas, comparison, widths
):
    acts, sae = tiny_activations.folder, tiny_dictionary
    narrow = widths[0]
    k = artifact.read(sae, "dictionary").config["dictionary"]["k"]
    for command, out, told in (
        (("train", acts, "--k", k + 1), sae, f"--k was {k}, now {k + 1}"),
        (("evaluate", sae, acts, "--splice-tokens", "640"), tiny_evaluation, "--splice-tokens was 320, now 640"),
        (("evaluate", narrow, acts), tiny_evaluation, "DICTIONARY was "),
        (("build-atlas", sae, acts, "--seed", "7"), tiny_atlas.folder, "--seed was 0, now 7"),
        (("compare", "pair", narrow, sae, acts, "--seed", "7"), comparison.folder, "--seed was 0, now 7"),
        (("record", "tiny", "--site", "L1.resid_post", "--text", "stdlib", "--context", "48"), acts, "--context was "),
    ):  # fmt: skip
        assert f"{out} holds another job: {told}" in refused(*command, "--out", out), command


def test_the_same_job_is_let_through(tiny_activations, tiny_dictionary):
    job = json.loads((tiny_dictionary / "job.json").read_text())["job"]
    artifact.check_free(tiny_dictionary, "dictionary", job)
    artifact.check_free(tiny_dictionary, "dictionary", {"dictionary": {"k": None}, "seed": None})
    artifact.check_free(tiny_dictionary.parent / "not there", "dictionary", {})


def test_an_unfinished_folder_is_left_to_who_makes_it(tiny_dictionary, tmp_path):
    """It may be taken over, which is decided under its lock."""
    unfinished = shutil.copytree(tiny_dictionary, tmp_path / "d")
    (unfinished / "manifest.json").unlink()
    artifact.check_free(unfinished, "dictionary", {"seed": 9})


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "num_hidden_layers": 4}))
    return folder


def test_a_layer_that_the_model_has_not_is_told_before_it_is_loaded(refused, folder, tmp_path):
    for command in (
        ("record", folder, "--site", "L4.resid_post", "--text", "stdlib", "--out", tmp_path / "a"),
        ("plan", folder, "--site", "L0.mlp_in", "--writes", "L4.mlp_out"),
        ("convert", "sae.pt", "--model", folder, "--site", "L4.resid_post", "--out", tmp_path / "a"),
    ):
        assert "has 4 layers, L0 to L3; received L4." in refused(*command)
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("said, n", [
    ({"n_layer": 12}, 12), ({"text_config": {"num_hidden_layers": 26}}, 26), ({"num_layers": "many"}, None), ([], None),
    ({"num_hidden_layers": 2, "n_layer": 12}, 12),
])  # fmt: skip
def test_how_many_layers_a_config_tells(folder, said, n):
    (folder / "config.json").write_text(json.dumps(said))
    assert told_layers(str(folder)) == n


def test_nothing_is_told_of_what_is_not_on_this_machine(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("PHYSALIS_CACHE", str(tmp_path))
    monkeypatch.setattr(depth, "try_to_load_from_cache", lambda *_: None)
    (folder / "config.json").unlink()
    assert [told_layers(name) for name in (str(folder), "smollm2", "tiny", "gpt2")] == [None] * 4


def test_recordings_inside_a_folder_are_named(refused, tiny_activations, tmp_path):
    several = tmp_path / "acts"
    for site in ("L0.resid_post", "L1.resid_post"):
        shutil.copytree(tiny_activations.folder, several / site)
    named = f"{several}/L0.resid_post, {several}/L1.resid_post"
    err = refused("train", several, "--out", tmp_path / "d")
    assert f"There are inside: {named}. Name which you mean, such as {several}/L0.resid_post." in err
    err = refused("verify", several)
    assert f"Inside are {named}: verify them one by one, as in `physalis verify {several}/L0.resid_post`." in err
    assert "Check the path" in refused("train", tmp_path, "--out", tmp_path / "d")
