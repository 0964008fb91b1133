"""Searches find the induction circuit that was set by hand; a ranking is by score or by magnitude."""

import pytest
import torch
from made_models import induction_pair

from physalis.errors import BadInput
from physalis.patching import (
    Node,
    NodeGraph,
    ablating_edges,
    ablating_nodes,
    attribute_by_integrated_gradients,
    graph_nodes,
    heads,
    prune,
    rank_by_magnitude,
    rank_by_score,
)
from physalis.site import Site


@pytest.fixture(scope="module")
def induction():
    return induction_pair()


def test_the_two_heads_of_induction_are_found(induction):
    pair, metric = induction
    nodes = graph_nodes(pair.model)
    measured = ablating_nodes(pair.model, pair.clean, pair.corrupted, metric, nodes)
    found = prune(measured, nodes, threshold=0.05)
    assert [node for node in found.kept if node.site.name == "z"] == [heads(pair.model, 0)[0], heads(pair.model, 1)[3]]
    assert {str(node) for node in found.kept if node.site.name != "z"} <= {"embed", "L0.mlp_out", "L1.mlp_out"}
    assert found.whole == pytest.approx(1, abs=1e-3) and found.value == pytest.approx(1, abs=0.05)
    assert len(found.kept) + len(found.left_out) == len(nodes)
    assert repr(found) == f"Pruned({len(found.kept)} of 11 kept, {found.value:.4g} of 1)"


def test_so_are_they_by_edges(induction):
    pair, metric = induction
    edges = NodeGraph(pair.model, metric).edges()
    found = prune(ablating_edges(pair.model, pair.clean, pair.corrupted, metric), edges, threshold=0.05)
    among = {node for edge in found.kept for node in edge if node.site.name == "z"}
    assert among == {heads(pair.model, 0)[0], heads(pair.model, 1)[3]}
    assert len(found.kept) <= 7 and found.value == pytest.approx(1, abs=0.05)


def test_a_threshold_that_nothing_passes_keeps_nothing(induction):
    pair, metric = induction
    nodes = [*heads(pair.model, 0), Node(Site("mlp_out", 1))]
    measured = ablating_nodes(pair.model, pair.clean, pair.corrupted, metric, nodes)
    assert prune(measured, nodes, threshold=100.0).kept == ()
    assert prune(measured, nodes, threshold=0.0).left_out == ()
    with pytest.raises(BadInput, match="from 0 on; received -1"):
        prune(measured, nodes, threshold=-1)
    with pytest.raises(BadInput, match="received nan"):
        prune(measured, nodes, threshold=float("nan"))


def test_rankings_are_kept_apart():
    parts, scores = ("helps", "harms", "nothing", "much"), torch.tensor([1.0, -2.0, 0.0, 3.0])
    assert rank_by_score(parts, scores) == ("much", "helps", "nothing", "harms")
    assert rank_by_magnitude(parts, scores) == ("much", "harms", "helps", "nothing")
    assert rank_by_score(("first", "second"), torch.zeros(2)) == ("first", "second")
    with pytest.raises(BadInput, match=r"There are 4 parts; received scores of shape \(3,\)"):
        rank_by_score(parts, scores[:3])


def test_estimates_rank_the_heads_of_induction_first(induction):
    pair, metric = induction
    some = [*heads(pair.model, 0), *heads(pair.model, 1)]
    effects = attribute_by_integrated_gradients(pair.model, pair.corrupted, pair.clean, metric, some, steps=32).mean()[
        :, 0
    ]
    assert rank_by_magnitude(some, effects)[0] in (heads(pair.model, 0)[0], heads(pair.model, 1)[3])
