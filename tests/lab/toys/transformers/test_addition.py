"""Addition: the factored forward pass against a plain one, and measures of waves on tables that are made of them."""

import numpy as np
import pytest
import torch

from physalis.lab.toys.transformers.addition import adder, answers, circular, learn, on_circle, spectrum


def test_a_pair_is_read_as_a_transformer_reads_it():
    model = adder(p=7, width=8, heads=2, neurons=5).mapped(torch.Tensor.double)
    a, b = 3, 5
    x = torch.stack([model.embed[a] + model.position[0], model.embed[b] + model.position[1], model.equals])
    out = x[2].clone()
    for h in range(2):
        scores = (x @ model.key[h]) @ (x[2] @ model.query[h]) / 4**0.5
        assert torch.allclose(model.attention()[h, a, b], scores.softmax(0))
        out += scores.softmax(0) @ x @ model.value[h] @ model.output[h]
    assert torch.allclose(model.read()[a, b], out)
    neurons = (out @ model.into + model.bias).relu()
    assert torch.allclose(model.table()[a, b], (out + neurons @ model.out) @ model.unembed)


def test_waves_are_found_where_they_are():
    p = 11
    angle = 2 * np.pi * np.arange(p) / p
    table = np.stack([np.cos(3 * angle), np.sin(3 * angle), 0.5 * np.cos(2 * angle), np.ones(p)], 1)
    shares = spectrum(torch.tensor(table))
    assert shares == pytest.approx([0, 0.25 / 2.25, 2 / 2.25, 0, 0])
    ring = on_circle(torch.tensor(table), 3)
    assert np.linalg.norm(ring, axis=1) == pytest.approx(np.ones(p))
    a, b, c = np.ogrid[:p, :p, :p]
    gap, other = 2 * np.pi * (a + b - c) / p, 2 * np.pi * (a - b + 2 * c) / p
    logits = torch.tensor(2 * np.cos(4 * gap) + np.cos(other) + 5)
    assert circular(logits) == pytest.approx([0, 0, 0, 0.8, 0])


def test_learning_memorises_its_pairs_and_measures_the_others():
    run = learn(adder(p=7, width=16, heads=2, neurons=32), share=0.5, steps=80, lr=2e-2, every=40)
    assert run.steps == [0, 40, 80] and run.trained_on.sum() == round(0.5 * 49)
    assert run.train_accuracy[-1] == 1 and run.train_loss[-1] < 0.1 * run.train_loss[0]
    hit = run.kept[-1].table().argmax(-1) == answers(7)
    assert run.test_accuracy[-1] == pytest.approx(hit[~run.trained_on].double().mean().item())
    assert run.first(run.train_accuracy, 1) <= 80 and run.first([0.0] * 3, 1) == float("inf")
