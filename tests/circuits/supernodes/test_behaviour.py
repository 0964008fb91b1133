"""by_behaviour: numpy's correlation of codes on texts."""

import numpy as np
import pytest
import torch
from any_model import PROMPT, any_model, random_set
from pretended import card

from physalis.circuits import trace
from physalis.circuits.supernodes import by_behaviour
from physalis.errors import BadInput
from physalis.models import load_model
from physalis.models.tiny import tiny_model
from physalis.site import Site

pytestmark = pytest.mark.usefixtures("one_thread")
TEXTS = ["the light was good", "", list(b"and there was evening"), "let there be lights in the firmament"]


@pytest.fixture(scope="module")
def traced(tmp_path_factory):
    model = tiny_model()
    transcoders = random_set(model, tmp_path_factory.mktemp("set") / "set")
    return model, transcoders, trace(model, transcoders, PROMPT, features=60)


def test_it_is_the_correlation_of_codes(traced):
    model, transcoders, graph = traced
    found = by_behaviour(graph, model, transcoders, TEXTS)
    columns = []
    for layer, feature in zip(graph.layer.tolist(), graph.feature.tolist(), strict=True):
        site, own = Site("mlp_in", layer), []
        for text in TEXTS:
            ids = list(text.encode()) if isinstance(text, str) else text
            if ids:
                x = model.run(torch.tensor([ids]), read=[site])[site][0]
                own.append(transcoders[layer].encode(x).dense()[:, feature])
        columns.append(torch.cat(own).double().numpy())
    codes = np.array(columns)
    fires = codes.std(1) > 0
    assert fires.sum() > 30
    expected = np.corrcoef(codes[fires])
    assert np.allclose(found.values.numpy()[np.ix_(fires, fires)], expected, atol=1e-6)
    assert not found.values.numpy()[~fires].any()


def test_one_feature_at_two_positions_does_the_same(traced):
    model, transcoders, graph = traced
    found = by_behaviour(graph, model, transcoders, TEXTS)
    keys = [*zip(graph.layer.tolist(), graph.feature.tolist(), strict=True)]
    twice = [i for i, key in enumerate(keys) if keys.count(key) > 1 and float(found.values[i, i]) > 0]
    assert twice
    again = keys.index(keys[twice[-1]])
    assert float(found.values[again, twice[-1]]) == pytest.approx(1)


@pytest.mark.filterwarnings("ignore:Sparse")
def test_on_a_card_it_is_the_same(traced, monkeypatch):
    model, transcoders, graph = traced
    here = by_behaviour(graph, model, transcoders, TEXTS)
    with card(monkeypatch):
        there = by_behaviour(graph, load_model("tiny", dtype=torch.float32), transcoders, TEXTS)
    assert torch.allclose(here.values, there.values, atol=1e-5)


def test_refused(traced, tmp_path):
    model, transcoders, graph = traced
    with pytest.raises(BadInput, match="no token"):
        by_behaviour(graph, model, transcoders, ["", []])
    with pytest.raises(BadInput, match="traced with others"):
        by_behaviour(graph, model, random_set(model, tmp_path / "few", n=8, k=2), TEXTS)
    with pytest.raises(BadInput, match="another model"):
        by_behaviour(graph, any_model("gpt2"), transcoders, TEXTS)
