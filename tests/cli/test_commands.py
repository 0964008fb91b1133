"""Commands about finished atlases: notes to files and back, comparisons, sites and exports."""

import json
import shutil

import pytest

from physalis.atlas import Atlas
from physalis.errors import BadInput
from physalis.exchange.formats.saedashboard import export_saedashboard
from physalis.people.notes import Notes, beside
from physalis.web.publish.site import publish


@pytest.fixture
def atlas(tiny_atlas, tmp_path):
    """A copy that notes may stand beside."""
    return shutil.copytree(tiny_atlas.folder, tmp_path / "atlas")


@pytest.fixture
def notes(atlas):
    return Notes.open(beside(atlas), atlas=Atlas.open(atlas).manifest.hash)


def test_notes_go_to_files_and_back(physalis, atlas, notes, tmp_path):
    notes.label(3, "closing brackets", author="Ada")
    code, out, err = physalis("notes", "export", atlas, tmp_path / "one")
    assert code == 0 and "holds 1 record\n" in out, err
    code, out, err = physalis("notes", "merge", tmp_path / "one", tmp_path / "one", "--out", tmp_path / "both")
    assert code == 0 and "holds 1 record\n" in out, err
    beside(atlas).unlink()
    code, out, err = physalis("notes", "import", atlas, tmp_path / "both", "--json")
    assert code == 0 and json.loads(out)["added"] == 1, err
    again = Notes.open(beside(atlas), atlas=Atlas.open(atlas).manifest.hash)
    assert [each.label.text for each in again.all_labels()[3]] == ["closing brackets"]


def test_explanations_and_lists_are_taken_over(physalis, atlas, tmp_path):
    row = {
        "modelId": "tiny", "layer": "1-res", "index": "2", "description": "quotes", "explanationModelName": "m",
        "typeName": "t",
    }  # fmt: skip
    file = tmp_path / "explanations.jsonl"
    file.write_text(json.dumps(row) + "\n")
    code, out, err = physalis("notes", "explanations", atlas, file)
    assert code == 0 and "added: 1" in out, err
    said = json.dumps([{"modelId": "tiny", "layer": "1-res", "index": "2", "description": "seen"}])
    code, out, err = physalis("notes", "quick-list", atlas, said, "--author", "Ada", "--name", "Quotes", "--json")
    assert code == 0 and json.loads(out)["full"]["entries"][0]["feature"] == 2, err


def test_a_list_of_the_notes_is_published(physalis, atlas, notes, tmp_path):
    made = notes.make_list("Brackets", author="Ada")
    living = [row.id for row in Atlas.open(atlas).list(limit=3).rows]
    for feature in living:
        notes.enter(made.list.list, feature, author="Ada")
    code, out, err = physalis("publish", atlas, "--features", "Brackets", "--out", tmp_path / "site")
    assert code == 0 and out.strip().endswith("index.html"), err
    pages = [path.name for path in (tmp_path / "site").rglob("*.html")]
    assert len(pages) >= len(living), pages


def test_an_empty_list_is_a_sentence(physalis, atlas, notes, tmp_path):
    notes.make_list("Empty", author="Ada")
    exports = (
        ("export", "saedashboard", atlas, "--sae-set", "res"),
        ("export", "neuronpedia", atlas, "--source-set", "res", "--creator", "Ada"),
    )
    for command in (("publish", atlas), *exports):
        code, out, err = physalis(*command, "--features", "Empty", "--out", tmp_path / "site")
        assert code == 2 and "The list 'Empty' in the notes holds no feature." in err and not out
    assert not (tmp_path / "site").exists()
    with pytest.raises(BadInput, match="the list is empty"):
        publish(Atlas.open(atlas), tmp_path / "site", features=[])
    with pytest.raises(BadInput, match="the list is empty"):
        export_saedashboard(Atlas.open(atlas), tmp_path / "site", sae_set="res", features=[])


@pytest.mark.parametrize("named", ["Nobody's", "1,,2", "4-"])
def test_what_names_no_features_is_a_sentence(physalis, atlas, named, tmp_path):
    code, out, err = physalis("publish", atlas, "--features", named, "--out", tmp_path / "site")
    assert code == 2 and "is neither numbers" in err and not out
    assert not (tmp_path / "site").exists()


def test_a_feature_that_is_not_there_is_a_sentence(physalis, atlas, tmp_path):
    code, _, err = physalis("publish", atlas, "--features", "0-99999999", "--out", tmp_path / "site")
    assert code == 2 and "Traceback" not in err


@pytest.mark.parametrize("named", ["5-1", "3,9-8", "0-4,2-1"])
def test_a_range_that_ends_before_it_begins_is_a_sentence(physalis, atlas, named, tmp_path):
    exports = (
        ("export", "saedashboard", atlas, "--sae-set", "res"),
        ("export", "neuronpedia", atlas, "--source-set", "res", "--creator", "Ada"),
    )
    for command in (("publish", atlas), *exports):
        code, out, err = physalis(*command, "--features", named, "--out", tmp_path / "site")
        assert code == 2 and "ends before it begins" in err and not out
    assert not (tmp_path / "site").exists()


def test_whose_features_these_are_is_not_taken_on_trust_in_silence(physalis, atlas, tmp_path):
    said = json.dumps([{"modelId": "m", "layer": "7-res", "index": "2"}])
    words = ("notes", "quick-list", atlas, said, "--author", "Ada", "--name", "Q")
    code, _, err = physalis(*words)
    assert code == 0 and "m/7-res" in err and "on trust" in err and "--source" in err
    code, _, err = physalis(*words, "--source", "m/7-res")
    assert code == 0 and not err
    code, _, err = physalis(*words, "--source", "m/8-res")
    assert code == 2 and "it is of m/7-res, not of m/8-res" in err


def test_what_is_bound_already_is_told(physalis, atlas, notes):
    code, out, err = physalis("notes", "rebind", atlas)
    assert code == 0 and "nothing had to be done" in out, err


def test_an_empty_queue_is_told(physalis, atlas):
    code, _, err = physalis("comments", "invite", atlas, "Ada")
    assert code == 0, err
    code, out, err = physalis("comments", "queue", atlas)
    assert (code, out, err) == (0, "", "Nothing waits to be published\n")
    code, out, err = physalis("comments", "queue", atlas, "--json")
    assert (code, json.loads(out), err) == (0, [], "")


def test_exports(physalis, atlas, tmp_path):
    code, out, err = physalis("export", "saedashboard", atlas, "--sae-set", "res", "--out", tmp_path / "d", "--json")
    assert code == 0 and json.loads(out)["n_features"] > 0, err
    options = ("--source-set", "res", "--creator", "Ada", "--features", "0-40", "--out", tmp_path / "n")
    code, out, err = physalis("export", "neuronpedia", atlas, *options)
    assert code == 0 and "n features: " in out, err


def test_dictionaries_are_compared(physalis, tiny_dictionary, tiny_activations, tmp_path):
    same = ("compare", "pair", tiny_dictionary, tiny_dictionary, tiny_activations.folder)
    code, out, err = physalis(*same, "--out", tmp_path / "c", "--json")
    assert code == 0 and json.loads(out)["directions"]["share_a"]["value"] > 0.9, err
    code, out, err = physalis(*same, "--out", tmp_path / "c")
    assert code == 0 and "Matched by direction" in out and "Matched by activations" in out, err
    twin = shutil.copytree(tiny_dictionary, tmp_path / "twin")
    code, out, err = physalis(
        "compare", "pair", tiny_dictionary, twin, tiny_activations.folder, "--out", tmp_path / "c"
    )
    assert code == 0 and "twin" in out.splitlines()[0], err  # where both have the same name
    code, _, err = physalis("compare", "tree", tiny_dictionary, "--activations", tiny_activations.folder, "--out", "t")
    assert code == 2 and "at least 2 dictionaries" in err
