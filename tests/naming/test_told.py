"""Told: rules and words in Neuronpedia's files, with their scores, and read back by the import of notes."""

import gzip
import json
import shutil

import pytest
from test_explained_pages import write_scores, write_words

from physalis import Atlas
from physalis.exchange.formats.neuronpedia import export_neuronpedia
from physalis.explanations import explain
from physalis.naming.beside import find_beside
from physalis.naming.told import RULE, WORDS, told


@pytest.fixture(scope="module")
def found(tiny, tiny_activations, tiny_dictionary, tiny_atlas, tmp_path_factory):
    folder = tmp_path_factory.mktemp("told")
    shutil.copytree(tiny_atlas.folder, folder / "atlas")
    explain(tiny_dictionary, tiny_activations, tiny, folder / "explanations", features=range(8))
    words = write_words(folder / "words", tiny_atlas, {id: f"words {id}" for id in range(4)})
    write_scores(folder / "scores", tiny_atlas, words, 2)
    return find_beside(Atlas.open(folder / "atlas"))


def rows(folder):
    files = sorted(folder.rglob("explanations/batch-*.jsonl.gz"))
    return files, [json.loads(line) for file in files for line in gzip.decompress(file.read_bytes()).splitlines()]


def test_each_is_told_with_its_method_its_model_and_how_good_it_is(found):
    by = {(each.feature, each.method): each for each in told(found)}
    assert {method for _, method in by} == {RULE, WORDS}
    words = by[2, WORDS]
    assert words.description == "words 2" and words.model == "a-model"
    assert words.notes == (
        "detection, balanced accuracy: 0.710 [0.610, 0.710], mean of 2 features, judged by endpoint a-reader."
    )
    for each in found.rules:
        if each.size:
            rule = by[each.feature, RULE]
            assert rule.model is None and rule.description == each.program.in_words()
            said = f"{each.detection.f1.value:.3f}" if each.n_held_out else "could not be judged"
            assert said in rule.notes


def test_they_are_exported_beside_the_features(found, tiny_atlas, tmp_path):
    every = told(found)
    options = {"source_set": "res", "creator": "Ada", "batch": 3}
    made = export_neuronpedia(tiny_atlas, tmp_path / "out", explanations=every, **options)
    files, written = rows(tmp_path / "out")
    living = {id for id in range(len(tiny_atlas)) if tiny_atlas[id].n_fired}
    kept = [each for each in every if each.feature in living]
    assert made.n_features == len(living) and len(files) == -(-len(kept) // 3)
    assert [(row["index"], row["typeName"], row["explanationModelName"]) for row in written] == [
        (str(each.feature), each.method, each.model) for each in kept
    ]
    assert len({row["id"] for row in written}) == len(written) and len({tuple(row) for row in written}) == 1
    again = export_neuronpedia(tiny_atlas, tmp_path / "again", explanations=every, **options)
    assert again == made and [f.read_bytes() for f in rows(tmp_path / "again")[0]] == [f.read_bytes() for f in files]
    export_neuronpedia(tiny_atlas, tmp_path / "none", **options)
    assert rows(tmp_path / "none") == ([], [])
