"""Graph: its scores are those of a graph that can be reckoned by hand."""

import pytest
import torch

from physalis.circuits import End, Graph


def by_hand(edges, *, features, errors=1, tokens=1, layers=(0,)):
    """A graph of one position: ``features`` says the layer of each."""
    edges = torch.tensor(edges, dtype=torch.float32)
    n = len(features)
    return Graph(
        model="none", prompt="a", tokens=torch.zeros(1, dtype=torch.long), token_strings=("a",), layers=layers,
        ends=(End("b", 1, 1.0, 1.0),), layer=torch.tensor(features), position=torch.zeros(n, dtype=torch.long),
        feature=torch.arange(n), directions=torch.zeros(1, 4), value=edges.sum(1), bias=torch.zeros(n + 1), edges=edges,
        left_out=torch.zeros(n + 1), left_out_size=torch.zeros(n + 1), n_active=n,
        kept=torch.ones(edges.shape[1], dtype=torch.bool),
    )  # fmt: skip


def test_scores_by_hand():
    """One feature f of layer 0, its layer's error e, one token t. f reads t alone; the end reads f 3, e 1, t -4."""
    graph = by_hand([[0, 0, 2], [3, 1, -4]], features=[0])
    through = graph.influence()
    assert torch.allclose(through, torch.tensor([3 / 8, 1 / 8, 4 / 8 + 3 / 8]))
    scores = graph.scores()
    assert scores.replacement == pytest.approx(7 / 8)
    # Of what enters the end 1/8 is error; it weighs 1 of 1 + 3/8 + 1/8 + 7/8 in all.
    assert scores.completeness == pytest.approx(1 - (1 / 8) / (1 + 3 / 8 + 1 / 8 + 7 / 8))


def test_paths_add_up_over_layers():
    """t to f (layer 0) to g (layer 1) to the end, and nothing else: all influence goes through each of them."""
    graph = by_hand([[0, 0, 0, 0, 1], [5, 0, 0, 0, 0], [0, 2, 0, 0, 0]], features=[0, 1], errors=2, layers=(0, 1))
    assert torch.equal(graph.influence(), torch.tensor([1.0, 1, 0, 0, 1]))
    assert graph.scores() == (1.0, 1.0)


def test_nodes_have_names():
    graph = by_hand([[0, 0, 2], [3, 1, -4]], features=[0])
    assert [graph.node(i) for i in range(3)] == ["L0 #0 at 'a' (0)", "error of L0 at 'a' (0)", "token 'a' (0)"]
    assert "1 of 1 features, 4 edges" in repr(graph)
