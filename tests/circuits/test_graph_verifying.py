"""verify(): edges are true, masks do what they say, and the adversary finds what was hidden from it."""

import pytest
import torch
from any_model import FAMILIES, PROMPT, any_model, random_set

from physalis.circuits import Difference, LocalReplacementModel, prune, trace, verify
from physalis.circuits.masks import Masks
from physalis.circuits.nodes import Nodes
from physalis.errors import BadInput
from physalis.models.tiny import tiny_model
from physalis.site import Site

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_can_be_tried(name, tmp_path):
    model = any_model(name)
    transcoders = random_set(model, tmp_path / "set", skip=True)
    graph = prune(trace(model, transcoders, PROMPT, features=200))
    found = verify(graph, model, transcoders, sources=16, samples=4, steps=2)
    assert found.edge_gap < 5e-4 and found.dropped > 0 and found.sources == 16
    assert found.adversarial <= min(found.kept_only, found.stochastic, found.probability) + 1e-6
    p = model.run(torch.tensor([PROMPT]), read=[Site("logits")])[Site("logits")][0, -1].softmax(-1)
    assert found.probability == pytest.approx(float(p[graph.ends[0].token]), abs=1e-5)


def test_nothing_is_dropped_from_all_of_it(tmp_path):
    """A graph with every feature loses nothing to any mask: there is none."""
    model = tiny_model()
    transcoders = random_set(model, tmp_path / "set")
    graph = trace(model, transcoders, PROMPT, features=10_000)
    every = graph.n_active - graph.n_features  # those that reach no end
    found = verify(graph, model, transcoders, sources=8, samples=4)
    assert found.dropped == every
    assert found.kept_only == pytest.approx(found.probability, abs=1e-5)
    assert found.adversarial == pytest.approx(found.probability, abs=1e-5)
    assert found.survives and not found.beats_the_model


def test_a_mask_is_a_share_of_a_code(tmp_path):
    """Masks of 0 are the model with these features taken out by hand."""
    model = tiny_model()
    transcoders = random_set(model, tmp_path / "set")
    graph = prune(trace(model, transcoders, PROMPT, features=200))
    local = LocalReplacementModel.of(model, transcoders, PROMPT)
    masks = Masks(local, graph, Nodes.of(graph, local).within)
    live: dict[Site, torch.Tensor] = {}

    def silent(layer):
        place = local.places[layer]

        def look(x):
            live[place.reads] = x
            return x

        def write(x):
            x = x.clone()
            codes = (live[place.reads][0, place.features.positions] * place.features.reads).sum(-1)
            codes = (codes + place.features.intercepts).relu()
            wrote = torch.zeros_like(x[0])
            off = masks.columns[layer] >= 0
            for j in (~off).nonzero()[:, 0].tolist():
                wrote[place.features.positions[j]] += codes[j] * place.features.writes[j]
            return (wrote + place.error + transcoders[layer].b_dec)[None]

        return {place.reads: look, place.writes: write}

    writes = {site: fn for layer in transcoders for site, fn in silent(layer).items()}
    p = model.run(torch.tensor([PROMPT]), read=[Site("logits")], write=writes)[Site("logits")][0, -1].softmax(-1)
    found = masks.probability(torch.zeros(1, masks.n))
    assert float(found) == pytest.approx(float(p[graph.ends[0].token]), abs=1e-6)


def test_the_adversary_is_worse_than_chance(tmp_path):
    """Gradient ascent on masks finds more than random ones do, and never less."""
    model = tiny_model()
    transcoders = random_set(model, tmp_path / "set")
    graph = prune(trace(model, transcoders, PROMPT, features=60))
    chance = verify(graph, model, transcoders, sources=4, samples=8, steps=0)
    worse = verify(graph, model, transcoders, sources=4, samples=8, steps=4)
    assert worse.adversarial < chance.adversarial and worse.stochastic == chance.stochastic


def test_a_difference_is_tried_by_its_sign(tmp_path):
    model = tiny_model()
    transcoders = random_set(model, tmp_path / "set")
    graph = prune(trace(model, transcoders, PROMPT, targets=Difference(200, 85), features=60))
    found = verify(graph, model, transcoders, sources=4, samples=2)
    logits = model.run(torch.tensor([PROMPT]), read=[Site("logits")])[Site("logits")][0, -1]
    gap = abs(float(logits[200] - logits[85]))
    assert found.probability == pytest.approx(1 / (1 + torch.tensor(-gap).exp().item()), abs=1e-4)


def test_other_transcoders_are_refused(tmp_path):
    model = tiny_model()
    graph = prune(trace(model, random_set(model, tmp_path / "set"), PROMPT, features=60))
    with pytest.raises(BadInput, match="other transcoders"):
        verify(graph, model, random_set(model, tmp_path / "other", n=80, k=2), sources=4)
