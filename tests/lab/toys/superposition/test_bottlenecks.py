"""Bottlenecks: their training against autograd, and what is said of single virtual weights against its definition."""

import numpy as np
import pytest
import torch

from physalis.errors import BadInput
from physalis.lab.toys.superposition.bottlenecks import (
    average_precision,
    blocks,
    identity,
    losses_without,
    target_weighted,
    train_bottleneck,
)


def test_blocks_compute_among_themselves():
    task = blocks(12, 3, 0.5, -0.1, 0.3, np.random.default_rng(0))
    outside = np.kron(np.eye(3), np.ones((4, 4))) == 0
    assert (task.A[outside] == 0).all() and 0.3 < (task.A[~outside] > 0).mean() < 0.7
    x = task.draw(5_000, np.random.default_rng(1))
    assert (x > 0).mean() == pytest.approx(0.3, abs=0.02)
    assert task.answers(x[:1])[0] == pytest.approx(np.maximum(task.A @ x[0] - 0.1, 0))
    with pytest.raises(BadInput, match="blocks"):
        blocks(10, 3, 0.5, 0.0, 0.3, np.random.default_rng(0))


def test_training_is_adam_on_the_dense_statement():
    task, m, steps, batch = identity(6, 0.4), 3, 12, 16
    begun, made = (train_bottleneck(task, m, steps=steps, batch=batch, lr=lr, seed=1) for lr in (0.0, 1e-2))
    rng = np.random.default_rng(1)
    for shape in ((m, 6), (6, m), (6,)):
        rng.normal(size=shape)
    parts = [torch.tensor(part, requires_grad=True) for part in (begun.W_in, begun.W_out, begun.b)]
    adam = torch.optim.Adam(parts, lr=1e-2)
    for step in range(steps):
        adam.param_groups[0]["lr"] = 1e-2 * (1 - step / steps)
        x = torch.tensor(task.draw(batch, rng))
        loss = (torch.relu(x @ parts[0].T @ parts[1].T + parts[2]) - x).square().sum(1).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
    for ours, theirs in zip((made.W_in, made.W_out, made.b), parts, strict=True):
        assert np.allclose(ours, theirs.detach().numpy(), atol=1e-6)
    assert np.allclose(made.U, made.W_out @ made.W_in)


def test_cutting_a_weight_is_what_it_says():
    rng = np.random.default_rng(0)
    task, U, b = identity(5, 0.4), rng.normal(size=(5, 5)), rng.normal(size=5)
    x = task.draw(200, rng)
    y = task.answers(x)
    rises = losses_without(U, b, x, y)
    cut = U.copy()
    cut[3, 1] = 0
    loss = [np.square(np.maximum(x @ w.T + b, 0) - y).sum(1).mean() for w in (U, cut)]
    assert rises[3, 1] == pytest.approx(loss[1] - loss[0])


def test_scores_by_hand():
    x, y = np.array([[1.0, 0], [1, 1], [0, 1]]), np.array([[2.0, 0], [1, 0], [0, 3]])
    U = np.array([[1.0, -2], [3, 4]])
    assert target_weighted(U, x, y) == pytest.approx(np.array([[1.0, -2 / 3], [0, 4]]))
    real = np.array([True, False, True, False])
    assert average_precision(np.array([4.0, 2, 3, 1]), real) == 1
    assert average_precision(np.array([4.0, 3, 2, 1]), real) == pytest.approx((1 + 2 / 3) / 2)
