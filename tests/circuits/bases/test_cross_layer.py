"""CrossLayerSet: a graph of features that write to many layers adds up, and its edges are interventions."""

import pytest
import torch
from any_model import FAMILIES, PROMPT, any_model, random_set

from physalis.circuits import CrossLayerSet, LocalReplacementModel, head_loadings, prune, qk_attribution, trace, verify
from physalis.dictionaries import CrossLayer, CrossLayerConfig
from physalis.errors import BadInput
from physalis.models.tiny import tiny_model
from physalis.site import Site

pytestmark = pytest.mark.usefixtures("one_thread")


def random_cross_layer(model, out, *, each=24):
    """One that knows nothing of the model: what it leaves is error."""
    n, d = model.n_layers, model.d_model
    made = CrossLayer(CrossLayerConfig(d_in=n * d, d_out=n * d, n_features=n * each, k=6, layers=n))
    generator = torch.Generator().manual_seed(1)
    for value in made.parameters():
        value.data = torch.randn(value.shape, generator=generator) * 0.3
    made.threshold.fill_(0.2)
    for enc in made.enc:
        enc.refresh()
    for dec in made.dec:
        dec.refresh()
    return CrossLayerSet.write(out, model, made)


@pytest.mark.parametrize("name", FAMILIES)
def test_it_adds_up_in_every_family(name, tmp_path):
    model = any_model(name)
    basis = random_cross_layer(model, tmp_path / "clt")
    graph = trace(model, basis, PROMPT, features=10_000)
    n = graph.n_features
    assert n > 50 and graph.unaccounted < 1e-4 and graph.basis == "cross-layer features"
    x = model.run(torch.tensor([PROMPT]), read=[Site("mlp_in", i) for i in range(model.n_layers)])
    codes = basis.dictionary.encode(torch.cat([x[Site("mlp_in", i)][0] for i in range(model.n_layers)], 1)).dense()
    assert torch.allclose(graph.value[:n], codes[graph.position, graph.feature], rtol=1e-4, atol=1e-5)
    verdict = verify(prune(graph), model, basis, sources=8, samples=2, steps=1)
    assert verdict.edge_gap < 5e-4


def test_a_feature_reaches_later_layers_without_any_between(tmp_path):
    """Silence a feature of layer 0 by hand: all that it wrote, into each layer, is gone, and rows move by its edges."""
    model = tiny_model()
    basis = random_cross_layer(model, tmp_path / "clt")
    graph = trace(model, basis, PROMPT, features=10_000)
    local = LocalReplacementModel.of(model, basis, PROMPT)
    column = int((graph.layer == 0).nonzero()[3, 0])
    at, feature = int(graph.position[column]), int(graph.feature[column])
    writes = basis.dictionary.writes(torch.tensor([feature]))[0] * graph.value[column]
    gone = {site: value.clone() for site, value in local.sources().items()}
    for layer, part in enumerate(writes.split(model.d_model)):
        gone[Site("mlp_out", layer)][0, at] -= part
    reads = [local.last, *(Site("mlp_in", i) for i in range(model.n_layers))]
    before, after = local.run(local.sources(), reads), local.run(gone, reads)
    for row in range(graph.n_features):
        site = Site("mlp_in", int(graph.layer[row]))
        reading = basis.dictionary.reads(graph.feature[row][None])[0].split(model.d_model)[site.layer]
        moved = (before[site] - after[site])[0, graph.position[row]] @ reading
        assert float(moved) == pytest.approx(float(graph.edges[row, column]), abs=5e-4)
    assert (writes.split(model.d_model)[-1] != 0).all()


def test_heads_and_their_scores(tmp_path):
    model = tiny_model()
    basis = random_cross_layer(model, tmp_path / "clt")
    graph = trace(model, basis, PROMPT, features=10_000)
    found = head_loadings(graph, model, basis, graph.n_features, [0, 1])
    assert torch.isfinite(found.heads).all()
    why = qk_attribution(graph, model, basis, layer=1, head=0, query=9, key=4)
    assert float(why.pairs.sum()) == pytest.approx(why.score)


def test_other_dictionaries_are_refused(tmp_path):
    model = tiny_model()
    random_set(model, tmp_path / "set")
    with pytest.raises(BadInput, match="is a TopK of one layer"):
        CrossLayerSet.open(tmp_path / "set" / "L0")
    d = model.d_model
    short = CrossLayer(CrossLayerConfig(d_in=2 * d, d_out=2 * d, n_features=8, k=2, layers=2))
    with pytest.raises(BadInput, match="the dictionary has 2, "):
        CrossLayerSet.write(tmp_path / "short", model, short)
