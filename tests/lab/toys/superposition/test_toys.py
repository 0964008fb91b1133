"""Toys: the compiled loop against the dense statement of what it does, what the models become, and what is refused."""

import numpy as np
import pytest
import torch
from numba import njit

from physalis.errors import BadInput
from physalis.lab.toys import (
    anticorrelated,
    boundary,
    closed_form,
    correlated,
    dimensionality,
    dimensions_per_feature,
    interference,
    optimum,
    represented,
    train_toys,
)
from physalis.lab.toys.descent import draw
from physalis.lab.toys.inputs import Inputs, independent
from physalis.lab.toys.superposition.phases import losses_of, phase_diagram


@njit
def begin(seed: int) -> None:
    """Seed the generator that compiled code draws from."""
    np.random.seed(seed)


@njit
def fill(x, start, one_of, density):
    """Draw every row of x."""
    ids, values = np.zeros(x.shape[1], np.int64), np.zeros(x.shape[1])
    for t in range(len(x)):
        there = draw(start, one_of, density, ids, values)
        for j in range(there):
            x[t, ids[j]] = values[j]


def drawn(inputs: Inputs, n: int) -> np.ndarray:
    """n inputs of the first instance, dense."""
    x = np.zeros((n, inputs.n))
    fill(x, inputs.start, inputs.one_of, inputs.density[0])
    return x


def test_features_come_as_often_as_asked_and_in_their_sets():
    x = drawn(independent(np.array([[0.1, 0.5, 1.0]])), 4_000)
    assert (x > 0).mean(0) == pytest.approx([0.1, 0.5, 1.0], abs=0.03) and x[:, 2].mean() == pytest.approx(
        0.5, abs=0.02
    )
    together = drawn(correlated(2, 2, np.array([0.3])), 4_000) > 0
    assert (together[:, 0] == together[:, 1]).all() and (together[:, 0] != together[:, 2]).any()
    apart = drawn(anticorrelated(2, 2, np.array([0.3])), 4_000) > 0
    assert not (apart[:, 0] & apart[:, 1]).any() and apart.mean(0) == pytest.approx([0.15] * 4, abs=0.03)


def steps_in_torch(toys, x, lr):
    """Adam on the batches x [steps, batch, n], the rate falling to 0, from the start that ``toys`` had."""
    w, b = (torch.tensor(part[0], requires_grad=True) for part in (toys.W, toys.b))
    adam = torch.optim.Adam([w, b], lr=lr)
    for step, batch in enumerate(torch.tensor(x)):
        adam.param_groups[0]["lr"] = lr * (1 - step / len(x))
        out = batch @ w.T @ w + b
        loss = (
            (torch.tensor(toys.importance[0]) * (batch - (out.relu() if toys.relu[0] else out)).square()).sum(1).mean()
        )
        adam.zero_grad()
        loss.backward()
        adam.step()
    return w.detach().numpy()


@pytest.mark.parametrize("relu", [True, False])
def test_it_does_what_the_dense_statement_does(relu):
    """On the very inputs that the loop draws, which follow from the instance's seed."""
    steps, batch, n, lr = 12, 16, 5, 1e-2
    inputs, importance = independent(np.full((1, n), 0.4)), 0.7 ** np.arange(n)
    options = dict(relu=relu, steps=steps, batch=batch, seed=3)
    start = train_toys(2, inputs, importance, lr=0.0, **options)
    trained = train_toys(2, inputs, importance, lr=lr, **options)
    begin(int(np.random.SeedSequence(3).generate_state(1)[0]))
    x = drawn(inputs, steps * batch).reshape(steps, batch, n)
    assert np.allclose(trained.W[0], steps_in_torch(start, x, lr), atol=1e-6)
    assert not np.allclose(trained.W[0], start.W[0], atol=1e-2)


def test_the_same_arguments_give_the_same_bytes():
    one, two = (train_toys(2, np.full((3, 5), 0.2), steps=20, seed=1) for _ in range(2))
    assert one.W.tobytes() == two.W.tobytes()
    other = train_toys(2, np.full((3, 5), 0.2), steps=20, seed=2)
    assert one.W.tobytes() != other.W.tobytes()


def test_a_linear_model_keeps_the_most_important():
    toys = train_toys(2, np.full((1, 6), 0.1), 0.5 ** np.arange(6), relu=False, steps=2_000, batch=256)
    assert represented(toys.W)[0].tolist() == [True] * 2 + [False] * 4
    assert dimensions_per_feature(toys.W)[0] == pytest.approx(1, abs=0.05)


def test_snapshots_end_with_the_weights_and_losses_fall():
    toys = train_toys(2, np.full((2, 5), 0.1), steps=1_000, batch=128, snapshots=10)
    assert np.array_equal(toys.kept[:, -1], toys.W) and (toys.losses[:, -1] < toys.losses[:, 0]).all()
    assert toys.measured(samples=20_000) == pytest.approx(toys.losses[:, -1], rel=0.15)


def test_dimensionality_of_known_shapes():
    around = np.arange(5) * 2 * np.pi / 5
    pentagon = np.stack([np.cos(around), np.sin(around)])[None]
    assert dimensionality(pentagon)[0] == pytest.approx([2 / 5] * 5)
    pairs = np.array([[[1.0, -1, 0, 0], [0, 0, 1, -1]]])
    assert dimensionality(pairs)[0] == pytest.approx([1 / 2] * 4) and interference(pairs)[0] == pytest.approx([1] * 4)
    assert dimensionality(np.zeros((1, 2, 3)))[0] == pytest.approx([0] * 3)


def test_the_optimum_is_where_arithmetic_puts_it():
    assert closed_form(np.array([0.1, 1, 10])) == pytest.approx([0.16, 4 / 7, 0.16])
    assert boundary(2.0) == pytest.approx(0.482, abs=0.02) and boundary(0.5) == pytest.approx(boundary(2.0), abs=0.01)
    p, r = 0.3, 2.0  # two of length 1 in opposite directions, without bias: (1 + r) p^2 / 6
    loss = losses_of(np.array([[1.0, -1.0]]), np.zeros((1, 2)), np.array([r]), np.array([p]))[0]
    assert loss == pytest.approx((1 + r) * p**2 / 6, rel=1e-3) and optimum(r, p)[0] <= loss


@pytest.mark.slow
def test_a_small_phase_diagram():
    diagram = phase_diagram(grid=4, seeds=4, steps=1_500)
    assert diagram.best.shape == (4, 4) and (diagram.best[:, 0] == 2).all()  # sparse: opposite directions
    exact = min(optimum(diagram.r[2], diagram.p[1])[0], 1)
    assert diagram.losses[2, 1].min() >= exact - 1e-4


@pytest.mark.parametrize("density", [np.full((1, 3), 1.5), np.full((0, 3), 0.5)])
def test_bad_input_is_a_sentence(density):
    with pytest.raises(BadInput, match="received"):
        train_toys(2, density)
