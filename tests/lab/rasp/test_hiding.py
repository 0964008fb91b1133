"""A hidden model says what the open one says, in coordinates that say nothing, and all that was known still is."""

import pytest
import torch

from physalis.lab.rasp import TASKS, evaluate, hidden, histogram, sort
from physalis.lab.rasp.hiding import orthogonal
from physalis.site import Site

N = 200


@pytest.mark.parametrize("make", TASKS, ids=lambda make: make.__name__)
def test_outputs_are_the_same(make):
    task = make()
    compiled = task.compiled()
    turned = hidden(compiled, seed=5)
    inputs = task.inputs(N)
    assert turned.answers(inputs) == [task.answer(each) for each in inputs]
    assert turned.circuit == compiled.circuit and turned.components == compiled.components
    ids = compiled.encode([each for each in inputs if len(each) == task.longest])
    plain, other = (each.model.run(ids, read=[Site("logits")])[Site("logits")] for each in (compiled, turned))
    assert torch.allclose(plain, other, atol=1e-4) and not torch.equal(plain, other)


def test_no_coordinate_means_anything_but_directions_do():
    task = sort()
    compiled = task.compiled()
    turned = hidden(compiled)
    last = Site("resid_post", turned.model.n_layers - 1)
    drawn = [each for each in task.inputs(80) if len(each) == task.longest]
    ids = turned.encode(drawn)
    x = turned.model.run(ids, read=[last])[last][:, 1:]
    assert (compiled.model.run(ids, read=[last])[last] == 0).float().mean() > 0.5 and (
        x.abs() > 1e-4
    ).float().mean() > 0.99
    for variable in turned.wiring.variables[1:]:
        if variable.values:
            truth = [evaluate(variable.sop, each, causal=task.causal) for each in drawn]
            stands = x @ turned.directions(variable.name).T
            assert stands.argmax(-1).tolist() == [[variable.values.index(value) for value in row] for row in truth]
            assert not torch.equal(turned.directions(variable.name), compiled.directions(variable.name))
    q = Site("q", 1)
    assert (turned.model.run(ids, read=[q])[q][:, 1:].abs() > 1e-4).float().mean() > 0.9


def test_a_seed_is_a_way_to_turn():
    compiled = histogram().compiled()
    before = compiled.model.fingerprint
    prints = [hidden(compiled, seed).model.fingerprint for seed in (0, 0, 1)]
    assert prints[0] == prints[1] != prints[2] and before not in prints and compiled.model.fingerprint == before


def test_turns_are_orthogonal_and_no_way_is_likelier():
    random = torch.Generator().manual_seed(0)
    turns = torch.stack([orthogonal(4, random) for _ in range(2000)])
    assert torch.allclose(turns @ turns.transpose(1, 2), torch.eye(4, dtype=torch.float64), atol=1e-12)
    assert turns.mean(0).abs().max() < 0.05  # a plain QR favours one sign on the diagonal
    assert (turns.square().mean(0) - 0.25).abs().max() < 0.02
