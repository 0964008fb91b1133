"""prune_adversarially(): what is kept holds the answer, and no more is kept than the adversary made necessary."""

import pytest
import torch
from any_model import PROMPT, random_set

from physalis.circuits import Neurons, TranscoderSet, prune, prune_adversarially, trace, verify
from physalis.errors import BadInput
from physalis.lab.rasp import oracle, two_hop
from physalis.models.tiny import tiny_model

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_compiled_circuit_survives_at_once(tmp_path):
    task = two_hop()
    compiled = task.compiled()
    known = {layer: oracle(compiled, layer).dictionary() for layer in range(compiled.model.n_layers)}
    basis = TranscoderSet.write(tmp_path / "set", compiled.model, known)
    graph = trace(compiled.model, basis, compiled.encode(task.inputs(1))[0].tolist())
    found = prune_adversarially(graph, compiled.model, basis)
    assert found.survives and found.rounds[-1][1] > 0.99 * found.answer
    assert verify(found.graph, compiled.model, basis).survives


def test_it_keeps_what_the_adversary_used(tmp_path):
    """From a graph that falls, rounds keep more until it holds; the trial with another seed says so too."""
    model = tiny_model()
    basis = Neurons()
    graph = trace(model, basis, PROMPT, features=4_000)
    found = prune_adversarially(graph, model, basis, share=0.9)
    kept = [n for n, _ in found.rounds]
    assert len(kept) > 1 and kept == sorted(set(kept)) and found.survives
    assert found.rounds[0][1] < found.rounds[-1][1]
    assert kept[-1] < graph.n_active  # not all of them are needed
    wanted = found.none_kept + 0.5 * (found.answer - found.none_kept)
    assert verify(found.graph, model, basis, sources=2, seed=7).adversarial >= wanted
    edges = found.graph.edges != 0
    assert bool(edges.any()) and not bool(edges[:, ~found.graph.kept].any())


def test_what_was_not_traced_stays_the_adversarys(tmp_path):
    model = tiny_model()
    basis = random_set(model, tmp_path / "set")
    graph = trace(model, basis, PROMPT, features=5)
    found = prune_adversarially(graph, model, basis, share=1.0, steps=2, samples=2)
    assert found.rounds[-1][0] <= 5 and torch.equal(found.graph.feature, graph.feature)
    with pytest.raises(BadInput, match="share is in"):
        prune_adversarially(graph, model, basis, share=0)
    assert prune(graph).kept.sum() <= graph.kept.sum()
