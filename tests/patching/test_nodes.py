"""Nodes are the parts of the stream, and what is written to them reaches their own columns and positions alone."""

import pytest
import torch

from physalis.errors import BadInput
from physalis.models import tiny_model
from physalis.patching.nodes import Node, check_nodes, graph_nodes, heads, read_nodes, turn, write_nodes
from physalis.site import Site


def test_the_stream_is_the_sum_of_the_graph(pair):
    nodes = graph_nodes(pair.model)
    assert [str(node) for node in nodes[:2]] == ["embed", f"L0.z[0:{pair.model.width(Site('z', 0)) // 4}]"]
    assert len(nodes) == 1 + pair.model.n_layers * (4 + 1)
    assert sorted(nodes, key=turn) == list(nodes)
    whole = read_nodes(pair.model, pair.clean, [Node(Site("z", 1)), *heads(pair.model, 1)])
    parts = torch.cat([whole[node] for node in heads(pair.model, 1)], -1)
    assert torch.equal(parts, whole[Node(Site("z", 1))])


def test_a_write_reaches_its_columns_and_positions_alone():
    model, tokens = tiny_model(), torch.arange(10).view(2, 5)
    site, node = Site("z", 1), Node(Site("z", 1), (8, 16))
    before = model.run(tokens, read=[site])[site]
    write = write_nodes({node: torch.full((2, 5, 8), 9.0)}, positions=slice(1, 3))
    after = model.run(tokens, read=[site], write=write)[site]
    expected = before.clone()
    expected[:, 1:3, 8:16] = 9.0
    assert torch.equal(after, expected)


def test_heads_that_no_config_counts_are_asked_for(monkeypatch):
    model = tiny_model()
    monkeypatch.setattr(model.hf, "config", object())
    with pytest.raises(BadInput, match=r"how many heads share the 32 columns of L0.z \(None were named\)"):
        heads(model, 0)


@pytest.mark.parametrize(
    ("node", "said"),
    [
        (lambda: Node(Site("z", 0), (3, 3)), r"received \(3, 3\)"),
        (lambda: Node(Site("z", 0), (-1, 3)), r"received \(-1, 3\)"),
        (lambda: Node(Site("z", 0), (30, 33)), r"32 columns; received L0.z\[30:33\]"),
        (lambda: Node(Site("attn_pattern", 0)), "L0.attn_pattern has no width"),
        (lambda: Node(Site("z", 9)), "received L9.z"),
    ],
)
def test_what_is_no_node_is_refused(node, said):
    with pytest.raises(BadInput, match=said):
        check_nodes(tiny_model(), [node()])


def test_no_node_is_refused():
    with pytest.raises(BadInput, match="No node was given"):
        check_nodes(tiny_model(), [])
