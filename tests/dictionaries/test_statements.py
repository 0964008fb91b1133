"""Gradients of the sparse losses against the same losses stated densely in plain torch."""

import torch
from test_dictionaries import F, K, N, alive, make, some

from physalis import dictionaries
from physalis.dictionaries.kernels import rows
from physalis.types import Batch


def dense(d, x):
    """Pre-activations, codes not yet chosen."""
    return x @ d.enc.T + d.b_enc


def gradients(d):
    return {
        name: (0 if p.grad is None else p.grad) + sum(rows.outer_sum(o, len(p)) for o in getattr(p, "outers", []))
        for name, p in d.named_parameters()
    }


def compare(d, twin, loss, tolerance=1e-4):
    """Gradients of the sparse loss on ``d`` against those of a dense statement of the same on ``twin``."""
    sum(loss.terms.values()).backward()
    ours = gradients(d)
    for name, p in twin.named_parameters():
        wanted = torch.zeros_like(p) if p.grad is None else p.grad
        assert torch.allclose(ours[name], wanted, atol=tolerance * float(wanted.abs().max() + 1e-3)), name


def test_l1_is_the_dense_statement():
    d, twin, x = make(dictionaries.L1), make(dictionaries.L1), some()
    loss = d.loss(Batch(x, x), alive())
    codes = dense(twin, x).relu()
    weight = twin.asked((codes > 0).sum() / N, K)
    mse = (codes @ twin.dec + twin.b_dec - x).square().mean()
    (mse + weight * (codes * twin.dec.norm(dim=1)).sum() / x.numel()).backward()
    compare(d, twin, loss)


def test_gated_is_the_dense_statement():
    d, twin, x = make(dictionaries.Gated), make(dictionaries.Gated), some()
    for each in (d, twin):
        each.r_mag.data += torch.linspace(-0.5, 0.5, F)
    loss = d.loss(Batch(x, x), alive())
    gate = dense(twin, x)
    codes = (twin.r_mag.exp() * (x @ twin.enc.T) + twin.b_mag).relu() * (gate > 0)
    weight = twin.asked((codes > 0).sum() / N, K)
    mse = (codes @ twin.dec + twin.b_dec - x).square().mean()
    by_gate = (gate.relu() @ twin.dec.detach() + twin.b_dec.detach() - x).square().mean()
    (mse + weight * gate.relu().sum() / x.numel() + by_gate).backward()
    compare(d, twin, loss)


def test_jumprelu_is_the_dense_statement():
    """Rajamanoharan et al. 2024, eqs. 11 and 12, with a rectangular kernel; four times K asked for at the beginning."""
    d, twin, x = (make(dictionaries.JumpReLU, aux_weight=0) for _ in range(2)), None, some()
    d, twin = d
    loss = d.loss(Batch(x, x), alive())
    pre = dense(twin, x)
    fires = (pre > twin.threshold).float()
    inside = ((pre - twin.threshold).abs() < twin.width / 2).float() / twin.width
    codes = (pre * fires).requires_grad_()
    codes.retain_grad()
    mse = (codes @ twin.dec + twin.b_dec - x).square().mean()
    mse.backward(retain_graph=True)
    l0 = fires.sum() / N
    twin.threshold.grad = -(inside * (twin.threshold * codes.grad + twin.asked(l0, 4 * K) / (K * N))).sum(0).detach()
    compare(d, twin, loss)


def test_matryoshka_is_the_dense_statement():
    d, twin, x = (make(dictionaries.Matryoshka, aux_weight=0) for _ in range(2)), None, some()
    d, twin = d
    loss = d.loss(Batch(x, x), alive())
    pre = dense(twin, x)
    kept = torch.zeros(N, F).scatter_add(1, loss.codes.ids.long(), (loss.codes.values > 0).float())
    prefixes = [((pre * kept)[:, :w] @ twin.dec[:w] + twin.b_dec - x).square().mean() for w in d.widths]
    sum(prefixes).backward()
    compare(d, twin, loss)
