"""Wide: the compiled rows against the dense statement of what they do, on the very inputs that they draw."""

import numpy as np
import pytest
import torch
from numba import njit

from physalis.errors import BadInput
from physalis.lab.toys import dimensionality, represented
from physalis.lab.toys.superposition.wide import BITS, draw_row, train_wide

N, M, BATCH, STEPS = 40, 3, 16, 12


@njit
def fill(x, lanes, gate):
    """Draw every row of x."""
    for t in range(len(x)):
        draw_row(lanes, gate, x[t])


def drawn(density: float, rows: int, seed: int) -> np.ndarray:
    """What the first instance reads, of 64 places for 40 features."""
    lanes = np.random.SeedSequence(seed).generate_state(64, np.uint64) | np.uint64(1)
    gate = np.zeros(64, np.int32)
    gate[:N] = round(density * 2**BITS)
    x = np.zeros((rows, 64), np.float32)
    fill(x, lanes, gate)
    assert not x[:, N:].any()
    return x[:, :N]


def test_features_come_as_often_as_asked():
    x = drawn(0.3, 5_000, 1)
    assert (x > 0).mean(0) == pytest.approx(np.full(N, 0.3), abs=0.035)
    assert x[x > 0].mean() == pytest.approx(0.5, abs=0.01)
    assert np.abs(np.corrcoef(x.T) - np.eye(N)).max() < 0.07  # neighbours know nothing of each other
    assert (drawn(1.0, 100, 1) > 0).mean() > 0.99


@pytest.mark.parametrize("relu", [True, False])
def test_it_does_what_the_dense_statement_does(relu):
    density, lr = np.full((1, N), 0.4), 1e-2
    start, toys = (train_wide(M, density, relu=relu, steps=STEPS, batch=BATCH, lr=r, seed=3) for r in (0.0, lr))
    w, b = (torch.tensor(part[0], requires_grad=True) for part in (start.W, start.b))
    adam = torch.optim.Adam([w, b], lr=lr)
    for step, x in enumerate(torch.tensor(drawn(0.4, STEPS * BATCH, 3).reshape(STEPS, BATCH, N), dtype=torch.float64)):
        adam.param_groups[0]["lr"] = lr * (1 - step / STEPS)
        out = x @ w.T @ w + b
        loss = (x - (out.relu() if relu else out)).square().sum(1).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
    assert np.allclose(toys.W[0], w.detach().numpy(), atol=1e-4)
    assert not np.allclose(toys.W[0], start.W[0], atol=1e-2)
    assert np.array_equal(toys.kept[:, -1], toys.W) and np.array_equal(toys.kept_b[:, -1], toys.b)


def test_pairs_form_and_instances_are_their_own():
    toys = train_wide(3, np.full((2, 12), 0.3), steps=2_000, batch=128, lr=1e-2)
    d = dimensionality(toys.W)[0][represented(toys.W)[0]]
    assert len(d) == 6 and d == pytest.approx(np.full(6, 0.5), abs=0.05)
    alone = train_wide(3, np.full((1, 12), 0.3), steps=50, batch=16)
    assert np.array_equal(alone.W[0], train_wide(3, np.full((2, 12), 0.3), steps=50, batch=16).W[0])


def test_no_dimensions_is_a_sentence():
    with pytest.raises(BadInput, match="received"):
        train_wide(0, np.full((1, 3), 0.5))
