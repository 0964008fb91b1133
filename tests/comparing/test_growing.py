"""Lineage: a planted tree of splits is grown as it was planted, absorption is named, and chance grows nothing."""

import pytest
from planted import OTHERS

from physalis import artifact
from physalis.comparing import Forest
from physalis.comparing.growing import grow
from physalis.errors import BadInput


def places(nodes):
    return [(node.level, node.feature) for node in nodes]


def test_the_planted_tree_is_grown(grown):
    tree = grown.tree(2, 0)
    assert (tree.root.level, tree.root.feature) == (0, 0)
    assert places(tree.nodes) == [(0, 0), (1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2), (2, 3)]
    assert tree.split_sizes == [1, 3, 4]
    parents = {(node.level, node.feature): node.parent for node in tree.nodes}
    assert [parents[2, i] for i in range(4)] == [0, 0, 1, 2]
    assert grown.tree(0, 0) == tree


def test_a_family_is_ancestors_siblings_and_descendants(grown):
    family = grown.family(2, 0)
    assert places(family.ancestors) == [(1, 0), (0, 0)]
    assert places(family.siblings) == [(2, 1)] and family.descendants == []
    above = grown.family(0, 0)
    assert len(above.descendants) == 7 and above.ancestors == above.siblings == []
    assert above.node.n_children == 3 and above.node.parent is None
    middle = grown.family(1, 0)
    assert places(middle.siblings) == [(1, 1), (1, 2)] and places(middle.descendants) == [(2, 0), (2, 1)]


def test_numbers_of_a_node_are_what_was_planted(grown):
    node = grown.node(2, 0)
    assert node.fires > 0.99 and node.share == pytest.approx(0.5, abs=0.05) and not node.heir
    assert grown.node(1, 0).share == pytest.approx(0.5, abs=0.05)
    assert grown.node(1, 1).share == pytest.approx(0.25, abs=0.05)
    other = grown.node(2, 9)
    assert other.parent == 7 and other.heir and other.absorbed is None
    assert other.cosine == pytest.approx(1, abs=1e-5) and other.share == pytest.approx(1, abs=1e-3)


def test_absorption_is_named_where_it_is_and_only_there(grown):
    absorbed, spared = grown.node(1, 4), grown.node(1, 6)
    assert (absorbed.parent, spared.parent) == (1, 2)
    assert grown.node(1, 3).heir and grown.node(1, 5).heir
    assert absorbed.absorbed > 0.95 and abs(spared.absorbed) < 0.05
    step = grown.summary.steps[0]
    assert step.absorbed.value == pytest.approx(1 / 2)


def test_a_new_feature_begins_a_tree(grown):
    new = grown.node(2, 8)
    assert new.parent is new.fires is new.share is new.cosine is new.absorbed is None and not new.heir
    assert places(grown.tree(2, 8).nodes) == [(2, 8)]
    assert grown.family(2, 8).siblings == []


def test_split_sizes_and_shares_are_counted(grown):
    first, second = grown.summary.steps
    assert first.split_sizes == [0, OTHERS, 2, 1]
    assert second.split_sizes == [0, OTHERS + 6, 1]
    assert first.with_parent.value == 1 and second.with_parent.value == pytest.approx((OTHERS + 8) / (OTHERS + 9))
    assert [width.n_features for width in grown.summary.widths] == [OTHERS + n for n in (3, 7, 9)]


def test_chance_grows_nothing(grown):
    for step in grown.summary.steps:
        assert step.by_chance.value <= 0.05 and step.chance.n_drawn > 100
        assert step.chance.threshold < 0.5 == step.least


def test_roots_come_largest_first(grown):
    roots = grown.roots()
    sizes = [len(grown.tree(*place).nodes) for place in roots]
    assert roots[:3] == [(0, 0), (0, 1), (0, 2)] and sizes[:3] == [8, 5, 5]
    assert sizes == sorted(sizes, reverse=True) and len(roots) == OTHERS + 3


def test_run_again_it_is_only_read(planted, grown, monkeypatch):
    monkeypatch.setattr("physalis.comparing.growing.read", None)
    again = grow(planted[1], planted[0], out=grown.folder)
    assert isinstance(again, Forest) and again.summary == grown.summary


def test_a_kill_in_between_changes_nothing(planted, grown, tmp_path, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as m, pytest.raises(KeyboardInterrupt):
        m.setattr(artifact, "finish", killed)
        grow(planted[1], planted[0], out=tmp_path / "out")
    with pytest.raises(BadInput, match="unfinished"):
        Forest.open(tmp_path / "out")
    grow(planted[1], planted[0], out=tmp_path / "out")
    for path in grown.folder.iterdir():
        assert path.read_bytes() == (tmp_path / "out" / path.name).read_bytes()


def test_what_cannot_be_grown_is_refused(planted, grown, tmp_path):
    acts, folders = planted
    with pytest.raises(BadInput, match="at least 2 dictionaries; received 1"):
        grow(folders[:1], acts, out=tmp_path / "a")
    with pytest.raises(BadInput, match="narrowest to the widest"):
        grow(folders[::-1], acts, out=tmp_path / "b")
    with pytest.raises(BadInput, match="received 1"):
        grow(folders, acts, out=tmp_path / "c", least=1.0)
    with pytest.raises(BadInput, match="to 2; received 3"):
        grown.node(3, 0)
    with pytest.raises(BadInput, match="received -1"):
        grown.family(0, -1)
    with pytest.raises(BadInput, match="holds no physalis tree of features"):
        Forest.open(tmp_path)
