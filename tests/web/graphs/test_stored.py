"""StoredGraph: what is read without torch is what was written, and what is damaged is refused in a sentence."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from small_graph import VERDICT, small_graph, written

from physalis import artifact
from physalis.circuits import graph as made
from physalis.errors import BadInput
from physalis.web.graphs import stored
from physalis.web.graphs.stored import StoredGraph


@pytest.fixture
def folder(tmp_path):
    return written(tmp_path / "graph", small_graph())


def test_it_is_the_graph_that_was_written(folder):
    graph, found = small_graph(), StoredGraph.open(folder)
    assert (stored.KIND, stored.TENSORS) == (made.KIND, made.TENSORS)
    for name in stored._SHAPES:
        assert torch.equal(torch.from_numpy(getattr(found, name)), getattr(graph, name)), name
    assert found.said.prompt == graph.prompt and tuple(found.said.token_strings) == graph.token_strings
    assert [tuple(end.model_dump().values()) for end in found.said.ends] == [*graph.ends]
    assert found.scores.model_dump() == graph.scores()._asdict()
    said = found.verdict.model_dump()
    assert said == {name: VERDICT.record()[name] for name in said} and not said["survives"]


def test_influence_is_as_circuits_define_it(folder):
    graph = small_graph()
    assert np.allclose(StoredGraph.open(folder).influence, graph.influence() * graph.kept, atol=1e-6)
    assert StoredGraph.open(folder).enters == pytest.approx([2, 1, 4, 0.5, 7, 1])


def test_without_a_verdict_there_is_no_page_but_a_sentence(tmp_path):
    folder = written(tmp_path / "graph", small_graph(), verdict=None)
    with pytest.raises(BadInput, match="nobody tried it.*`physalis trace SET 'The big cat' --out OUT`"):
        StoredGraph.open(folder)


def test_another_kind_is_refused(tiny_atlas):
    with pytest.raises(BadInput, match="holds an atlas, not a graph"):
        StoredGraph.open(tiny_atlas.folder)


def rewritten(folder, change):
    """The tensors changed, and the manifest with them: what a stranger could write."""
    held = load_file(folder / stored.TENSORS)
    change(held)
    save_file(held, folder / stored.TENSORS)
    manifest = json.loads((folder / artifact.MANIFEST).read_text())
    manifest["files"][stored.TENSORS] = artifact.file_digest(folder / stored.TENSORS)
    (folder / artifact.MANIFEST).write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda held: held.pop("edges"), "does not hold what a graph does"),
        (
            lambda held: held.update(edges=held["edges"][:, :-1].clone()),
            r"has edges as \[6, 12\] float32, and should as",
        ),
        (lambda held: held.update(layer=held["layer"].int()), r"has layer as \[4\] int32"),
        (lambda held: held["value"].fill_(torch.nan), "has value with numbers that are not finite"),
        (lambda held: held["position"].fill_(3), "layers, tokens or numbers that there are not"),
        (lambda held: held["layer"].fill_(7), "layers, tokens or numbers that there are not"),
        (lambda held: held["feature"].fill_(-1), "layers, tokens or numbers that there are not"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(folder, change, says):
    rewritten(folder, change)
    with pytest.raises(BadInput, match=says):
        StoredGraph.open(folder)


def test_a_file_that_was_changed_is_refused(folder):
    (folder / stored.TENSORS).write_bytes(b"nothing")
    with pytest.raises(BadInput, match="is not the file that its manifest was written for"):
        StoredGraph.open(folder)


@pytest.mark.parametrize(
    ("place", "value", "says"),
    [
        (("config", "layers"), [], "layers is a list"),
        (("config", "layers"), [10**30, 1], "layers.0 is"),
        (("config", "ends"), [{"name": 3}], "ends.0.name is 3"),
        (("facts", "verdict"), {"answer": 1.0}, "verdict.sources is missing"),
        (("facts", "verdict"), None, "verdict is null"),
        (("facts", "scores"), {"replacement": float("nan"), "completeness": 1.0}, "replacement"),
    ],
)
def test_a_manifest_that_says_something_else_is_refused(folder, place, value, says):
    manifest = json.loads((folder / artifact.MANIFEST).read_text())
    manifest[place[0]][place[1]] = value
    (folder / artifact.MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(BadInput, match=says):
        StoredGraph.open(folder)


def test_a_newer_verdict_may_say_more(folder):
    manifest = json.loads((folder / artifact.MANIFEST).read_text())
    manifest["facts"]["verdict"]["likeness"] = 0.5
    (folder / artifact.MANIFEST).write_text(json.dumps(manifest))
    assert StoredGraph.open(folder).verdict.answer == VERDICT.answer


def test_a_graph_without_a_feature_is_read_too(tmp_path):
    graph = small_graph()
    none = torch.zeros(0, dtype=torch.long)
    bare = replace(
        graph, layer=none, position=none, feature=none, value=graph.value[4:], bias=graph.bias[4:],
        edges=graph.edges[4:, 4:].clone(), left_out=graph.left_out[4:], left_out_size=graph.left_out_size[4:],
        kept=graph.kept[4:].clone(),
    )  # fmt: skip
    found = StoredGraph.open(written(tmp_path / "bare", bare))
    assert found.n_features == 0 and np.allclose(found.influence, bare.influence() * bare.kept)
