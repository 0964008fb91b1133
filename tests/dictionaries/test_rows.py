"""Kernels and sparse products against the same thing stated in dense torch."""

import copy

import numpy as np
import pytest
import torch

from physalis.dictionaries.kernels import cpu, rows
from physalis.dictionaries.kernels.rows import Outer, Rows
from physalis.errors import BadInput
from physalis.types import Codes

N, D, F, K = 37, 48, 700, 8


def dense(codes: Codes, features: int) -> torch.Tensor:
    return torch.zeros(len(codes.ids), features).scatter_add(1, codes.ids.long(), codes.values)


@pytest.fixture
def x():
    return torch.randn(N, D, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def weight():
    return Rows(torch.randn(F, D, generator=torch.Generator().manual_seed(1)))


@pytest.fixture
def bias():
    return 0.1 * torch.randn(F, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("features", "k"), [(700, 8), (512, 1), (33, 32), (5000, 40), (1, 1)])
def test_selection_is_the_k_largest_positive(dtype, features, k):
    product = torch.randn(N, features, generator=torch.Generator().manual_seed(3)).to(dtype)
    values, ids = rows._select(product, k)
    wanted = product.float().clamp_min(0).topk(k, dim=1).values
    assert torch.equal(values.sort(dim=1, descending=True).values, wanted)
    positive = values > 0
    assert torch.equal(product.float().gather(1, ids.long())[positive], values[positive])
    for row, used in zip(ids, positive, strict=True):
        assert len(set(row[used].tolist())) == int(used.sum())


def test_selection_keeps_k_of_equal_entries():
    values, ids = rows._select(torch.ones(3, 600), 5)
    assert (values == 1).all()
    assert all(len(set(row.tolist())) == 5 for row in ids)


def test_selection_of_nothing_positive_is_padding():
    values, _ = rows._select(-torch.ones(2, 600), 4)
    assert (values == 0).all()


def test_selection_does_not_depend_on_slices(x, weight, bias, monkeypatch):
    whole = rows.top(x, weight, bias, K)
    monkeypatch.setattr(rows, "PRODUCT_BYTES", 4 * F * 10)
    sliced = rows.top(x, weight, bias, K)
    assert torch.equal(whole.ids, sliced.ids)
    assert torch.allclose(whole.values, sliced.values)


def test_selection_among_some(x, weight, bias):
    among = torch.tensor([3, 50, 51, 699])
    codes = rows.top(x, weight, bias, 2, among=among)
    pre = (x @ weight.data.T + bias)[:, among].clamp_min(0)
    assert torch.allclose(codes.values.sort(dim=1).values, pre.topk(2, dim=1).values.sort(dim=1).values, atol=1e-5)
    assert set(codes.ids[codes.values > 0].tolist()) <= set(among.tolist())


def test_products_and_gradients_match_dense_autograd(x, weight, bias):
    b = bias.clone().requires_grad_()
    x1 = x.clone().requires_grad_()
    decoder, b_dec = Rows(torch.randn(F, D)), torch.randn(D, requires_grad=True)
    codes = rows.differentiable(x1, weight, b, rows.top(x1, weight, b, K))
    out = rows.decode(codes, decoder, b_dec)
    out.square().sum().backward()

    E, W = (p.detach().clone().requires_grad_() for p in (weight, decoder))
    b2, bd2, x2 = (t.detach().clone().requires_grad_() for t in (b, b_dec, x))
    pre = (x2 @ E.T + b2).relu()
    kept = pre * (dense(codes, F) > 0)
    expected = kept @ W + bd2
    expected.square().sum().backward()

    def close(
        a, b
    ):  # against the largest: where a sum of products comes out small they cancelled, their rounding did not
        return (a - b).abs().max() < 1e-5 * b.abs().max()

    assert close(out, expected)
    assert close(sum(rows.outer_sum(o, F) for o in weight.outers), E.grad)
    assert close(sum(rows.outer_sum(o, F) for o in decoder.outers), W.grad)
    assert close(b.grad, b2.grad)
    assert close(b_dec.grad, bd2.grad)
    assert close(x1.grad, x2.grad)


def test_exact_recomputes_values_in_float32(x, weight, bias):
    weight.compute_in(torch.bfloat16)
    codes = rows.exact(x, weight, bias, rows.top(x, weight, bias, K))
    pre = x @ weight.data.T + bias
    used = codes.values > 0
    assert torch.allclose(codes.values[used], pre.gather(1, codes.ids.long())[used], atol=1e-4)


@pytest.mark.parametrize("kept", ["top", "above"])
def test_an_int8_product_ranks_as_the_numbers_that_it_stands_for(x, weight, bias, kept):
    weight.compute_in(torch.int8)
    (q, by), rounded = rows.quantised(x), weight.half.float() * weight.scale[:, None]
    wanted = (q.float() * by[:, None] @ rounded.T + bias).clamp_min(0)
    if kept == "top":
        codes = rows.top(x, weight, bias, K)
        wanted = wanted * (wanted >= wanted.topk(K, dim=1).values[:, -1:])
    else:
        codes = rows.above(x, weight, bias)
    assert torch.allclose(dense(codes, F), wanted, atol=1e-4)
    assert (rounded - weight.data).norm() < 0.02 * weight.data.norm()


def test_products_of_two_int8_numbers_never_saturate():
    for sign in (1, -1):
        x = torch.full((64, 96), 127, dtype=torch.int8)
        w = torch.full((64, 96), sign * rows.most_int8(), dtype=torch.int8)
        assert torch.equal(torch._int_mm(x, w.T).long(), x.long() @ w.long().T)


def test_a_kernel_gives_the_same_bits_with_any_number_of_threads(x, weight):
    import numba

    codes = rows.top(x, weight, torch.zeros(F), K)
    outer = Outer(codes.ids, codes.values, x)
    one, two = [], []
    for threads, results in ((1, one), (2, two)):
        numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
        results += [rows.outer_sum(outer, F), rows.add_rows(codes, weight, torch.zeros(N, D))]
    numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def test_transpose_leaves_padding_out():
    ids = np.array([[1, 2], [2, 0]], np.int32)
    coefficients = np.array([[1.0, 2.0], [3.0, 0.0]], np.float32)
    start, entry = cpu.transpose(ids, coefficients, 4)
    assert start.tolist() == [0, 0, 1, 3, 3]
    assert entry.tolist() == [0, 1, 2]


def test_rows_are_copied_whole(weight):
    weight.compute_in(torch.bfloat16)
    weight.on_sphere = True
    twin = copy.deepcopy(weight)
    assert isinstance(twin, Rows) and twin.on_sphere
    assert torch.equal(twin.data, weight.data) and torch.equal(twin.half, weight.half)
    twin.half.zero_()
    assert weight.half.any()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_gives_what_the_cpu_gives(x, weight, bias):
    codes = rows.top(x, weight, bias, K)
    there = Codes(codes.values.cuda(), codes.ids.cuda())
    moved = Rows(weight.data.cuda())
    assert torch.allclose(
        rows.top(x.cuda(), moved, bias.cuda(), K).values.sort().values.cpu(), codes.values.sort().values
    )
    assert torch.allclose(
        rows.add_rows(there, moved, torch.zeros(N, D, device="cuda")).cpu(),
        rows.add_rows(codes, weight, torch.zeros(N, D)),
        atol=1e-4,
    )
    assert torch.allclose(rows.dot_rows(x.cuda(), there, moved).cpu(), rows.dot_rows(x, codes, weight), atol=1e-4)
    outer = Outer(codes.ids, codes.values, x)
    assert torch.allclose(
        rows.outer_sum(Outer(*(t.cuda() for t in outer)), F).cpu(), rows.outer_sum(outer, F), atol=1e-4
    )


@pytest.mark.parametrize("wrong", [-1, F, 2**31 - 1, -(2**31)])
def test_no_kernel_is_handed_an_id_that_is_no_row(x, weight, wrong):
    codes = Codes(torch.ones(len(x), 2), torch.zeros(len(x), 2, dtype=torch.int32))
    codes.ids[3, 1] = wrong
    outer = rows.Outer(codes.ids, codes.values, x)
    for use in (
        lambda: rows.add_rows(codes, weight, torch.zeros_like(x)), lambda: rows.dot_rows(x, codes, weight),
        lambda: rows.outer_sum(outer, F),
    ):  # fmt: skip
        with pytest.raises(BadInput, match=f"Feature {wrong} was asked for, and there are {F}"):
            use()
