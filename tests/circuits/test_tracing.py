"""trace(): what a graph says adds up, for every family; what it leaves out, it says."""

import pytest
import torch
from any_model import FAMILIES, PROMPT, any_model, random_set

from physalis.activations import Hygiene
from physalis.circuits import (
    Difference,
    Direction,
    Graph,
    LocalReplacementModel,
    Tokens,
    TopLogits,
    TranscoderSet,
    trace,
    tracing,
)
from physalis.dictionaries import Gated, GatedConfig, JumpReLU, JumpReLUConfig, TopK, TopKConfig
from physalis.errors import BadInput
from physalis.models.tiny import tiny_model
from physalis.site import Site

pytestmark = pytest.mark.usefixtures("one_thread")

WITH_A_BIAS_AT_THE_END = ("gpt2", "gpt_neox", "gpt_neox sequential", "phi")


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@pytest.fixture(scope="module")
def transcoders(model, tmp_path_factory):
    return random_set(model, tmp_path_factory.mktemp("set") / "set")


@pytest.fixture(scope="module")
def graph(model, transcoders):
    return trace(model, transcoders, PROMPT, features=10_000)


@pytest.mark.parametrize("skip", [False, True], ids=["", "skip"])
@pytest.mark.parametrize("name", FAMILIES)
def test_it_adds_up_in_every_family(name, skip, tmp_path):
    """Edges and biases make the codes and the logits that the model itself computes."""
    model = any_model(name)
    transcoders = random_set(model, tmp_path / "set", skip=skip)
    graph = trace(model, transcoders, PROMPT, features=10_000)
    n, tokens = graph.n_features, torch.tensor([PROMPT])
    assert n > 50 and graph.unaccounted < 1e-4
    for layer in transcoders:
        site = Site("mlp_in", layer)
        codes = transcoders[layer].encode(model.run(tokens, read=[site])[site][0]).dense()
        rows = graph.layer == layer
        said = codes[graph.position[rows], graph.feature[rows]]
        assert torch.allclose(graph.value[:n][rows], said, rtol=1e-4, atol=1e-5)
    logits = model.run(tokens, read=[Site("logits")])[Site("logits")][0, -1]
    if cap := getattr(model.hf.config, "final_logit_softcapping", None):
        logits = torch.atanh(logits / cap) * cap
    if name not in WITH_A_BIAS_AT_THE_END:  # of each token its own, behind the stream
        ids = torch.tensor([end.token for end in graph.ends])
        assert torch.allclose(graph.value[n:], (logits - logits.mean())[ids], rtol=1e-3, atol=1e-3)


def test_an_edge_is_what_its_source_adds(model, transcoders, graph):
    """Sources taken away one at a time from a forward pass of the linear model, which knows nothing of gradients."""
    local = LocalReplacementModel.of(model, transcoders, PROMPT)
    stood = local.sources()
    reads = [place.reads for place in local.places.values()]
    before = local.run(stood, [*reads, local.last])
    generator = torch.Generator().manual_seed(0)
    for column in torch.randperm(graph.edges.shape[1], generator=generator)[:40].tolist():
        gone = {site: value.clone() for site, value in stood.items()}
        if column < graph.n_features:
            layer, at = int(graph.layer[column]), int(graph.position[column])
            writes = transcoders[layer].writes(graph.feature[column][None])[0] * graph.value[column]
            gone[Site("mlp_out", layer)][0, at] -= writes
        elif column < graph.errors.stop:
            layer, at = divmod(column - graph.n_features, graph.n_tokens)
            gone[Site("mlp_out", layer)][0, at] -= local.places[layer].error[at]
        else:
            gone[Site("embed")][0, column - graph.errors.stop] = 0
        after = local.run(gone, [*reads, local.last])
        for row in range(0, graph.n_features, 7):
            site = Site("mlp_in", int(graph.layer[row]))
            moved = (before[site] - after[site])[0, graph.position[row]]
            reading = transcoders[int(graph.layer[row])].reads(graph.feature[row][None])[0]
            assert float(moved @ reading) == pytest.approx(float(graph.edges[row, column]), abs=5e-4)
        ends = (before[local.last] - after[local.last])[0, -1] @ graph.directions.T / local.scale[-1]
        assert torch.allclose(ends, graph.edges[graph.n_features :, column], atol=5e-4)


def test_fewer_features_are_those_that_matter_and_the_rest_is_stated(model, transcoders, graph):
    few = trace(model, transcoders, PROMPT, features=20)
    assert few.n_features == 20 and few.unaccounted < 1e-4 and few.n_active == graph.n_active
    assert 0 < few.left_out_share < 1 and graph.left_out_share == 0
    nodes = list(zip(graph.layer.tolist(), graph.position.tolist(), graph.feature.tolist(), strict=True))
    through = dict(zip(nodes, graph.influence().tolist(), strict=False))
    chosen = set(zip(few.layer.tolist(), few.position.tolist(), few.feature.tolist(), strict=True))
    others = [value for node, value in through.items() if node not in chosen]
    assert sum(through[node] for node in chosen) / 20 > 3 * sum(others) / len(others)


def test_influence_is_taken_anew_while_features_are_read(model, transcoders, graph, monkeypatch):
    """In small pieces the same graph comes, node by node, once every feature is in it."""
    monkeypatch.setattr(tracing, "ANEW", 7)
    again = trace(model, transcoders, PROMPT, features=10_000)
    assert torch.equal(again.feature, graph.feature) and torch.allclose(again.edges, graph.edges, atol=1e-5)


def test_memory_is_bounded_and_what_that_costs_is_stated(model, transcoders, graph):
    small = trace(model, transcoders, PROMPT, features=50, memory=4 * 60 * 150)
    assert small.edges.numel() * 4 <= 4 * 60 * 150
    assert small.unaccounted < 1e-4 and small.n_active == graph.n_active and small.left_out_share > 0


def test_more_than_fire_may_be_asked_for(model, transcoders, graph):
    """A large number is no reason to leave anything out."""
    assert torch.equal(trace(model, transcoders, PROMPT, features=10**9).edges, graph.edges)


def test_in_16_bit_it_adds_up_as_16_bit_does(transcoders, model, graph):
    half = tiny_model()
    half.hf.to(torch.bfloat16)
    found = trace(half, transcoders, PROMPT, features=10_000)
    assert 1e-6 < found.unaccounted < 0.1 and found.n_features > 50
    assert found.ends[0].token in [end.token for end in graph.ends[:3]]


def test_what_it_ends_in(model, transcoders, graph):
    right, wrong = graph.ends[0].token, graph.ends[1].token
    both = trace(model, transcoders, PROMPT, targets=Tokens((right, wrong)), features=10_000)
    less = trace(model, transcoders, PROMPT, targets=Difference(right, wrong), features=10_000)
    n = less.n_features
    assert [end.token for end in both.ends] == [right, wrong] and sum(end.weight for end in both.ends) == pytest.approx(
        1
    )
    assert "rather than" in less.ends[0].name and less.ends[0].token is None
    assert float(less.value[n]) == pytest.approx(float(both.value[-2] - both.value[-1]), abs=1e-4)
    vector = torch.randn(model.d_model, generator=torch.Generator().manual_seed(0))
    direction = trace(model, transcoders, PROMPT, targets=Direction("any", vector), features=30)
    stream = model.run(torch.tensor([PROMPT]), read=[Site("resid_post", 2), Site("final_norm_scale")])
    value = stream[Site("resid_post", 2)][0, -1] @ vector / stream[Site("final_norm_scale")][0, -1, 0]
    assert float(direction.value[-1]) == pytest.approx(float(value), rel=1e-4)
    assert len(trace(model, transcoders, PROMPT, targets=TopLogits(most=3), features=5).ends) == 3


def test_a_text_begins_as_the_sets_recording_did(model, tmp_path):
    """With BOS where the rule leaves that out, and no feature fires on it."""
    given = {i: TopK(TopKConfig(d_in=32, d_out=32, n_features=40, k=6)) for i in range(3)}
    for dictionary in given.values():
        torch.nn.init.normal_(dictionary.enc.data)
        torch.nn.init.normal_(dictionary.dec.data)
        dictionary.enc.refresh()
    rule = Hygiene(max_norm=1e30, skip_first=True)
    graph = trace(model, TranscoderSet.write(tmp_path / "set", model, given, rule=rule), "hello", features=1000)
    assert graph.token_strings[0] == "<bos>" and graph.n_tokens == 6 and int(graph.position.min()) == 1
    assert graph.unaccounted < 1e-4


def test_jumprelu_and_others_that_are_linear_where_they_fire(model, tmp_path):
    given = {}
    for layer in range(3):
        given[layer] = JumpReLU(JumpReLUConfig(d_in=32, d_out=32, n_features=40, k=6))
        torch.nn.init.normal_(given[layer].enc.data)
        torch.nn.init.normal_(given[layer].dec.data)
        torch.nn.init.constant_(given[layer].threshold.data, 0.5)
        given[layer].enc.refresh()
    graph = trace(model, TranscoderSet.write(tmp_path / "set", model, given), PROMPT, features=1000)
    assert graph.unaccounted < 1e-4 and float(graph.value[: graph.n_features].min()) > 0.5


def test_it_is_kept_in_a_folder(graph, tmp_path):
    graph.save(tmp_path / "graph")
    again = Graph.open(tmp_path / "graph")
    assert torch.equal(again.edges, graph.edges) and again.ends == graph.ends
    assert again.token_strings == graph.token_strings and again.scores() == graph.scores()
    (tmp_path / "graph" / "graph.safetensors").write_bytes(b"other")
    with pytest.raises(BadInput, match="not the file"):
        Graph.open(tmp_path / "graph")


def test_refusals_are_sentences(model, transcoders, tmp_path):
    for nothing in ([], ""):
        with pytest.raises(BadInput, match="no tokens"):
            trace(model, transcoders, nothing)
    with pytest.raises(BadInput, match="reads ids 0 to 257"):
        trace(model, transcoders, [1, 999])
    with pytest.raises(BadInput, match="1 byte of memory"):
        trace(model, transcoders, PROMPT, memory=0)
    with pytest.raises(BadInput, match="at least one transcoder"):
        TranscoderSet.write(tmp_path / "none", model, {})
    with pytest.raises(BadInput, match="comes twice"):
        trace(model, transcoders, PROMPT, targets=Tokens((1, 1)))
    with pytest.raises(BadInput, match="at least 1 feature"):
        trace(model, transcoders, PROMPT, features=0)
    with pytest.raises(BadInput, match="one that was made for this model|reads 32"):
        TranscoderSet.write(tmp_path / "no", model, {0: TopK(TopKConfig(d_in=8, d_out=8, n_features=16, k=2))})
    assert not (tmp_path / "no").exists()
    for wrong in (Tokens((999,)), Tokens(()), Difference(1, 1), Direction("none", torch.zeros(32))):
        with pytest.raises(BadInput):
            trace(model, transcoders, PROMPT, targets=wrong)
    some = {0: transcoders[0], 2: transcoders[2]}
    with pytest.raises(BadInput, match="no transcoder of layer 1"):
        trace(model, TranscoderSet.write(tmp_path / "some", model, some), PROMPT)
    with pytest.raises(BadInput, match="another model"):
        trace(any_model("gpt2"), transcoders, PROMPT)
    gated = {i: Gated(GatedConfig(d_in=32, d_out=32, n_features=40, k=6)) for i in range(3)}
    for each in gated.values():
        torch.nn.init.normal_(each.enc.data)
        torch.nn.init.constant_(each.r_mag, 1.0)
        each.enc.refresh()
    with pytest.raises(BadInput, match="no linear function"):
        trace(model, TranscoderSet.write(tmp_path / "gated", model, gated), PROMPT)
