"""labels: what most members say, with how many; names are each group's own."""

from dataclasses import replace

from planted_groups import planted_graph

from physalis.circuits.supernodes import Member, labelled, phrases_of_atlases, phrases_of_rules, relabelled
from physalis.explanations import Rule


def test_what_most_members_say():
    graph, groups = planted_graph(n_groups=2, size=3)
    members = [group.members for group in groups]
    (a, b, c), others = members
    phrases = {
        (a.layer, a.feature): ["Texas", "Dallas"], (b.layer, b.feature): ["Dallas"],
        (c.layer, c.feature): ["Austin", "Dallas", "Dallas"],
    }  # fmt: skip
    found = labelled(members, graph, phrases, method="edges")
    assert found.groups[0].name == "Dallas (3 of 3) · L0-1 at a (0)" and found.method == "edges"
    assert found.groups[1].name == "L0-1 at b (1)"
    again = relabelled(found, graph, {(others[0].layer, others[0].feature): ["x"]})
    assert [group.name for group in again] == ["L0-1 at a (0)", "x (1 of 3) · L0-1 at b (1)"]
    assert [group.members for group in again] == members


def test_long_rules_and_tokens_are_cut():
    graph, groups = planted_graph(n_groups=1, size=2)
    phrases = {(member.layer, member.feature): ['"def" and ' * 40] for member in groups["0"].members}
    graph = replace(graph, token_strings=("a" * 500, "b", "c"))
    [found] = labelled([groups["0"].members], graph, phrases)
    assert "... (2 of 2) · L0-1 at aaaaaaaaaaaaaaaaaaaa (0)" in found.name and len(found.name) < 200


def test_two_of_one_name_are_numbered():
    graph, groups = planted_graph(n_groups=1, size=4)
    a, b, c, d = groups["0"].members
    pairs = [(a, c), (b, d)] if a.layer == c.layer else [(a, b), (c, d)]
    found = labelled([(a,), *pairs[1:]], graph, {})
    assert len({group.name for group in found}) == len(found)
    same = labelled([(Member(*a),), (Member(a.layer, a.position, b.feature),)], graph, {})
    assert [group.name for group in same] == ["L0 at a (0)", "L0 at a (0) #2"]


def test_phrases_of_rules():
    rules = {(3, 5): Rule.parse('"def" = 1 or "(" before and "class" = 3')}
    assert phrases_of_rules(rules) == {(3, 5): ['"(" before and "class"', '"def"']}


def test_phrases_of_atlases(tiny_atlas):
    graph, _ = planted_graph(n_groups=1, size=2)
    fired = [row.id for row in tiny_atlas.list().rows if row.n_fired][:2]
    graph.feature[:] = graph.feature.new_tensor(fired)
    said = phrases_of_atlases({0: tiny_atlas}, graph)
    assert [*said] == [(0, fired[0])]
    headline = tiny_atlas.rows([fired[0]])[0].headline
    assert said[0, fired[0]] and all(part in headline for part in said[0, fired[0]])
