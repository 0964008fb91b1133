"""Edge scores are derivatives: exact in a linear model, and those of a sender sum to the sender's own."""

import pytest
import torch
from made_models import METRIC, NORM_BEHIND, linear_pair, saturating_pair

from physalis.errors import BadInput
from physalis.models import tiny_model
from physalis.patching import (
    Along,
    Edge,
    Node,
    NodeGraph,
    ablating_edges,
    attribute_by_gradient,
    attribute_by_integrated_gradients,
    attribute_by_relevance,
    attribute_edges,
    attribute_edges_by_integrated_gradients,
    attribute_edges_by_relevance,
    heads,
)
from physalis.site import Site


def test_edges_are_from_what_is_written_before(pair):
    graph = NodeGraph(pair.model, METRIC)
    layers, parallel = pair.model.n_layers, graph.parallel[0]
    assert parallel == (pair.name in ("gpt_neox", "phi"))
    reads = [1 + 5 * layer for layer in range(layers)]  # senders before a layer
    each = [4 * n + (n if parallel else n + 4) for n in reads]
    assert len(graph.edges()) == sum(each) + len(graph.senders)
    first, mlp = heads(pair.model, 0)[0], Node(Site("mlp_out", 0))
    assert (Edge(first, mlp) in graph.edges()) is not parallel
    assert Edge(first, heads(pair.model, 0)[1]) not in graph.edges() and Edge(mlp, first) not in graph.edges()
    assert str(Edge(Node(Site("embed")), mlp)) == "embed -> L0.mlp_out"


@pytest.mark.parametrize("score", [attribute_edges, attribute_edges_by_integrated_gradients])
def test_in_a_linear_model_scores_are_exact(score):
    pair = linear_pair()
    found = score(pair.model, pair.clean, pair.corrupted, METRIC)
    measured, edges = ablating_edges(pair.model, pair.clean, pair.corrupted, METRIC), found.edges()
    whole = measured(edges).mean()
    exact = torch.stack([whole - measured([each for each in edges if each != edge]).mean() for edge in edges])
    assert exact.abs().max() > 0.1
    torch.testing.assert_close(found.scores(), exact, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("edges", "nodes"),
    [
        (attribute_edges, attribute_by_gradient),
        (attribute_edges_by_integrated_gradients, attribute_by_integrated_gradients),
        (attribute_edges_by_relevance, attribute_by_relevance),
    ],
)
def test_what_leaves_a_node_sums_to_its_own_score(pair, edges, nodes):
    options = {"steps": 3} if nodes is attribute_by_integrated_gradients else {}
    found = edges(pair.model, pair.clean, pair.corrupted, METRIC, **options)
    direction = (
        (pair.corrupted, pair.clean) if nodes is attribute_by_integrated_gradients else (pair.clean, pair.corrupted)
    )
    own = nodes(pair.model, *direction, METRIC, found.senders, **options).mean()[:, 0]
    own = own if nodes is attribute_by_integrated_gradients else -own
    skip = [i for i, node in enumerate(found.senders) if pair.name in NORM_BEHIND and node.site.name == "z"]
    some = [i for i in range(len(found.senders)) if i not in skip]  # a norm behind attention is not linear
    assert own.abs().max() > 1e-2
    torch.testing.assert_close(found.values.sum(1)[some], own[some], atol=1e-4, rtol=1e-3)
    assert not found.values[~found.exists].any()


def test_an_edge_that_saturates_is_missed_by_one_gradient_alone():
    pair, metric = saturating_pair()
    edge = Edge(Node(Site("embed")), Node(Site("mlp_out", 0)))
    for score, expected in ((attribute_edges, 0.0), (attribute_edges_by_integrated_gradients, 1.0)):
        found = score(pair.model, pair.clean, pair.corrupted, metric)
        assert float(found.scores()[found.edges().index(edge)]) == pytest.approx(expected, abs=0.05)


def test_edges_that_end_nowhere_are_refused():
    with pytest.raises(BadInput, match="a metric of L0.resid_post. Measure at logits or L2.resid_post"):
        NodeGraph(tiny_model(), Along(Site("resid_post", 0), torch.ones(32)))
    tokens = torch.zeros(1, 4).long()
    for score in (attribute_edges, attribute_edges_by_integrated_gradients, attribute_edges_by_relevance):
        with pytest.raises(BadInput, match="Values of one are written at the same place"):
            score(tiny_model(), tokens, tokens[:, 1:], METRIC)
