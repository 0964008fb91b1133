"""Neuronpedia's explanations and lists, taken over: what fits is kept, and what does not is told."""

import gzip
import json
from urllib.parse import quote

import pytest

from physalis.errors import BadInput
from physalis.people.notes import Notes
from physalis.people.notes.files import merge
from physalis.people.notes.neuronpedia import import_explanations, import_list

ATLAS = "a" * 64

ROW = {
    "modelId": "gpt2-small", "layer": "8-res-jb", "index": "12", "description": "names of\n dogs", "authorId": "cl1",
    "typeName": "oai_token-act-pair", "explanationModelName": "gpt-4o-mini", "scoreV1": 0, "scoreV2": 0.61,
    "embedding": [0.5], "createdAt": "2024-06-17T15:36:08.123Z",
}  # fmt: skip


def test_explanations_become_labels(tmp_path):
    rows = [
        ROW,
        ROW | {"typeName": "np_max-act", "description": "dogs", "createdAt": None},
        ROW | {"typeName": None, "explanationModelName": None, "description": "old name", "createdAt": "2024-01-01"},
        ROW | {"typeName": None, "explanationModelName": None, "description": "new name", "scoreV2": None},
        ROW | {"index": 300}, ROW | {"index": "12.5"}, ROW | {"description": " "}, ROW | {"scoreV2": "high"},
        ROW | {"description": "x" * 2001}, ROW | {"createdAt": "yesterday"}, ROW | {"index": True},
        ROW | {"layer": "7-res-jb"}, ROW | {"layer": "7-res-jb"},
    ]  # fmt: skip
    folder = tmp_path / "explanations"
    folder.mkdir()
    (folder / "batch-0.jsonl").write_text("\n".join(json.dumps(row) for row in rows[:6]) + "\n{oops\n[]\n\n")
    with gzip.open(folder / "batch-1.jsonl.gz", "wt") as file:
        file.write("\n".join(json.dumps(row) for row in rows[6:]))
    notes = Notes.open(tmp_path / "notes.db", atlas=ATLAS)
    done = import_explanations(notes, folder, n_features=300, source="gpt2-small/8-res-jb")
    assert done.added == 4
    told = "\n".join(done.left_out)
    for words in (
        "batch-0.jsonl, line 5: there is no feature 300: this atlas has 300, from 0 to 299",
        "batch-0.jsonl, line 6: its index is '12.5'", "batch-0.jsonl, line 7: it is not JSON",
        "batch-0.jsonl, line 8: it is not an object", "batch-1.jsonl.gz, line 1: it has no description",
        "batch-1.jsonl.gz, line 2: its scoreV2 is 'high', not a number", "batch-1.jsonl.gz, line 3: text = ",
        "batch-1.jsonl.gz, line 4: its time is 'yesterday'", "batch-1.jsonl.gz, line 5: its index is True",
        "2 rows are of gpt2-small/7-res-jb", "'embedding' is not kept; 11 rows have it",
    ):  # fmt: skip
        assert words in told
    assert len(done.left_out) == 11
    labels = {each.label.text: each.label for each in notes.labels_of([12])[12]}
    assert set(labels) == {"names of dogs", "dogs", "new name"}  # a person's newest, and every machine's
    first = labels["names of dogs"]
    assert (first.author, first.method, first.model) == ("neuronpedia:cl1", "oai_token-act-pair", "gpt-4o-mini")
    assert first.scores == {"scoreV1": 0.0, "scoreV2": 0.61} and first.time == "2024-06-17T15:36:08.123000Z"
    again = import_explanations(notes, folder, n_features=300, source="gpt2-small/8-res-jb")
    assert (again.added, again.known, again.left_out) == (0, 4, done.left_out)
    other = Notes.open(tmp_path / "other.db", atlas=ATLAS)  # a colleague who imports them too has the same records
    import_explanations(other, folder, n_features=300, source="gpt2-small/8-res-jb")
    assert merge(notes.records(), other.records()) == [*notes.records()]
    with pytest.raises(BadInput, match="2 sources: gpt2-small/7-res-jb, gpt2-small/8-res-jb"):
        import_explanations(notes, folder, n_features=300)


def test_unreadable_explanations_are_sentences(tmp_path):
    notes = Notes.open(tmp_path / "notes.db", atlas=ATLAS)
    (tmp_path / "bad.jsonl.gz").write_bytes(gzip.compress(json.dumps(ROW).encode() * 50)[:-20])
    for name, words in (("bad.jsonl.gz", "cannot be read"), ("none.jsonl", "cannot be read"), (".", "no .jsonl")):
        if name == ".":
            (tmp_path / "bad.jsonl.gz").unlink()
        with pytest.raises(BadInput, match=words):
            import_explanations(notes, tmp_path / name, n_features=300)
    assert not [*notes.records()]


def test_quick_lists_become_lists(tmp_path):
    notes = Notes.open(tmp_path / "notes.db", atlas=ATLAS)
    features = [
        {"modelId": "gpt2-small", "layer": "8-res-jb", "index": "14", "description": "dogs & <b>cats</b>"},
        {"modelId": "gpt2-small", "layer": "8-res-jb", "index": "[[3, 14], [500]]"},
        {"modelId": "gpt2-small", "layer": "8-res-jb", "index": 2, "colour": "red"},
    ]
    address = f"https://neuronpedia.org/quick-list/?name={quote('Some pets')}&features={quote(json.dumps(features))}"
    made = import_list(notes, address, author="Ada", n_features=300)
    assert [(entry.feature, entry.label) for entry in made.full.entries] == [
        (14, "dogs & <b>cats</b>"),
        (3, ""),
        (2, ""),
    ]
    assert made.full.list.name == "Some pets" and made.full.list.author == "Ada"
    assert made.left_out == (
        "'colour' is not kept; 1 entries have it.",
        "Entry 3: feature 14 stands there already; the first entry counts.",
        "Entry 4: there is no feature 500: this atlas has 300, from 0 to 299.",
    )
    said = {"name": "Pets", "description": "All.", "defaultTestText": "x", "neurons": features[:1]}
    told = import_list(notes, json.dumps(said), author="Ada", n_features=300, source="gpt2-small/8-res-jb", name="Mine")
    assert told.full.list.name == "Mine" and told.full.list.description == "All."
    assert told.left_out == ("'defaultTestText' of the list is not kept.",)
    other = [features[0] | {"layer": "7-res-jb"}]
    for text, words in (
        ("https://neuronpedia.org/quick-list/?name=x", "not a quick list"), ("[1]", "no features"), ("{", "not JSON"),
        (json.dumps(features), "has no name"), (json.dumps({"name": "x", "features": features + other}), "2 sources"),
        (json.dumps({"name": "x", "features": features[:1] * 0}), "no features"),
    ):  # fmt: skip
        with pytest.raises(BadInput, match=words):
            import_list(notes, text, author="Ada", n_features=300)
    with pytest.raises(BadInput, match="no feature of this atlas. Entry 1: it is of gpt2-small/7-res-jb, not of a/b"):
        import_list(notes, json.dumps(other), author="Ada", n_features=300, source="a/b", name="x")
    assert len(notes.lists()) == 2
