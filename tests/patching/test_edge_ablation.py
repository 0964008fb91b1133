"""With all edges a model is itself, with none the corrupted run; one that is cut is the intervention that it names."""

import pytest
import torch
from made_models import METRIC, induction_pair

from physalis.errors import BadInput
from physalis.models import tiny_model
from physalis.patching import (
    Edge,
    Node,
    NodeGraph,
    ablating_edges,
    ablating_nodes,
    direct_effect,
    heads,
    measure,
    patch_activations,
    patch_paths,
)
from physalis.site import Site


@pytest.fixture(scope="module")
def cut(pair):
    return ablating_edges(pair.model, pair.clean, pair.corrupted, METRIC), NodeGraph(pair.model, METRIC).edges()


def test_all_and_none(pair, cut):
    measured, edges = cut
    torch.testing.assert_close(measured(edges), measure(pair.model, METRIC, pair.clean), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(measured([]), measure(pair.model, METRIC, pair.corrupted), atol=1e-3, rtol=1e-3)


def test_a_head_that_reads_nothing_clean_is_the_corrupted_one(pair, cut):
    measured, edges = cut
    head = heads(pair.model, 0)[1]
    found = measured([edge for edge in edges if edge.receiver != head])
    whole = patch_activations(pair.model, pair.clean, pair.corrupted, METRIC, [head])
    torch.testing.assert_close(found - measured(edges), whole.values[0, 0], atol=1e-4, rtol=1e-3)


def test_one_cut_is_a_path_patched(pair, cut):
    measured, edges = cut
    sender = Node(Site("mlp_out", 0))
    for receiver in (heads(pair.model, 1)[2], Node(Site("mlp_out", 1))):
        found = measured([edge for edge in edges if edge != Edge(sender, receiver)]) - measured(edges)
        path = patch_paths(pair.model, pair.clean, pair.corrupted, METRIC, sender, [receiver])
        torch.testing.assert_close(found, path, atol=1e-4, rtol=1e-3)
    found = measured([edge for edge in edges if edge != Edge(sender, Node(Site("logits")))]) - measured(edges)
    path = direct_effect(pair.model, pair.clean, pair.corrupted, METRIC, sender)
    torch.testing.assert_close(found, path, atol=1e-4, rtol=1e-3)


def test_a_node_that_sends_nothing_clean_is_the_ablated_one(pair, cut):
    measured, edges = cut
    node = Node(Site("mlp_out", 1))
    found = measured([edge for edge in edges if edge.sender != node])
    ablated = ablating_nodes(pair.model, pair.clean, pair.corrupted, METRIC, [node])([])
    torch.testing.assert_close(found, ablated, atol=1e-4, rtol=1e-3)


def test_the_edges_of_induction_do_all_of_it():
    """What stood before is carried by L0's first head through its MLP to L1's last, which says it to the last MLP."""
    pair, metric = induction_pair()
    (before, *_), (*_, looks) = heads(pair.model, 0), heads(pair.model, 1)
    embed, first, second, end = (
        Node(Site(*at)) for at in (("embed",), ("mlp_out", 0), ("mlp_out", 1), ("resid_post", 1))
    )
    circuit = [Edge(*each) for each in (
        (embed, before), (embed, first), (before, first), (embed, looks), (first, looks), (looks, second), (second, end)
    )]  # fmt: skip
    measured = ablating_edges(pair.model, pair.clean, pair.corrupted, metric)
    torch.testing.assert_close(measured(circuit), torch.ones(3), atol=1e-3, rtol=0)
    for edge in [(before, first), (first, looks), (looks, second), (second, end)]:
        rest = [each for each in circuit if each != Edge(*edge)]
        torch.testing.assert_close(measured(rest), torch.zeros(3), atol=1e-3, rtol=0)


def test_an_edge_that_is_not_there_is_refused():
    tokens = torch.zeros(1, 4).long()
    measured = ablating_edges(tiny_model(), tokens, tokens, METRIC)
    with pytest.raises(BadInput, match="There is no edge L0.mlp_out -> embed in tiny"):
        measured([Edge(Node(Site("mlp_out", 0)), Node(Site("embed")))])
