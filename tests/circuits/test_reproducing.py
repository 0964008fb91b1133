"""reproduce(): the same is found whole, what is planted is found as far as it was planted, and chance finds little."""

import json

import pytest
import torch
from any_model import PROMPT, random_set

from physalis.circuits import TranscoderSet, prune, reproduce, trace
from physalis.dictionaries import JumpReLU, JumpReLUConfig
from physalis.errors import BadInput
from physalis.lab.rasp import dyck1, oracle
from physalis.models.tiny import tiny_model

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@pytest.fixture(scope="module")
def transcoders(model, tmp_path_factory):
    return random_set(model, tmp_path_factory.mktemp("set") / "set")


def shuffled_set(transcoders, model, out, *, replaced=()):
    """The same features under other numbers; in some layers others instead."""
    made = {}
    for layer in transcoders:
        old = transcoders[layer]
        order = torch.randperm(old.config.n_features, generator=torch.Generator().manual_seed(layer))
        made[layer] = type(old)(old.config)
        for name, value in old.named_parameters():
            own = value.data[order] if len(value) == len(order) else value.data
            if layer in replaced and name in ("enc", "dec"):
                own = torch.randn(own.shape, generator=torch.Generator().manual_seed(layer)) * 0.3
            made[layer].get_parameter(name).data = own.clone()
        made[layer].enc.refresh()
        made[layer].dec.refresh()
    return TranscoderSet.write(out, model, made)


def test_the_same_features_under_other_numbers_are_all_found(model, transcoders, tmp_path):
    again = shuffled_set(transcoders, model, tmp_path / "again")
    found = reproduce(model, {"a": transcoders, "b": again}, [PROMPT])
    [run] = found.of("transcoders")
    assert run.name == "b" and run.features == found.features > 10
    assert run.found.influence == pytest.approx(1) and run.found.jaccard == 1
    assert run.found.edge_r == pytest.approx(1, abs=1e-4)
    assert run.by_chance.influence < 0.6 and abs(run.by_chance.edge_r) < 0.5
    assert all(each.transcoders == 1 for each in found.survivors)


def test_a_layer_of_other_features_is_not_found(model, transcoders, tmp_path):
    """What goes through that layer is missing, and what goes through the others is not."""
    other = shuffled_set(transcoders, model, tmp_path / "other", replaced=[1])
    found = reproduce(model, {"a": transcoders, "b": other}, [PROMPT], nodes=1.0)
    assert 0.3 < found.runs[0].found.influence < 0.9
    again = [each for each in found.survivors if each.transcoders]
    assert again and not any(each.node.startswith("L1 ") for each in again)
    assert sum(not each.node.startswith("L1 ") for each in found.survivors) <= 1.2 * len(again)


def test_other_prompts(model, transcoders):
    """The same prompt again is the same graph; one letter changes less than all of them."""
    near, far = list(b"in the beginnink"), list(b"4+4=8; 0x1f-@#$%")
    found = reproduce(model, {"a": transcoders}, [PROMPT, PROMPT, near], unrelated=[far])
    same, close = found.of("prompt")
    [apart] = found.of("unrelated prompt")
    assert same.found.influence == pytest.approx(1) and same.found.jaccard == 1
    assert same.found.edge_r == pytest.approx(1, abs=1e-5)
    assert 1 > close.found.influence > apart.found.influence
    assert close.found.jaccard > apart.found.jaccard
    spread = found.spread("prompt", "influence")
    assert spread.low == close.found.influence and spread.high == pytest.approx(1)
    assert spread.mean == pytest.approx((1 + close.found.influence) / 2)
    assert found.spread("transcoders", "jaccard") is None
    assert {each.prompts for each in found.survivors} <= {1, 2} and found.survivors[0].prompts == 2
    kept = prune(trace(model, transcoders, PROMPT))
    assert len(found.survivors) == found.features == int(kept.kept[: kept.n_features].sum())


def test_a_compiled_programs_features_are_found_with_another_true_dictionary(tmp_path):
    """Two dictionaries that are both true, the second with as many features besides that do nothing that is needed."""
    task = dyck1()
    compiled = task.compiled()
    sets = {}
    for name, more in (("plain", 0), ("wider", 8)):
        given = {}
        for layer in range(compiled.model.n_layers):
            small = oracle(compiled, layer).dictionary()
            n, d = small.enc.shape
            wide = JumpReLU(JumpReLUConfig(d_in=d, d_out=d, n_features=n + more, k=1)).requires_grad_(False)
            wide.enc[more:], wide.dec[more:], wide.b_enc[more:] = small.enc, small.dec, small.b_enc
            wide.b_dec[:], wide.b_enc[:more] = small.b_dec, -1e3
            wide.enc.refresh()
            wide.dec.refresh()
            given[layer] = wide
        sets[name] = TranscoderSet.write(tmp_path / name, compiled.model, given)
    first = compiled.encode(task.inputs(1))[0].tolist()
    found = reproduce(compiled.model, sets, [first])
    true, chance = found.runs[0].found, found.runs[0].by_chance
    assert true == pytest.approx((1, 1, 1), abs=1e-3)
    assert chance.influence < 0.95 and chance.jaccard < 0.8  # of 13 nodes even chance finds many


def test_a_graph_that_keeps_no_feature_has_nothing_of_the_reference(model, transcoders, monkeypatch):
    from physalis.circuits import reproducing

    pruned = []

    def silent_but_the_first(graph, *, nodes):
        pruned.append(graph)
        kept = torch.ones_like(graph.kept)
        kept[: graph.n_features] = len(pruned) == 1
        return graph.kept_only(kept, graph.edges != 0)

    monkeypatch.setattr(reproducing, "prune", silent_but_the_first)
    found = reproduce(model, {"a": transcoders}, [PROMPT, PROMPT])
    assert found.runs[0].found == (0, 0, None) and found.runs[0].features == 0


def test_as_plain_data(model, transcoders, tmp_path):
    other = random_set(model, tmp_path / "other", n=48, k=5)
    found = reproduce(model, {"a": transcoders, "b": other}, [PROMPT, list(b"in the beginnink")], seed=3)
    said = found.record()
    assert json.loads(json.dumps(said, allow_nan=False))["spreads"]["prompt"]["influence"]["found"]["low"] > 0
    assert said["runs"][0]["by_chance"].keys() == said["runs"][0]["found"].keys()
    assert reproduce(model, {"a": transcoders, "b": other}, [PROMPT, list(b"in the beginnink")], seed=3) == found
    assert "influence found again" in repr(found)


def test_refused(model, transcoders):
    for sets, prompts in (({"a": transcoders}, [PROMPT]), ({}, [PROMPT, PROMPT]), ({"a": transcoders}, [])):
        with pytest.raises(BadInput, match="is held against others"):
            reproduce(model, sets, prompts)
    found = reproduce(model, {"a": transcoders}, [PROMPT, PROMPT], features=20)
    with pytest.raises(BadInput, match="is measured by"):
        found.spread("prompt", "features")
