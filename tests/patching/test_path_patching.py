"""What goes along paths: direct effects are what the frozen stream says, and all ways together are the whole effect."""

import pytest
import torch
from made_models import CASE, METRIC, NORM_BEHIND, linear_pair, pair_of

from physalis.errors import BadInput
from physalis.patching import Node, direct_effect, gradients, graph_nodes, heads, patch_activations, patch_paths
from physalis.patching.head_outputs import HeadOutputs
from physalis.patching.nodes import read_nodes, turn
from physalis.site import Site


@pytest.mark.parametrize("sender", [0, 2, 3])
def test_in_a_linear_model_all_ways_sum_to_the_whole(sender):
    pair = linear_pair()
    runs, nodes = (pair.model, pair.clean, pair.corrupted, METRIC), graph_nodes(pair.model)
    node = nodes[sender]
    later = [each for each in nodes if turn(each)[0] > turn(node)[0]]
    whole = patch_activations(*runs, [node]).values[0, 0]
    direct = direct_effect(*runs, node)
    ways = [patch_paths(*runs, node, [receiver]) for receiver in later]
    assert whole.abs().max() > 1e-3 and max(float(way.abs().max()) for way in ways) > 1e-3
    torch.testing.assert_close(direct + sum(ways), whole, atol=1e-5, rtol=1e-5)
    joint = patch_paths(*runs, node, heads(pair.model, 1))  # neither reads the other
    alone = [way for way, receiver in zip(ways, later, strict=True) if receiver in heads(pair.model, 1)]
    torch.testing.assert_close(joint, sum(alone), atol=1e-5, rtol=1e-5)


def test_a_direct_effect_is_what_the_held_end_makes_of_it(pair):
    """With scales held, the difference of what the sender adds, times the gradient at the end of the stream."""
    freeze = pair.model.freeze(pair.clean)
    sender = Node(Site("mlp_out", 1))
    found = direct_effect(pair.model, pair.clean, pair.corrupted, METRIC, sender, freeze=freeze)
    here, there = (read_nodes(pair.model, tokens, [sender])[sender] for tokens in (pair.clean, pair.corrupted))
    end = gradients(pair.model, pair.clean, METRIC, [pair.last], freeze=freeze)[pair.last]
    slack = 5e-3 if pair.name == "gemma2" else 1e-4  # it caps its logits
    torch.testing.assert_close(found, ((there - here) * end).sum((1, 2)), atol=slack, rtol=1e-3)


@pytest.mark.parametrize("name", [name for name in CASE if name not in NORM_BEHIND])
def test_a_head_adds_directly_what_its_projection_makes(name):
    """But where a norm behind attention divides by what all heads make."""
    pair = pair_of(name)
    freeze = pair.model.freeze(pair.clean)
    sender = heads(pair.model, 1)[2]
    found = direct_effect(pair.model, pair.clean, pair.corrupted, METRIC, sender, freeze=freeze)
    outputs, site = HeadOutputs(pair.model, 1), Site("z", 1)
    shares = [outputs(pair.model.run(tokens, read=[site])[site])[2] for tokens in (pair.clean, pair.corrupted)]
    end = gradients(pair.model, pair.clean, METRIC, [pair.last], freeze=freeze)[pair.last]
    torch.testing.assert_close(found, ((shares[1] - shares[0]) * end).sum((1, 2)), atol=1e-4, rtol=1e-3)


def test_queries_keys_and_values_together_are_the_heads(pair):
    runs, sender = (pair.model, pair.clean, pair.corrupted, METRIC), Node(Site("mlp_out", 0))
    through = patch_paths(*runs, sender, heads(pair.model, 1))
    inputs = [Node(Site(name, 1)) for name in ("q", "k", "v")]
    torch.testing.assert_close(patch_paths(*runs, sender, inputs), through, atol=1e-4, rtol=1e-4)
    alone = patch_paths(*runs, sender, inputs[2:])
    assert (alone - through).abs().max() > 1e-5


def test_positions_are_the_senders():
    pair = linear_pair()
    runs, node, later = (pair.model, pair.clean, pair.corrupted, METRIC), Node(Site("mlp_out", 0)), heads(pair.model, 1)
    parts = [patch_paths(*runs, node, later, positions=slice(i, i + 1)) for i in range(5)]
    torch.testing.assert_close(sum(parts), patch_paths(*runs, node, later), atol=1e-5, rtol=1e-5)
    assert not direct_effect(*runs, node, positions=slice(0, 4)).abs().max() > 1e-6  # read at the last


def test_nothing_goes_back():
    pair = linear_pair()
    runs = (pair.model, pair.clean, pair.corrupted, METRIC)
    for sender, receiver in ((heads(pair.model, 1)[0], Node(Site("mlp_out", 0))), heads(pair.model, 0)):
        with pytest.raises(BadInput, match="is reached before or with"):
            patch_paths(*runs, sender, [receiver])
    with pytest.raises(BadInput, match="No node was given"):
        patch_paths(*runs, Node(Site("embed")), [])
