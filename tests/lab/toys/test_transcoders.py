"""Transcoders: the compiled loop against autograd, and what is refused."""

import numpy as np
import pytest
import torch
from numba import njit

from physalis.errors import BadInput
from physalis.lab.toys.transcoders import draw_signed, train_transcoders


@njit
def fill(x, v, seed, density, repeat, directions):
    """What a transcoder of this seed draws: inputs, and a direction after each where it is asked for one."""
    np.random.seed(seed)
    for t in range(len(x)):
        draw_signed(density, repeat, x[t])
        if directions:
            for c in range(x.shape[1]):
                if x[t, c] != 0.0:
                    v[t, c] = 1.0 if np.random.random() < 0.5 else -1.0


@pytest.mark.parametrize("jacobian", [0.0, 0.3])
def test_it_does_what_autograd_does(jacobian):
    d, latents, steps, batch, lr, penalty, repeat, density = 5, 7, 10, 16, 1e-2, 0.1, 0.3, 0.4
    begun, made = (
        train_transcoders(
            repeat=np.array([repeat]), penalty=penalty, jacobian=jacobian, d=d, latents=latents, density=density,
            steps=steps, batch=batch, lr=rate, seed=2,
        )
        for rate in (0.0, lr)
    )  # fmt: skip
    x, v = np.zeros((steps * batch, d)), np.zeros((steps * batch, d))
    fill(x, v, int(np.random.SeedSequence(2).generate_state(1)[0]), density, repeat, jacobian > 0)
    w_in, w_out, b_in, b_out = (
        torch.tensor(part[0], requires_grad=True) for part in (begun.W_in, begun.W_out, begun.b_in, begun.b_out)
    )
    adam, error = torch.optim.Adam([w_in, w_out, b_in, b_out], lr=lr), torch.zeros(())
    for step in range(steps):
        adam.param_groups[0]["lr"] = lr * (1 - step / steps)
        rows, along = (torch.tensor(part.reshape(steps, batch, d)[step]) for part in (x, v))
        f = torch.relu(rows @ w_in.T + b_in)
        error = (f @ w_out + b_out - rows.abs()).square().sum(1).mean()
        tangent = ((f > 0) * (along @ w_in.T)) @ w_out - rows.sign() * along
        price = torch.tanh(f * w_out.norm(dim=1)).sum(1).mean()
        adam.zero_grad()
        (error + penalty * price + jacobian * tangent.square().sum(1).mean()).backward()
        adam.step()
    for ours, theirs in ((made.W_in, w_in), (made.W_out, w_out), (made.b_in, b_in), (made.b_out, b_out)):
        assert np.allclose(ours[0], theirs.detach().numpy(), atol=1e-6)
    assert made.losses[0] == pytest.approx(error.item()) and not np.allclose(made.W_in, begun.W_in, atol=1e-2)
    out = np.maximum(x @ made.W_in[0].T + made.b_in[0], 0) @ made.W_out[0] + made.b_out[0]
    assert np.allclose(made.answers(x)[0], out)


@pytest.mark.parametrize(("d", "latents", "share"), [(2, 4, 0.1), (5, 0, 0.1), (5, 4, 1.5)])
def test_bad_input_is_a_sentence(d, latents, share):
    with pytest.raises(BadInput, match="received"):
        train_transcoders(repeat=np.array([share]), d=d, latents=latents, steps=1)
