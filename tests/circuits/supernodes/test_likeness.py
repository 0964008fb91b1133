"""likeness: cosines by hand, of edges, directions and rules; and what is refused."""

from dataclasses import replace

import pytest
import torch
from any_model import PROMPT, random_set
from planted_groups import planted_graph
from test_graph import by_hand

from physalis.circuits import prune, trace
from physalis.circuits.supernodes import by_chance, by_decoders, by_edges, by_rules, together
from physalis.errors import BadInput
from physalis.explanations import Rule
from physalis.models.tiny import tiny_model

pytestmark = pytest.mark.usefixtures("one_thread")


def test_edges_by_hand():
    """Two features that read the one token; the first adds 3 to the end, the second -3: alike by half."""
    graph = by_hand([[0, 0, 0, 2], [0, 0, 0, 5], [3, -3, 1, 0]], features=[0, 0])
    assert torch.allclose(by_edges(graph).values, torch.tensor([[1.0, 0], [0, 1]], dtype=torch.float64))
    same = by_hand([[0, 0, 0, 2], [0, 0, 0, 5], [3, 1, 1, 0]], features=[0, 0])
    assert torch.allclose(by_edges(same).values, torch.ones(2, 2, dtype=torch.float64))
    against = by_hand([[0, 0, 0, -2], [0, 0, 0, 5], [3, -3, 1, 0]], features=[0, 0])
    assert float(by_edges(against).values[0, 1]) == pytest.approx(-1)


def test_targets_count_by_shares():
    """Of two targets one has a hundred times the other's numbers, and counts the same."""
    edges = [[0] * 7 + [1], [0] * 7 + [1], [1, 1, 0, 0, 0, 0, 0, 0], [100, -100, 0, 0, 0, 0, 0, 0], [0] * 8]
    edges = torch.tensor(edges, dtype=torch.float32)[:, : 4 + 2 + 1].tolist()
    graph = by_hand(edges, features=[0, 0, 1, 1], errors=2, layers=(0, 1))
    assert float(by_edges(graph).values[0, 1]) == pytest.approx(0)  # nothing enters them; out: 1/2 1/2, 1/2 -1/2


def test_what_is_left_out_of_a_pruned_graph_counts_with_the_whole():
    graph, _ = planted_graph(noise=0.5)
    kept = prune(graph, nodes=0.9, edges=0.6)
    assert int((kept.edges != 0).sum()) < int((graph.edges != 0).sum())
    whole, own = by_edges(kept, graph), by_edges(kept)
    assert torch.equal(whole.columns, own.columns) and not torch.allclose(whole.values, own.values)
    among = by_edges(graph)
    at = torch.searchsorted(among.columns, whole.columns)
    assert torch.allclose(among.values[at][:, at], whole.values)
    with pytest.raises(BadInput, match="pruned from"):
        by_edges(kept, planted_graph(n_groups=3)[0])


def test_decoders(tmp_path):
    model = tiny_model()
    transcoders = random_set(model, tmp_path / "set")
    graph = trace(model, transcoders, PROMPT, features=40)
    found = by_decoders(graph, transcoders)
    for i, j in ((0, 1), (3, 30), (39, 5)):
        a, b = (transcoders[int(graph.layer[k])].writes(graph.feature[k][None])[0] for k in (i, j))
        assert float(found.values[i, j]) == pytest.approx(float(torch.cosine_similarity(a, b, dim=0)), abs=1e-5)
    with pytest.raises(BadInput, match="traced with others"):
        by_decoders(graph, random_set(model, tmp_path / "few", n=8, k=2))
    with pytest.raises(BadInput, match="are neurons"):
        by_decoders(replace(graph, basis="neurons"), transcoders)


def test_rules():
    graph = by_hand([[0, 0, 0, 0, 2], [0, 0, 0, 0, 2], [0, 0, 0, 0, 2], [3, 1, 1, 1, 0]], features=[0, 0, 0])
    rules = {
        (0, 0): Rule.parse('"def" = 4'), (0, 1): Rule.parse('"def" = 2 or "class" = 2'),
        (0, 2): Rule.parse('"(" before and "class" = 3'),
    }  # fmt: skip
    values = by_rules(graph, rules).values
    assert float(values[0, 1]) == pytest.approx(0.5**0.5) and float(values[0, 2]) == 0
    assert float(values[1, 2]) == pytest.approx(0.5)
    some = by_rules(graph, {(0, 0): rules[0, 0]}).values
    assert float(some[1, 1]) == 0 and float(some[0, 0]) == 1  # nothing is known of those without a rule


def test_several_together_and_chance():
    graph, _ = planted_graph()
    edges, chance = by_edges(graph), by_chance(graph, seed=3)
    both = together(edges, chance)
    assert torch.allclose(both.values, (edges.values + chance.values) / 2) and both.method == "edges and chance"
    assert torch.equal(by_chance(graph, seed=3).values, chance.values)
    assert not torch.equal(by_chance(graph, seed=4).values, chance.values)
    with pytest.raises(BadInput, match="same features"):
        together()
    with pytest.raises(BadInput, match="same features"):
        together(edges, by_edges(planted_graph(n_groups=3)[0]))


def test_a_graph_without_a_feature():
    graph = by_hand([[0, 0, 2], [3, 1, -4]], features=[0])
    none = graph.kept_only(torch.tensor([False, True, True]), torch.ones(2, 3, dtype=torch.bool))
    with pytest.raises(BadInput, match="no feature to group"):
        by_edges(none)
