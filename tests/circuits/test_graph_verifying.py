"""verify(): edges are true, masks do what they say, and the adversary finds what was hidden from it."""

import json
from dataclasses import replace

import pytest
import torch
from any_model import FAMILIES, PROMPT, any_model, random_set

from physalis.circuits import Difference, Direction, LocalReplacementModel, TranscoderSet, prune, trace, verify
from physalis.circuits.masks import Masks
from physalis.circuits.nodes import Nodes
from physalis.errors import BadInput
from physalis.lab.rasp import (
    dyck1,
    elementwise,
    hidden,
    histogram,
    indices,
    oracle,
    select,
    selector_width,
    two_hop,
)
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
    assert found.adversarial <= min(found.kept_only, found.stochastic, found.answer) + 1e-6
    p = model.run(torch.tensor([PROMPT]), read=[Site("logits")])[Site("logits")][0, -1].softmax(-1)
    assert found.answer == pytest.approx(float(p[graph.ends[0].token]), abs=1e-5)


def test_nothing_is_dropped_from_all_of_it(tmp_path):
    """A graph with every feature loses nothing to any mask: there is none."""
    model = tiny_model()
    transcoders = random_set(model, tmp_path / "set")
    graph = trace(model, transcoders, PROMPT, features=10_000)
    every = graph.n_active - graph.n_features  # those that reach no end
    found = verify(graph, model, transcoders, sources=8, samples=4)
    assert found.dropped == every
    assert found.kept_only == pytest.approx(found.answer, abs=1e-5)
    assert found.adversarial == pytest.approx(found.answer, abs=1e-5)
    assert not found.beats_the_model


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
        every = torch.arange(len(place.features.ids))
        reads, wrote_each = place.reads_of(every), place.writes_of(every)[place.writes]

        def look(x):
            live[place.reads] = x
            return x

        def write(x):
            x = x.clone()
            codes = (live[place.reads][0, place.features.positions] * reads).sum(-1)
            codes = (codes + place.features.intercepts).relu()
            wrote = torch.zeros_like(x[0])
            off = masks.columns[layer] >= 0
            for j in (~off).nonzero()[:, 0].tolist():
                wrote[place.features.positions[j]] += codes[j] * wrote_each[j]
            return (wrote + place.error + transcoders[layer].b_dec)[None]

        return {place.reads: look, place.writes: write}

    writes = {site: fn for layer in transcoders for site, fn in silent(layer).items()}
    p = model.run(torch.tensor([PROMPT]), read=[Site("logits")], write=writes)[Site("logits")][0, -1].softmax(-1)
    found = masks.answer(torch.zeros(1, masks.n))
    assert float(found) == pytest.approx(float(p[graph.ends[0].token]), abs=1e-6)


def test_the_adversary_is_worse_than_chance(tmp_path):
    """Gradient ascent on masks finds more than random ones do, and never less."""
    model = tiny_model()
    transcoders = random_set(model, tmp_path / "set")
    graph = prune(trace(model, transcoders, PROMPT, features=60))
    chance = verify(graph, model, transcoders, sources=4, samples=8, steps=0)
    worse = verify(graph, model, transcoders, sources=4, samples=8, steps=4)
    assert worse.adversarial < chance.adversarial and worse.stochastic == chance.stochastic


def test_another_direction_is_tried_by_its_value(tmp_path):
    """As a share of that on the prompt, whatever its length: a probability it has none."""
    model = tiny_model()
    transcoders = random_set(model, tmp_path / "set")
    vector = torch.randn(model.d_model, generator=torch.Generator().manual_seed(0))
    once, longer = (
        verify(
            prune(trace(model, transcoders, PROMPT, targets=Direction("any", length * vector), features=60)),
            model, transcoders, sources=4, samples=2,
        )
        for length in (1, 100)
    )  # fmt: skip
    assert once.answer == pytest.approx(1, abs=1e-4) and once.adversarial < once.kept_only
    assert longer.adversarial == pytest.approx(once.adversarial, abs=1e-3)
    graph = prune(trace(model, transcoders, PROMPT, targets=Difference(200, 85), features=60))
    assert verify(graph, model, transcoders, sources=4, samples=2).answer == pytest.approx(1, abs=1e-4)


def test_what_errors_say_alone_proves_nothing(tmp_path):
    """Random transcoders leave nearly all to errors: then no graph is said to survive."""
    model = tiny_model()
    transcoders = random_set(model, tmp_path / "set", k=1)
    found = verify(prune(trace(model, transcoders, PROMPT)), model, transcoders, sources=2, samples=2)
    assert found.none_kept > 0.5 * found.answer and not found.survives
    assert json.loads(json.dumps(found.record(), allow_nan=False)) == found.record()


def test_other_transcoders_are_refused(tmp_path):
    model = tiny_model()
    graph = prune(trace(model, random_set(model, tmp_path / "set"), PROMPT, features=60))
    for wrong in (dict(sources=0), dict(samples=0), dict(steps=-1)):
        with pytest.raises(BadInput, match="is at least"):
            verify(graph, model, random_set(model, tmp_path / "set"), **wrong)
    with pytest.raises(BadInput, match="other transcoders"):
        verify(graph, model, random_set(model, tmp_path / "other", n=80, k=2), sources=4)


def decoys():
    """What a program's answer does not depend on, computed beside it."""
    earlier = select(indices, indices, lambda key, query: key < query)
    return (elementwise(lambda n: n % 2, selector_width(earlier, name="behind"), name="odd"),)


def every_feature_of_the_circuit(graph, local, compiled):
    """A graph whose nodes are those features that the answer depends on, by the program, and no edges."""
    behind = {variable.name for variable in compiled.circuit.variables}
    known = [
        (layer, int(f.positions[i]), int(f.ids[i]), float(f.codes[i]))
        for layer, f in ((layer, place.features) for layer, place in local.places.items())
        for i in range(len(f.ids))
        if compiled.neurons[layer][int(f.ids[i])].variable in behind
    ]
    layer, position, feature, value = (torch.tensor(part) for part in zip(*known, strict=True))
    n, columns = len(known), len(known) + (len(graph.layers) + 1) * graph.n_tokens
    none = torch.zeros(n + 1)
    return replace(
        graph, layer=layer, position=position, feature=feature, value=torch.cat([value, graph.value[-1:]]), bias=none,
        left_out=none, left_out_size=none, edges=torch.zeros(n + 1, columns), ends=graph.ends[:1],
        kept=torch.ones(columns, dtype=torch.bool), directions=graph.directions[:1],
    )  # fmt: skip


@pytest.mark.parametrize("make", [histogram, dyck1, two_hop], ids=lambda make: make.__name__)
def test_the_true_circuit_survives_the_adversary(make, tmp_path):
    """Nothing that was left out of it can undo the answer, hidden or not; a graph with held patterns leaves out what
    decides where heads look, and of the histogram that is enough to undo it."""
    task = make()
    plain = task.compiled(beside=decoys())
    for name, compiled in (("plain", plain), ("hidden", hidden(plain, seed=1))):
        given = {layer: oracle(compiled, layer).dictionary() for layer in range(compiled.model.n_layers)}
        transcoders = TranscoderSet.write(tmp_path / name, compiled.model, given)
        ids = compiled.encode([task.inputs(3, seed=0)[0]])[0].tolist()
        graph = trace(compiled.model, transcoders, ids)
        assert graph.unaccounted < 1e-4 and graph.scores().replacement > 0.95 < graph.scores().completeness
        local = LocalReplacementModel.of(compiled.model, transcoders, ids)
        true = every_feature_of_the_circuit(graph, local, compiled)
        masks = Masks(local, true, Nodes.of(true, local).within)
        assert masks.n > 0
        starts = torch.rand(8, masks.n, generator=torch.Generator().manual_seed(0))
        assert masks.attack(starts, 4).answer > 0.99
        if make is histogram:
            traced = verify(prune(graph), compiled.model, transcoders)
            assert traced.answer > 0.99 < traced.kept_only and traced.adversarial < 0.01 and not traced.survives
