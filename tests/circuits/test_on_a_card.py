"""Circuits on a second device: no tensor is forgotten on the CPU, and the numbers are the CPU's."""

import pytest
import torch
from any_model import PROMPT, random_set
from pretended import card

from physalis.circuits import head_loadings, measure_replacement, prune, qk_attribution, trace, transcode, verify
from physalis.models import load_model
from physalis.recording.options import Reading
from physalis.training.options import Training

pytestmark = pytest.mark.filterwarnings("ignore:Sparse")


def made(model, transcoders):
    graph = trace(model, transcoders, PROMPT, features=40)
    loadings = head_loadings(graph, model, transcoders, graph.n_features, [0, graph.embeddings.start])
    why = qk_attribution(graph, model, transcoders, layer=1, head=0, query=9, key=4)
    return graph, loadings, why, verify(prune(graph), model, transcoders, sources=8, samples=4)


def test_a_graph_and_its_trial(tmp_path, monkeypatch, one_thread):
    model = load_model("tiny", device="cpu", dtype=torch.float32)
    transcoders = random_set(model, tmp_path / "set", skip=True)
    graph, loadings, why, verdict = made(model, transcoders)
    with card(monkeypatch):
        there = made(load_model("tiny", dtype=torch.float32), transcoders)
    again, moved, because, tried = there
    assert torch.equal(again.feature, graph.feature) and torch.allclose(again.edges, graph.edges, atol=1e-4)
    assert torch.allclose(moved.heads, loadings.heads, atol=1e-4)
    assert because.score == pytest.approx(why.score, abs=1e-4)
    assert tried.adversarial == pytest.approx(verdict.adversarial, abs=1e-3)
    assert tried.edge_gap < 5e-4


def test_a_set_and_what_it_costs(text, tmp_path, monkeypatch, one_thread):
    with card(monkeypatch):
        model = load_model("tiny", dtype=torch.float32)
        transcoders = transcode(
            model, text, tmp_path / "set", n_features=64, k=4, reading=Reading(tokens=6400, context=32, batch=8),
            training=Training(epochs=1, batch_size=512),
        )  # fmt: skip
        there = measure_replacement(model, transcoders, text, tokens=320)
    here = measure_replacement(load_model("tiny", device="cpu", dtype=torch.float32), transcoders, text, tokens=320)
    for one, other in zip(there.layers, here.layers, strict=True):
        assert one.fvu["value"] == pytest.approx(other.fvu["value"], rel=0.02)
        assert one.loss_added["value"] == pytest.approx(other.loss_added["value"], abs=1e-3)
