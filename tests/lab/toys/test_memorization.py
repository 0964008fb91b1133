"""Memorization: the compiled descent against torch's AdamW on the dense statement of the model, and its measures."""

import math

import numpy as np
import pytest
import torch

from physalis.errors import BadInput
from physalis.lab.toys.memorization import draw_points, loss_on, memorize, sample_dimensionality


def in_torch(points, w, steps, lr, decay):
    """Weights, biases and the loss before the last step."""
    x = torch.tensor(points, dtype=torch.float64)
    w, b = (torch.tensor(a, dtype=torch.float64, requires_grad=True) for a in (w, np.zeros(points.shape[1])))
    adamw, warmup, loss = torch.optim.AdamW([w, b], lr=lr, weight_decay=decay), max(1, steps // 20), torch.zeros(())
    for step in range(steps):
        late = 0.5 + 0.5 * math.cos(math.pi * (step - warmup) / (steps - warmup))
        adamw.param_groups[0]["lr"] = lr * ((step + 1) / warmup if step < warmup else late)
        loss = ((torch.relu(x @ w.T @ w + b) - x) ** 2).sum(1).mean()
        adamw.zero_grad()
        loss.backward()
        adamw.step()
    return w.detach().numpy(), b.detach().numpy(), loss.item()


@pytest.mark.parametrize(("count", "n", "m", "density", "steps"), [(6, 40, 2, 0.1, 100), (200, 30, 1, 0.1, 200)])
def test_descent_is_torchs(count, n, m, density, steps):
    """Few points leave features that no point opens; many leave features that all points open, and those between."""
    points = np.stack([draw_points(count, n, density, seed=seed) for seed in (1, 2)])
    made = memorize(points, m, steps=steps, lr=1e-2, decay=0.1, snapshots=2, seed=7)
    begun = (np.random.default_rng(7).normal(size=(2, m, n)) * np.sqrt(2 / (n + m))).astype(np.float32)
    for i in range(2):
        w, b, loss = in_torch(points[i], begun[i], steps, 1e-2, 0.1)
        opened = (points[i] @ w.T @ w + b > 0).mean(0)
        assert (opened == (0 if count < n else 1)).any() and ((0 < opened) & (opened < 1)).any()
        assert np.abs(w - begun[i]).max() > 0.3
        np.testing.assert_allclose(made.W[i], w, atol=2e-5)
        np.testing.assert_allclose(made.b[i], b, atol=2e-5)
        assert made.losses[i, -1] == pytest.approx(loss, abs=1e-5)
        assert loss_on(made.W[i], made.b[i], points[i]) == pytest.approx(loss, abs=1e-3)
    assert (made.kept[:, -1] == made.W).all() and (made.kept[:, 0] != made.W).any()
    assert made.hidden[1, 3] == pytest.approx(made.W[1] @ points[1, 3], abs=1e-5)


def test_points_have_length_one_and_none_is_empty():
    x = draw_points(300, 50, 0.02, seed=3)
    assert np.linalg.norm(x, axis=1) == pytest.approx(np.ones(300), abs=1e-5)
    assert (x > 0).mean() == pytest.approx(0.02 / (1 - 0.98**50), rel=0.1)


def test_corners_of_a_polygon_share_the_plane():
    angle = 2 * np.pi * np.arange(7) / 7
    corners = 3 * np.stack([np.cos(angle), np.sin(angle)], 1)
    assert sample_dimensionality(corners) == pytest.approx(np.full(7, 2 / 7))
    assert sample_dimensionality(np.array([[2.0, 0], [0, 0], [0, 1]])) == pytest.approx([1, 0, 1])


def test_a_model_without_dimensions_is_refused():
    with pytest.raises(BadInput, match="m=0"):
        memorize(draw_points(3, 4, 0.5, seed=0)[None], 0)
