"""Estimates are exact where they should be: in a linear model, along a whole path, and conserved under RelP."""

import pytest
import torch
from made_models import CASE, METRIC, linear_pair, saturating_pair
from test_families import opened
from test_inner_sites import GATED

from physalis.errors import BadInput
from physalis.models import tiny_model
from physalis.patching import (
    Along,
    Node,
    attribute_by_gradient,
    attribute_by_integrated_activations,
    attribute_by_integrated_gradients,
    attribute_by_relevance,
    each_position,
    gradients,
    graph_nodes,
    patch_activations,
    relevances,
)
from physalis.site import Site


@pytest.mark.parametrize(
    "estimate", [attribute_by_gradient, attribute_by_integrated_gradients, attribute_by_integrated_activations]
)
def test_in_a_linear_model_every_estimate_is_exact(estimate):
    pair = linear_pair()
    nodes, at = graph_nodes(pair.model), each_position(pair.clean)
    exact = patch_activations(pair.model, pair.clean, pair.corrupted, METRIC, nodes, positions=at)
    found = estimate(pair.model, pair.clean, pair.corrupted, METRIC, nodes, positions=at)
    assert exact.values.abs().max() > 0.1
    torch.testing.assert_close(found.values, exact.values, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close((found.base, found.source), (exact.base, exact.source))


def test_a_path_is_complete(pair):
    """All of a site, along its own path, sums to what patching it does; so does the embedding along the embeddings'."""
    runs = (pair.model, pair.clean, pair.corrupted, METRIC)
    inside, embed = [Node(Site("resid_pre", 1))], [Node(Site("embed"))]
    exact = patch_activations(*runs, inside).values
    slack = 0.03 * float(exact.abs().max())
    torch.testing.assert_close(
        attribute_by_integrated_activations(*runs, inside, steps=24).values, exact, atol=slack, rtol=0
    )
    torch.testing.assert_close(
        attribute_by_integrated_gradients(*runs, embed, steps=24).values, exact, atol=slack, rtol=0
    )
    rough = attribute_by_gradient(*runs, inside).values
    assert (rough - exact).abs().max() > 2 * slack  # which one gradient does not


def test_what_saturates_is_missed_by_one_gradient_alone():
    pair, metric = saturating_pair()
    runs, nodes = (pair.model, pair.clean, pair.corrupted, metric), [Node(Site("embed"), (0, 1))]
    assert float(patch_activations(*runs, nodes).values) == -1
    assert float(attribute_by_gradient(*runs, nodes).values) == 0
    assert float(attribute_by_integrated_gradients(*runs, nodes, steps=100).values) == pytest.approx(-1, abs=0.02)
    assert float(attribute_by_integrated_activations(*runs, nodes, steps=100).values) == pytest.approx(-1, abs=0.02)


def unbiased(name):
    """A family whose every bias is 0: (the model, tokens)."""
    subject = opened(CASE[name])
    with torch.no_grad():
        for parameter_name, parameter in subject.model.hf.named_parameters():
            if parameter_name.endswith("bias"):
                parameter.zero_()
    return subject.model, subject.tokens


@pytest.mark.parametrize("name", CASE)
def test_relevance_is_conserved_from_layer_to_layer(name):
    """By RelP's rules each layer's stream times its gradient is the metric itself: no part is lost or counted twice."""
    model, tokens = unbiased(name)
    metric = Along(Site("resid_post", 2), torch.linspace(-1, 1, 32))
    sites = [Site("embed"), *(Site("resid_post", layer) for layer in range(3))]
    x, found = model.run(tokens, read=sites), relevances(model, tokens, metric, sites)
    value = x[sites[-1]][:, -1] @ metric.direction
    for site in sites:
        torch.testing.assert_close((x[site] * found[site]).sum((1, 2)), value, atol=2e-4, rtol=2e-4)
    plain = gradients(model, tokens, metric, sites)
    assert (
        (x[sites[0]] * plain[sites[0]]).sum((1, 2)) - value
    ).abs().max() > 1e-2  # which gradients as they are are not


@pytest.mark.parametrize("name", GATED)
def test_relevance_of_a_gate_is_half_of_its_mlps(name):
    model, tokens = unbiased(name)
    metric = Along(Site("resid_post", 2), torch.linspace(-1, 1, 32))
    site, out = Site("mlp_gate", 2), Site("mlp_out", 2)
    x = model.run(tokens, read=[site, out])
    found = relevances(model, tokens, metric, [site, out])
    gate, whole = ((x[each] * found[each]).sum((1, 2)) for each in (site, out))
    torch.testing.assert_close(2 * gate, whole, atol=1e-4, rtol=1e-4)


def test_relevance_is_of_the_base_run(pair):
    nodes, sites = [Node(Site("mlp_out", 0)), Node(Site("resid_pre", 1))], [Site("mlp_out", 0), Site("resid_pre", 1)]
    found = attribute_by_relevance(pair.model, pair.clean, pair.corrupted, METRIC, nodes)
    here, there = (pair.model.run(tokens, read=sites) for tokens in (pair.clean, pair.corrupted))
    of = relevances(pair.model, pair.clean, METRIC, sites)
    for site, values in zip(sites, found.values, strict=True):
        torch.testing.assert_close(values[0], ((there[site] - here[site]) * of[site]).sum((1, 2)))


def test_gradients_are_0_where_nothing_depends(pair):
    metric = Along(Site("resid_post", 0), torch.ones(32))
    found = gradients(pair.model, pair.clean, metric, [Site("mlp_out", 0), Site("mlp_out", 1)])
    assert found[Site("mlp_out", 0)].any() and not found[Site("mlp_out", 1)].any()
    assert gradients(pair.model, pair.clean, metric, [Site("resid_post", 1)])[Site("resid_post", 1)].shape == (2, 6, 32)


def test_what_cannot_be_estimated_is_refused():
    pair = linear_pair()
    runs, nodes = (pair.model, pair.clean, pair.corrupted, METRIC), [Node(Site("embed"))]
    with pytest.raises(BadInput, match="at least 1 step; received 0"):
        attribute_by_integrated_gradients(*runs, nodes, steps=0)
    with pytest.raises(BadInput, match="layer 0 of made has 0 modules that are a nonlinearity"):
        attribute_by_relevance(*runs, nodes)
    with pytest.raises(BadInput, match="attn_pattern has no width"):
        attribute_by_gradient(*runs, [Node(Site("attn_pattern", 0))])


def test_a_model_that_hides_its_patterns_is_refused(monkeypatch):
    pair = linear_pair()
    kept = [each for each in pair.model.sites() if each.site.name != "attn_pattern"]
    monkeypatch.setattr(pair.model, "sites", lambda: tuple(kept))
    with pytest.raises(BadInput, match="made shows no attention pattern at L"):
        attribute_by_relevance(pair.model, pair.clean, pair.corrupted, METRIC, [Node(Site("embed"))])


def test_16_bits_do():
    fine, coarse = tiny_model(), tiny_model()
    coarse.hf.to(torch.bfloat16)
    runs, nodes = torch.arange(24).view(2, 2, 6), graph_nodes(fine)
    for estimate in (patch_activations, attribute_by_integrated_activations, attribute_by_relevance):
        exact, rough = (estimate(model, *runs, METRIC, nodes).values for model in (fine, coarse))
        assert rough.dtype == torch.float32 and (exact - rough).norm() < 0.1 * exact.norm()
