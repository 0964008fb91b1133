"""influence: the same as the matrix series that defines it."""

import torch

from physalis.circuits.influence import covering, influence


def test_it_is_the_series():
    """Against w (A + A^2 + ...) with rows that sum to 1, for a random graph without cycles."""
    generator = torch.Generator().manual_seed(0)
    n, sources = 12, 5  # features in three layers, then sources that nothing enters
    layer = torch.arange(n) // 4
    edges = torch.randn(n + 2, n + sources, generator=generator)
    edges[:n, :n] *= layer[:, None] > layer
    square = torch.zeros(n + sources + 2, n + sources + 2)
    square[:n, : n + sources], square[n + sources :, : n + sources] = edges[:n].abs(), edges[n:].abs()
    square = square / square.sum(1, keepdim=True).clamp_min(1e-10)
    w = torch.zeros(n + sources + 2)
    w[-2:] = torch.tensor([0.7, 0.3])
    series = sum(w @ torch.linalg.matrix_power(square, k) for k in range(1, 6))
    columns = torch.cat([torch.arange(n), torch.tensor([-1, -1])])
    levels = torch.cat([layer, torch.tensor([3, 3])])
    found = influence(edges, torch.tensor([0.0] * n + [0.7, 0.3]), columns, levels)
    assert torch.allclose(found, series[: n + sources], atol=1e-6)


def test_covering():
    values = torch.tensor([5.0, 3, 1, 1])
    assert covering(values, 0.5) == 5 and covering(values, 0.8) == 3 and covering(values, 1) == 1
