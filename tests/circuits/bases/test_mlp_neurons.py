"""Neurons: a graph of the model's own neurons adds up in every family, and nothing of it is error."""

import pytest
import torch
from any_model import FAMILIES, PROMPT, any_model

from physalis.circuits import Neurons, head_loadings, prune, trace, verify
from physalis.errors import BadInput
from physalis.models.tiny import tiny_model
from physalis.site import Site

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("name", FAMILIES)
def test_it_adds_up_in_every_family(name):
    """Edges and biases make the neurons that the model itself computes, and the logits; edges are interventions."""
    model, basis = any_model(name), Neurons()
    graph = trace(model, basis, PROMPT, features=10_000)
    n = graph.n_features
    assert n > 500 and graph.unaccounted < 5e-4 and graph.basis == "neurons"
    assert graph.scores() == pytest.approx((1, 1), abs=1e-5)
    got = model.run(torch.tensor([PROMPT]), read=[Site("mlp_neurons", i) for i in range(model.n_layers)])
    said = torch.stack([got[Site("mlp_neurons", i)][0] for i in range(model.n_layers)])
    assert torch.allclose(graph.value[:n], said[graph.layer, graph.position, graph.feature], atol=1e-5)
    sums = graph.edges.sum(1) + graph.left_out + graph.bias
    assert torch.allclose(sums, graph.value, atol=1e-4 * float(graph.value.abs().max()))
    verdict = verify(prune(graph), model, basis, sources=6, samples=2, steps=1)
    assert verdict.edge_gap < 5e-4
    assert verdict.edge_r is not None and verdict.edge_r > 0.7


def test_with_all_neurons_masks_leave_the_model_as_it_is():
    """All masks at 1 are the model: the trial has nothing of its own."""
    model, basis = tiny_model(), Neurons()
    graph = trace(model, basis, PROMPT, features=200)
    verdict = verify(prune(graph), model, basis, sources=4, samples=2, steps=0)
    logits = model.run(torch.tensor([PROMPT]), read=[Site("logits")])[Site("logits")][0, -1]
    p = logits.softmax(-1)[graph.ends[0].token]
    assert verdict.answer == pytest.approx(float(p), abs=1e-6)
    bare = {Site("mlp_neurons", i): torch.zeros_like for i in range(model.n_layers)}
    logits = model.run(torch.tensor([PROMPT]), read=[Site("logits")], write=bare)[Site("logits")][0, -1]
    assert verdict.none_kept == pytest.approx(float(logits.softmax(-1)[graph.ends[0].token]), abs=1e-6)


def test_what_is_left_out_for_want_of_memory_is_stated():
    model = tiny_model()
    graph = trace(model, Neurons(), PROMPT, features=50, memory=200_000)
    assert graph.n_features == 50 and graph.n_active == 3 * 16 * 64 * 1 and graph.unaccounted < 1e-4
    assert 0 < graph.left_out_share < 1


def test_heads_carry_the_edges_of_neurons():
    model, basis = tiny_model(), Neurons()
    graph = trace(model, basis, PROMPT, features=400)
    sources = [0, 1, graph.embeddings.start]
    found = head_loadings(graph, model, basis, graph.n_features, sources)
    sums = (found.heads.sum(2) + found.past)[found.between]
    edges = found.edges[:, None].expand(found.between.shape)[found.between]
    assert torch.allclose(sums, edges, atol=1e-5)


def test_experts_are_refused():
    import transformers

    from physalis.models.sites.verification import open_model
    from physalis.models.tiny import ByteTokenizer

    config = transformers.MixtralConfig(
        vocab_size=258, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, num_local_experts=2, bos_token_id=256, eos_token_id=257, pad_token_id=None,
    )  # fmt: skip
    model = open_model(transformers.MixtralForCausalLM(config), ByteTokenizer(), name="experts")
    with pytest.raises(BadInput, match="experts"):
        trace(model, Neurons(), PROMPT)
