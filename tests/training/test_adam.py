"""Our Adam against torch's, dense and in factors; directions stay at length 1."""

import pytest
import torch

from physalis.dictionaries.kernels import rows
from physalis.dictionaries.kernels.rows import Rows
from physalis.training.adam import Adam


def test_it_takes_torchs_steps_on_outer_gradients():
    x, ids = torch.randn(30, 16), torch.randint(0, 50, (30, 4), dtype=torch.int32)
    ours = Rows(torch.randn(50, 16))
    ours.compute_in(torch.bfloat16)
    theirs = torch.nn.Parameter(ours.data.clone())
    a, b = Adam([("w", ours)]), torch.optim.Adam([theirs], lr=1e-2)
    for step in range(5):
        values = torch.randn(30, 4, generator=torch.Generator().manual_seed(step)).abs()
        second = rows.Outer(ids[:, :1].contiguous(), values[:, :1].contiguous(), x.flip(0))
        ours.outers += [rows.Outer(ids, values, x), second]
        theirs.grad = sum(rows.outer_sum(o, 50) for o in ours.outers)
        a.step(1e-2)
        b.step()
    assert torch.allclose(ours, theirs, atol=1e-5)
    assert torch.equal(ours.half, ours.data.bfloat16())
    assert not ours.outers


def test_an_int8_copy_follows_the_rows():
    ours = Rows(torch.randn(50, 16))
    ours.compute_in(torch.int8)
    adam = Adam([("w", ours)])
    ours.errors()
    for seed in range(3):
        values = torch.randn(30, 4, generator=torch.Generator().manual_seed(seed)).abs()
        ours.outers.append(rows.Outer(torch.randint(0, 50, (30, 4), dtype=torch.int32), values, torch.randn(30, 16)))
        adam.step(0.1)
    numbers, scale = rows.quantised(ours.data, rows.most_int8())
    assert torch.equal(ours.half, numbers) and torch.equal(ours.scale, scale)
    assert torch.allclose(ours.half * ours.scale[:, None], ours.data, atol=0.6 * float(scale.max()))
    assert torch.allclose(ours.errors()[0], ours.data.norm(dim=1)), "what was measured before the steps is forgotten"


def test_it_takes_torchs_steps_on_dense_gradients():
    ours, theirs = (torch.nn.Parameter(torch.ones(7)) for _ in range(2))
    a, b = Adam([("b", ours)]), torch.optim.Adam([theirs], lr=1e-2)
    for step in range(5):
        for p in (ours, theirs):
            p.grad = torch.arange(7.0) - step
        a.step(1e-2)
        b.step()
    assert torch.allclose(ours, theirs, atol=1e-6)
    assert ours.grad is None


def test_dense_and_outer_gradients_add_up():
    w, twin = Rows(torch.randn(9, 5)), None
    twin = Rows(w.data.clone())
    outer = rows.Outer(torch.tensor([[1], [8]], dtype=torch.int32), torch.ones(2, 1), torch.randn(2, 5))
    w.outers.append(outer)
    w.grad = torch.ones(9, 5)
    twin.grad = torch.ones(9, 5) + rows.outer_sum(outer, 9)
    Adam([("w", w)]).step(0.1)
    Adam([("w", twin)]).step(0.1)
    assert torch.allclose(w, twin)


@pytest.mark.parametrize("fused", [True, False])
def test_directions_stay_at_length_1(fused):
    w = Rows(torch.nn.functional.normalize(torch.randn(20, 6), dim=1))
    w.on_sphere = True
    adam = Adam([("w", w)])
    for _ in range(10):
        w.grad = torch.randn(20, 6)
        if fused:
            adam.step(0.1)
        else:
            adam.steps += 1
            with torch.no_grad():
                adam._dense(w, adam.m["w"], adam.v["w"], 0.1, 1.0, 1.0)
    assert torch.allclose(w.norm(dim=1), torch.ones(20), atol=1e-5)


def test_a_saved_state_goes_on_exactly():
    w = Rows(torch.randn(5, 3))
    a = Adam([("w", w)])
    w.grad = torch.ones(5, 3)
    a.step(0.1)
    twin = Rows(w.data.clone())
    b = Adam([("w", twin)])
    b.load({name: value.clone() for name, value in a.state().items()}, a.steps)
    for p, adam in ((w, a), (twin, b)):
        p.grad = torch.full((5, 3), 2.0)
        adam.step(0.1)
    assert torch.equal(w, twin)
