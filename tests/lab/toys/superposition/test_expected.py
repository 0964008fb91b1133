"""Expected: the loss by arithmetic against what sampling measures, its gradient against differences, and its minima."""

import numpy as np
import pytest

from physalis.lab.toys import train_toys
from physalis.lab.toys.superposition.expected import descend_from, expect, expected, points


def test_every_combination_has_its_chance():
    at = points(3)
    density = np.array([0.1, 0.5, 1.0])
    assert at.chances(density).sum() == pytest.approx(1)
    weight = at.chances(density)[at.case] * at.share
    assert weight.sum() == pytest.approx(1) and weight @ (at.x > 0) == pytest.approx(density)
    assert weight @ at.x == pytest.approx(density / 2)


def test_it_is_what_sampling_measures():
    toys = train_toys(2, np.full((1, 5), 0.3), 0.8 ** np.arange(5), steps=200, batch=64)
    loss = expected(toys.W[0], toys.b[0], toys.importance[0], np.full(5, 0.3), points(5))
    assert loss == pytest.approx(toys.measured(samples=400_000)[0], rel=0.01)


def test_its_gradient_is_that_of_differences():
    rng = np.random.default_rng(0)
    at, w, b = points(3), rng.normal(size=(2, 3)), rng.normal(size=3) * 0.1
    weight, importance = at.chances(np.full(3, 0.4))[at.case] * at.share, np.array([1, 0.5, 2])
    g_w, g_b = np.zeros((2, 3)), np.zeros(3)

    def loss(moved_w, moved_b):
        return expect(moved_w, moved_b, importance, at.x, weight, np.zeros((2, 3)), np.zeros(3))

    expect(w, b, importance, at.x, weight, g_w, g_b)
    way_w, way_b, small = rng.normal(size=(2, 3)), rng.normal(size=3), 1e-5
    ahead, behind = (loss(w + s * small * way_w, b + s * small * way_b) for s in (1, -1))
    assert (g_w * way_w).sum() + g_b @ way_b == pytest.approx((ahead - behind) / (2 * small), rel=1e-3)


def test_a_pentagon_stays_one():
    around = np.arange(5) * 2 * np.pi / 5
    start = np.stack([np.cos(around), np.sin(around)])
    found = descend_from(start, np.full(5, -0.1), np.ones(5), np.full(5, 0.05), points(5))
    unit = found.W / np.linalg.norm(found.W, axis=0)
    assert unit[:, 0] @ unit[:, 1] == pytest.approx(np.cos(2 * np.pi / 5), abs=1e-3)
    assert np.linalg.norm(found.W, axis=0).min() > 1.05  # not on the unit circle: biases are made up for
