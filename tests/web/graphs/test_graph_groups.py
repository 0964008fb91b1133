"""Groups: supernodes of the file in a graph's folder, and the sentence where that cannot be read."""

import json

import pytest
from small_graph import small_graph, written

from physalis.circuits.supernodes import supernodes as made
from physalis.web.graphs import groups
from physalis.web.graphs.records import page_of
from physalis.web.graphs.stored import StoredGraph

FILE = {
    "version": 1, "method": "by hand",
    "supernodes": [
        {"name": "size", "members": [[0, 1, 11], [9, 9, 9]], "colour": "red"},
        {"name": "animal", "members": [[1, 2, 14], [0, 1, 11], [1, 2, 14], [0, 2, 12]]},
        {"name": "nothing here", "members": [[3, 0, 1]]},
    ],
}  # fmt: skip


@pytest.fixture
def page(tmp_path):
    """The page of a graph with this text beside it."""

    def made(text: str | None):
        folder = written(tmp_path / "graph", small_graph())
        if text is not None:
            (folder / groups.FILE).write_text(text)
        return page_of(StoredGraph.open(folder))

    return made


def test_members_are_nodes_and_each_is_in_one_group(page):
    told = page(json.dumps(FILE))
    nodes = told.nodes
    named = {each.name: [nodes.feature[i] for i in each.members] for each in told.supernodes}
    assert named == {"size": [11], "animal": [14, 12]} and told.method == "by hand" and told.lack == ""


def test_without_the_file_there_are_none(page):
    told = page(None)
    assert told.supernodes == [] and told.lack == told.method == ""


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "it is not JSON"),
        ("[]", "it is a list"),
        ('{"version": 1}', "supernodes is missing"),
        ('{"version": 2, "supernodes": []}', "is of version 2"),
        ('{"version": 1, "supernodes": [{"name": "", "members": []}]}', "supernodes.0.name"),
        ('{"version": 1, "supernodes": [{"name": "a", "members": [[1, 2]]}]}', "supernodes.0.members.0"),
        ("[" * 100_000, "cannot be read"),
    ],
)
def test_a_bad_file_spoils_no_page(page, text, says):
    told = page(text)
    assert says in told.lack and told.supernodes == [] and len(told.nodes.kind) == 10


def test_a_link_is_not_followed(tmp_path):
    (tmp_path / "elsewhere.json").write_text(json.dumps(FILE))
    folder = written(tmp_path / "linked", small_graph())
    (folder / groups.FILE).symlink_to(tmp_path / "elsewhere.json")
    told = page_of(StoredGraph.open(folder))
    assert "it is a link" in told.lack and told.supernodes == []


def test_the_file_is_the_one_that_circuits_write():
    assert (groups.FILE, groups.VERSION) == (made.FILE, made.VERSION)
