"""With all nodes a model is itself, with none it is the corrupted run."""

import pytest
import torch
from made_models import METRIC

from physalis.errors import BadInput
from physalis.models import tiny_model
from physalis.patching import Node, ablating_nodes, graph_nodes, measure, patch_activations
from physalis.site import Site


def test_all_none_and_all_but_one(pair):
    nodes = graph_nodes(pair.model)
    measured = ablating_nodes(pair.model, pair.clean, pair.corrupted, METRIC, nodes)
    assert torch.equal(measured(nodes), measure(pair.model, METRIC, pair.clean))
    corrupted = measure(pair.model, METRIC, pair.corrupted)
    torch.testing.assert_close(measured([]), corrupted, atol=1e-5, rtol=1e-5)
    one = patch_activations(pair.model, pair.clean, pair.corrupted, METRIC, nodes[3:4])
    torch.testing.assert_close(measured(set(nodes) - {nodes[3]}) - one.base, one.values[0, 0], atol=1e-5, rtol=1e-5)


def test_a_stranger_is_refused():
    tokens = torch.zeros(1, 4).long()
    measured = ablating_nodes(tiny_model(), tokens, tokens, METRIC, [Node(Site("mlp_out", 0))])
    with pytest.raises(BadInput, match="L1.mlp_out is none of the 1 nodes"):
        measured([Node(Site("mlp_out", 1))])
