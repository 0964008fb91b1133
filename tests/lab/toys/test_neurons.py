"""Neurons: the compiled loop against the dense statement of what it does, and what is refused."""

import numpy as np
import pytest
import torch
from numba import njit

from physalis.errors import BadInput
from physalis.lab.toys.descent import draw
from physalis.lab.toys.inputs import independent
from physalis.lab.toys.neurons import train_absolutes, train_stores

TRAINERS = {"tied": (train_stores, 0.0), "untied": (train_absolutes, -1.0)}


@njit
def fill(x, seed, start, one_of, density, low):
    """The inputs that a model of this seed draws."""
    np.random.seed(seed)
    ids, values = np.zeros(x.shape[1], np.int64), np.zeros(x.shape[1])
    for t in range(len(x)):
        there = draw(start, one_of, density, ids, values)
        for j in range(there):
            x[t, ids[j]] = low + (1 - low) * values[j]


@pytest.mark.parametrize("kind", TRAINERS)
def test_it_does_what_the_dense_statement_does(kind):
    """Autograd and Adam on the very inputs that the loop draws, from the very start."""
    train, low = TRAINERS[kind]
    n, m, steps, batch, lr = 5, 3, 10, 16, 1e-2
    density, importance = np.full((1, n), 0.4), 1e4 * 0.7 ** np.arange(n)  # great, so that no epsilon is felt
    begun = train(m, density, importance, steps=steps, batch=batch, lr=0.0, seed=3)
    made = train(m, density, importance, steps=steps, batch=batch, lr=lr, seed=3)
    x, inputs = np.zeros((steps * batch, n)), independent(density)
    fill(x, int(np.random.SeedSequence(3).generate_state(1)[0]), inputs.start, inputs.one_of, density[0], low)
    w_in, b = (torch.tensor(part[0], requires_grad=True) for part in (begun.W_in, begun.b))
    w_out = w_in if kind == "tied" else torch.tensor(begun.W_out[0], requires_grad=True)
    adam = torch.optim.Adam([b, w_in] if kind == "tied" else [b, w_in, w_out], lr=lr)
    loss = torch.zeros(())
    for step, rows in enumerate(torch.tensor(x).reshape(steps, batch, n)):
        adam.param_groups[0]["lr"] = lr * (1 - step / steps)
        out = torch.relu(torch.relu(rows @ w_in.T) @ w_out + b)
        loss = (torch.tensor(importance) * (out - rows.abs()).square()).sum(1).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
    for ours, theirs in ((made.W_in, w_in), (made.W_out, w_out), (made.b, b)):
        assert np.allclose(ours[0], theirs.detach().numpy(), atol=1e-6)
    assert not np.allclose(made.W_in, begun.W_in, atol=1e-2) and (made.W_in is made.W_out) == (kind == "tied")
    assert made.losses[0] == pytest.approx(loss.item())  # the last tenth is the last step


def test_answers_and_their_loss_are_the_forward_pass():
    made = train_absolutes(4, np.full((2, 3), 0.5), np.ones(3), steps=30, seed=1)
    x = np.random.default_rng(0).uniform(-1, 1, (20_000, 3)) * (np.random.default_rng(1).random((20_000, 3)) < 0.5)
    told = made.answers(x, 1)
    by_hand = np.maximum(np.maximum(x[0] @ made.W_in[1].T, 0) @ made.W_out[1] + made.b[1], 0)
    assert told[0] == pytest.approx(by_hand)
    assert made.measured(samples=50_000)[1] == pytest.approx(np.square(told - np.abs(x)).sum(1).mean(), rel=0.05)


def test_the_same_arguments_give_the_same_bytes():
    one, two = (train_stores(2, np.full((3, 5), 0.2), np.ones(5), steps=20, seed=1) for _ in range(2))
    assert one.W_in.tobytes() == two.W_in.tobytes()


@pytest.mark.parametrize(
    ("m", "density"), [(0, np.full((1, 3), 0.5)), (2, np.full((1, 3), 1.5)), (2, np.zeros((0, 3)))]
)
def test_bad_input_is_a_sentence(m, density):
    with pytest.raises(BadInput, match="received"):
        train_stores(m, density, np.ones(3))
