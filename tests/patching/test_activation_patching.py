"""Patched effects are those of the interventions that they name, one by one or many in a pass."""

import pytest
import torch
from made_models import METRIC

from physalis.errors import BadInput
from physalis.models import tiny_model
from physalis.patching import Along, LogitDifference, Node, each_position, heads, measure, patch_activations
from physalis.patching.nodes import graph_nodes, read_nodes, write_nodes
from physalis.site import Site


def test_all_of_a_stream_makes_one_run_of_the_other(pair):
    nodes = [Node(Site("embed")), Node(Site("resid_pre", 1)), Node(pair.last)]
    found = patch_activations(pair.model, pair.corrupted, pair.clean, METRIC, nodes)
    whole = (measure(pair.model, METRIC, pair.clean) - measure(pair.model, METRIC, pair.corrupted)).expand(3, 1, 2)
    torch.testing.assert_close(found.values, whole, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.share(), torch.ones(3, 1))


def test_all_parts_of_the_stream_do_too(pair):
    values = read_nodes(pair.model, pair.clean, graph_nodes(pair.model))
    restored = measure(pair.model, METRIC, pair.corrupted, write=write_nodes(values))
    torch.testing.assert_close(restored, measure(pair.model, METRIC, pair.clean), atol=1e-5, rtol=1e-5)


def test_the_end_of_the_stream_matters_where_it_is_measured_alone(pair):
    nodes, at = [Node(pair.last)], each_position(pair.clean)
    found = patch_activations(pair.model, pair.clean, pair.corrupted, METRIC, nodes, positions=at).values[0]
    whole = measure(pair.model, METRIC, pair.corrupted) - measure(pair.model, METRIC, pair.clean)
    torch.testing.assert_close(found[-1], whole, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found[:-1], torch.zeros(5, 2), atol=1e-5, rtol=0)


def test_many_in_a_pass_are_what_each_is_alone(pair, monkeypatch):
    monkeypatch.setattr("physalis.patching.activation_patching.TOKENS_A_PASS", 40)  # three patches
    metric = LogitDifference(torch.tensor([3, 9]), torch.tensor([7, 2]), -2)
    nodes, at = (
        [*heads(pair.model, 0)[:2], Node(Site("mlp_out", 1)), Node(Site("attn_out", 1))],
        (slice(1, 3), slice(4, 5)),
    )
    freeze = pair.model.freeze(pair.clean)
    found = patch_activations(pair.model, pair.clean, pair.corrupted, metric, nodes, positions=at, freeze=freeze)
    values = read_nodes(pair.model, pair.corrupted, nodes)
    before = measure(pair.model, metric, pair.clean)
    for i, node in enumerate(nodes):
        for j, positions in enumerate(at):
            write = write_nodes({node: values[node]}, positions=positions)
            alone = measure(pair.model, metric, pair.clean, write=write, freeze=freeze) - before
            torch.testing.assert_close(found.values[i, j], alone, atol=2e-5, rtol=1e-5)
    assert found.values.abs().max() > 1e-3 and found.mean().shape == (4, 2)


def test_what_differs_nowhere_has_no_share():
    model, tokens = tiny_model(), torch.arange(6).view(1, 6)
    found = patch_activations(model, tokens, tokens, METRIC, [Node(Site("embed"))])
    assert not found.values.any()
    with pytest.raises(BadInput, match="Both runs measure .* no effect is a share"):
        found.share()


def test_a_metric_may_stand_inside():
    model, runs = tiny_model(), torch.arange(24).view(2, 2, 6)
    metric = Along(Site("resid_post", 0), torch.linspace(-1, 1, 32), 3)
    found = patch_activations(model, *runs, metric, [Node(Site("mlp_out", 0)), Node(Site("mlp_out", 1))])
    out = [model.run(each, read=[Site("mlp_out", 0)])[Site("mlp_out", 0)][:, 3] for each in runs]
    torch.testing.assert_close(found.values[0, 0], (out[1] - out[0]) @ metric.direction, atol=1e-5, rtol=1e-5)
    assert not found.values[1].any()  # after it


@pytest.mark.parametrize(
    ("base", "source", "said"),
    [
        (torch.zeros(2, 5), torch.zeros(2, 6), r"2 contexts of 5 tokens and shape \(2, 6\)"),
        (torch.zeros(2, 5), torch.zeros(1, 5), r"shape \(1, 5\)"),
        (torch.zeros(0, 5), torch.zeros(0, 5), "no tokens"),
    ],
)
def test_runs_that_do_not_fit_are_refused(base, source, said):
    with pytest.raises(BadInput, match=said):
        patch_activations(tiny_model(), base.long(), source.long(), METRIC, [Node(Site("embed"))])
