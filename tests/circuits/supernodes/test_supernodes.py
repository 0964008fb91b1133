"""Supernodes: edited without harm, kept beside a graph that stays whole, and refused where they are none."""

import json

import pytest
import torch
from planted_groups import planted_graph

from physalis.circuits import Graph, Supernode, Supernodes, prune
from physalis.circuits.supernodes import Member
from physalis.errors import BadInput
from physalis.verifying import verify

A, B, C, D = (Member(0, 0, i) for i in range(4))
GROUPS = Supernodes((Supernode("one", (A, B)), Supernode("two", (C,)), Supernode("three", (D,))), "edges")


def names(groups: Supernodes) -> dict:
    return {name: list(members) for name, members in groups}


def test_edits_return_new_ones():
    assert names(GROUPS.merged("one", "three", name="both")) == {"both": [A, B, D], "two": [C]}
    assert names(GROUPS.merged("three", "two", name="two")) == {"one": [A, B], "two": [D, C]}
    assert names(GROUPS.split("one", [B], "new")) == {"one": [A], "new": [B], "two": [C], "three": [D]}
    assert names(GROUPS.without([C, A])) == {"one": [B], "three": [D]}
    assert names(GROUPS.renamed("two", "2")) == {"one": [A, B], "2": [C], "three": [D]}
    assert names(GROUPS.moved([A, C], "three")) == {"one": [B], "three": [D, A, C]}
    assert names(GROUPS.moved([(5, 1, 9)], "new"))["new"] == [(5, 1, 9)]
    assert names(GROUPS.moved([B], "one")) == {"one": [A, B], "two": [C], "three": [D]}
    edited = GROUPS.renamed("two", "2").without([D])
    assert edited.method == "edges, edited" and GROUPS.method == "edges"
    assert edited.of(C) == "2" and edited.of(D) is None and list(GROUPS["one"].members) == [A, B]
    assert names(GROUPS) == {"one": [A, B], "two": [C], "three": [D]}


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (lambda g: g.merged("one", name="x"), "Two supernodes or more"),
        (lambda g: g.merged("one", "none", name="x"), "There is no supernode 'none'"),
        (lambda g: g.merged("one", "two", name="three"), "each its own"),
        (lambda g: g.split("one", [C], "new"), "is not in 'one'"),
        (lambda g: g.split("one", [A, B], "new"), "one at least is left"),
        (lambda g: g.split("one", [], "new"), "No feature was named"),
        (lambda g: g.without([(1, 2, 3)]), "is in no supernode"),
        (lambda g: g.renamed("one", "two"), "each its own"),
        (lambda g: g.renamed("one", " "), "each its own"),
        (lambda g: g.renamed("one", "x" * 201), "1 to 200 characters"),
        (lambda g: g.renamed("no", "two"), "There is no supernode"),
        (lambda g: g.moved([], "two"), "No feature was named"),
        (lambda g: Supernodes((Supernode("a", ()),)), "at least one feature"),
        (lambda g: Supernodes((Supernode("a", (A,)), Supernode("b", (A,)))), "one supernode at most"),
        (lambda g: Supernodes((Supernode("a", (Member(0, -1, 2),)),)), "count from 0"),
    ],
)  # fmt: skip
def test_what_cannot_be_edited_so_is_said(edit, says):
    with pytest.raises(BadInput, match=says):
        edit(GROUPS)


@pytest.fixture
def folder(tmp_path):
    graph, _ = planted_graph()
    graph.save(tmp_path / "graph")
    return tmp_path / "graph"


def test_they_are_kept_beside_a_graph_which_stays_whole(folder):
    _, groups = planted_graph()
    before = (folder / "manifest.json").read_bytes()
    groups.save(folder)
    assert Supernodes.open(folder) == groups
    said = json.loads((folder / "supernodes.json").read_text())
    assert said["version"] == 1 and said["method"] == "by hand" and len(said["supernodes"]) == len(groups)
    assert said["supernodes"][0] == {"name": "0", "members": [[*each] for each in groups["0"].members]}
    groups.renamed("0", "first").save(folder)
    assert Supernodes.open(folder).groups[0].name == "first"
    assert (folder / "manifest.json").read_bytes() == before and verify(folder).right
    graph = Graph.open(folder)
    graph.save(folder)  # the same graph again is the same folder, and takes nothing away
    assert Supernodes.open(folder).groups[0].name == "first"


def test_features_that_the_graph_does_not_have_are_refused(folder):
    _, groups = planted_graph()
    with pytest.raises(BadInput, match="no feature of the graph"):
        groups.moved([(0, 0, 999)], "0").save(folder)
    assert not (folder / "supernodes.json").exists()
    groups.save(folder)
    said = json.loads((folder / "supernodes.json").read_text())
    said["supernodes"][0]["members"].append([0, 2, 7])
    (folder / "supernodes.json").write_text(json.dumps(said))
    with pytest.raises(BadInput, match="Feature 7 of layer 0 at position 2"):
        Supernodes.open(folder)


def test_of_a_pruned_graph_those_that_are_left(folder):
    graph, groups = planted_graph()
    kept = torch.ones_like(graph.kept)
    kept[: graph.n_features] = graph.feature != 0
    pruned = graph.kept_only(kept, graph.edges != 0)
    with pytest.raises(BadInput, match="pruned from it"):
        groups.columns(pruned)
    left = groups.within(pruned)
    assert len(left["0"].members) == 3 and len(left) == len(groups)
    columns = left.columns(pruned)
    assert all(bool(pruned.kept[column]) for own in columns.values() for column in own)
    assert groups.within(prune(graph, nodes=0.01)).groups != groups.groups


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda said: [], "its version is None"),
        (lambda said: said | {"version": 2}, "its version is 2"),
        (lambda said: said | {"method": 3}, "does not say its method"),
        (lambda said: said | {"supernodes": {}}, "does not say its method"),
        (lambda said: said | {"supernodes": [{"members": [[0, 0, 0]]}]}, "has a name"),
        (lambda said: said | {"supernodes": [{"name": "a", "members": 3}]}, "are no list"),
        (lambda said: said | {"supernodes": [{"name": "a", "members": []}]}, "has no member"),
        (lambda said: said | {"supernodes": [{"name": "a", "members": [[0, 0, True]]}]}, "no layer, position"),
        (lambda said: said | {"supernodes": [{"name": "a", "members": [[0, 0]]}]}, "no layer, position"),
        (lambda said: said | {"supernodes": [{"name": "a", "members": [[0, 0, 0], [0, 0, 0]]}]}, "one twice"),
        (lambda said: said | {"supernodes": [{"name": "", "members": [[0, 0, 0]]}]}, "blank"),
    ],
)  # fmt: skip
def test_files_that_are_none(folder, spoil, says):
    path = folder / "supernodes.json"
    path.write_text(json.dumps(spoil(GROUPS.record())))
    with pytest.raises(BadInput, match=says) as caught:
        Supernodes.open(folder)
    assert "supernodes.json holds no supernodes" in str(caught.value)


def test_no_file_no_graph_and_a_link(folder, tmp_path):
    with pytest.raises(BadInput, match="no supernodes yet"):
        Supernodes.open(folder)
    with pytest.raises(BadInput, match="holds no physalis graph"):
        Supernodes.open(tmp_path)
    (tmp_path / "other").write_text(json.dumps(GROUPS.record()))
    (folder / "supernodes.json").symlink_to(tmp_path / "other")
    with pytest.raises(BadInput, match="is a link"):
        Supernodes.open(folder)
