"""Rows: a weight with one row a feature, and the sparse products through it that autograd understands.

The gradient of such a weight is an outer product of codes and vectors. Writing it out costs more than everything else
in the backward pass, so it is not: each product leaves an ``Outer`` on the weight, and the optimiser reads it. Ordinary
dense gradients (``.grad``) work beside it, so an architecture may use plain torch wherever it likes.
"""

from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from physalis.dictionaries import kernels
from physalis.types import Codes

gpu: Any = None
"""The kernels for a GPU where there is one and Triton is at hand; plain torch does the same without."""
if torch.cuda.is_available() and find_spec("triton") is not None:
    gpu = import_module("physalis.dictionaries.triton_kernels")

_PRODUCT_BYTES = 128 << 20  # of the encoder product held at a time; a larger batch goes in slices


class Outer(NamedTuple):
    """A gradient in factors: row f receives the sum of ``coefficients[t, j] * vectors[t]`` over ``ids[t, j] == f``, or
    of ``vectors[at[t, j]]`` where ``at`` is given. Entries whose coefficient is 0 are no entries."""

    ids: Int[Tensor, "tokens k"]
    coefficients: Float[Tensor, "tokens k"]
    vectors: Float[Tensor, "vectors d"]
    at: Int[Tensor, "tokens k"] | None = None


class Rows(torch.nn.Parameter):
    """A float32 weight [features, d]. ``half`` is its bfloat16 copy where products are taken in bfloat16."""

    outers: list[Outer]
    half: Tensor | None
    on_sphere: bool
    """Whether the optimiser keeps every row at length 1."""

    def __new__(cls, data: Tensor) -> "Rows":
        rows = torch.Tensor._make_subclass(cls, data.contiguous(), True)
        rows.outers, rows.half, rows.on_sphere = [], None, False
        return rows

    def __deepcopy__(self, memo: dict[int, Any]) -> "Rows":
        copy = Rows(self.data.clone())
        copy.on_sphere = self.on_sphere
        copy.half = None if self.half is None else self.half.clone()
        memo[id(self)] = copy
        return copy

    def compute_in(self, dtype: torch.dtype) -> None:
        """Take encoder products in ``dtype``; bfloat16 keeps a rounded copy beside the float32 rows."""
        self.half = self.data.to(dtype) if dtype != torch.float32 else None

    def refresh(self) -> None:
        """Call after changing the data by hand: renews the rounded copy."""
        if self.half is not None:
            self.half.copy_(self.data)


_buffers: dict[tuple[torch.device, torch.dtype], Tensor] = {}


def _buffer(n: int, features: int, like: Tensor) -> Tensor:
    """A reused array for the encoder product: allocating it anew costs more than selecting from it."""
    key = (like.device, like.dtype)
    if key not in _buffers or _buffers[key].numel() < n * features:
        _buffers[key] = torch.empty(n * features, device=like.device, dtype=like.dtype)
    return _buffers[key][: n * features].view(n, features)


def release_buffers() -> None:
    """Give back the memory kept between encoder products."""
    _buffers.clear()


def _select(product: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest positive entries of each row: (values float32, ids int32)."""
    n = product.shape[0]
    if product.device.type == "cpu":
        bits = torch.int16 if product.dtype == torch.bfloat16 else torch.int32
        values = torch.empty((n, k), dtype=product.dtype)
        ids = torch.empty((n, k), dtype=torch.int32)
        kernels.select_top(product.view(bits).numpy(), k, ids.numpy(), values.view(bits).numpy())
        return values.float(), ids
    if gpu is not None and product.is_cuda:
        return gpu.select_top(product, k)
    values, ids = product.topk(k, dim=1, sorted=False)
    return values.float().clamp_min_(0), ids.int()


def _select_positive(product: Tensor) -> tuple[Tensor, Tensor]:
    """Every positive entry of each row: (values float32, ids int32), 0 pads."""
    if product.device.type == "cpu":
        bits = product.view(torch.int16 if product.dtype == torch.bfloat16 else torch.int32).numpy()
        counts = torch.empty(len(product), dtype=torch.int32)
        kernels.count_positive(bits, counts.numpy())
        shape = (len(product), max(1, int(counts.max()) if len(counts) else 1))
        values, ids = torch.empty(shape, dtype=product.dtype), torch.empty(shape, dtype=torch.int32)
        kernels.select_positive(
            bits, ids.numpy(), values.view(torch.int16 if bits.itemsize == 2 else torch.int32).numpy()
        )
        return values.float(), ids
    width = max(1, int((product > 0).sum(1).max()))
    values, ids = product.topk(width, dim=1, sorted=False)
    return values.float().clamp_min_(0), ids.int()


@torch.no_grad()
def top(
    x: Float[Tensor, "tokens d"], rows: Rows, bias: Float[Tensor, " features"], k: int, among: Tensor | None = None
) -> Codes:
    """The k largest positive ``x @ rows.T + bias`` of each token; products in ``rows.half``'s dtype.

    ``among`` restricts the choice to those ids, and multiplies only their rows.
    """
    weight = rows.data if rows.half is None else rows.half
    if among is not None:
        # padded to few different sizes: the product keeps what it prepared for every size that it meets
        pad = -len(among) % 256
        weight = torch.cat([weight[among], weight.new_zeros(pad, weight.shape[1])])
        bias = torch.cat([bias[among], bias.new_full((pad,), -1.0)])
    k = min(k, len(weight))
    found = [_select(product, k) for product in _products(x, weight, bias)]
    values, ids = torch.cat([v for v, _ in found]), torch.cat([i for _, i in found])
    if among is not None:
        ids = among.int()[ids.long().clamp_max(len(among) - 1)]  # a plain top k may name padding, with the value 0
    return Codes(values, ids)


@torch.no_grad()
def above(x: Float[Tensor, "tokens d"], rows: Rows, bias: Float[Tensor, " features"]) -> Codes:
    """Every positive ``x @ rows.T + bias`` of each token, by ascending id, in as many columns as the fullest token
    needs; products in ``rows.half``'s dtype."""
    weight = rows.data if rows.half is None else rows.half
    found = [_select_positive(product) for product in _products(x, weight, bias)]
    width = max(values.shape[1] for values, _ in found)
    pad = torch.nn.functional.pad
    values, ids = (torch.cat([pad(each[i], (0, width - each[i].shape[1])) for each in found]) for i in (0, 1))
    return Codes(values, ids)


def _products(x: Tensor, weight: Tensor, bias: Tensor) -> Iterator[Tensor]:
    """``x @ weight.T + bias`` in slices, each valid until the next: they share one buffer."""
    n, features = x.shape[0], weight.shape[0]
    x, b = x.to(weight.dtype), bias.to(weight.dtype)
    zero_bias = not bool(bias.any())
    size = max(1, min(n, _PRODUCT_BYTES // (features * weight.element_size())))
    for piece in x.split(size):
        product = _buffer(len(piece), features, weight)
        if zero_bias:
            torch.mm(piece, weight.T, out=product)
        else:
            torch.addmm(b, piece, weight.T, out=product)
        yield product


@torch.no_grad()
def add_rows(codes: Codes, rows: Tensor, out: Float[Tensor, "tokens d"]) -> Float[Tensor, "tokens d"]:
    """``out[t] += sum_j values[t, j] * rows[ids[t, j]]``, in place; returns ``out``."""
    if out.device.type == "cpu":
        kernels.add_rows(codes.values.detach().numpy(), codes.ids.numpy(), rows.detach().numpy(), out.numpy())
        return out
    if gpu is not None and out.is_cuda and out.is_contiguous():
        gpu.add_rows(codes.values.detach(), codes.ids, rows.detach(), out)
        return out
    ids, values = codes.ids.long(), codes.values.to(rows.dtype)
    return out.add_(torch.nn.functional.embedding_bag(ids, rows.detach(), per_sample_weights=values, mode="sum"))


@torch.no_grad()
def dot_rows(vectors: Float[Tensor, "tokens d"], codes: Codes, rows: Tensor) -> Float[Tensor, "tokens k"]:
    """``vectors[t] . rows[ids[t, j]]`` wherever a code is not 0, else 0: a dense product at the codes' pattern only."""
    if vectors.device.type == "cpu":
        out = torch.empty_like(codes.values)
        values = codes.values.detach().numpy()
        kernels.dot_rows(vectors.contiguous().numpy(), codes.ids.numpy(), values, rows.detach().numpy(), out.numpy())
        return out
    if gpu is not None and vectors.is_cuda:
        return gpu.dot_rows(vectors, codes.ids, codes.values.detach(), rows.detach())
    size = max(1, _PRODUCT_BYTES // (codes.ids.shape[1] * rows.shape[1] * 4))
    pieces = [
        torch.einsum("nd,nkd->nk", x, rows.detach()[i.long()])
        for x, i in zip(vectors.split(size), codes.ids.split(size), strict=True)
    ]
    return torch.cat(pieces) * (codes.values != 0)


@torch.no_grad()
def outer_sum(outer: Outer, features: int) -> Float[Tensor, "features d"]:
    """An Outer written out as a dense gradient."""
    out = torch.zeros((features, outer.vectors.shape[1]), device=outer.vectors.device)
    if out.device.type == "cpu":
        coefficients = outer.coefficients.numpy()
        start, entry = kernels.transpose(outer.ids.numpy(), coefficients, features)
        kernels.add_outer(start, entry, coefficients, at_rows(outer), outer.vectors.numpy(), out.numpy())
        return out
    if gpu is not None and out.is_cuda:
        gpu.add_outer(outer.ids, outer.coefficients, outer.at, outer.vectors, out)
        return out
    if outer.at is not None:
        used = outer.coefficients != 0
        shares = outer.coefficients[used, None] * outer.vectors[outer.at[used].long()]
        return out.index_add_(0, outer.ids[used].long(), shares)
    n, k = outer.ids.shape
    crow = torch.arange(0, n * k + 1, k, device=out.device)
    codes = torch.sparse_csr_tensor(crow, outer.ids.long().flatten(), outer.coefficients.flatten(), (n, features))
    return codes.to_sparse_coo().T.to_sparse_csr() @ outer.vectors


def at_rows(outer: Outer) -> np.ndarray:
    """``outer.at`` for the kernels, which read no rows as each token's own vector."""
    return np.zeros((0, 0), np.int32) if outer.at is None else outer.at.numpy()


class _Values(torch.autograd.Function):
    """Makes selected values differentiable: towards the encoder's rows, its bias and, where asked, the input."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: Rows, bias: Tensor, values: Tensor, ids: Tensor) -> Tensor:
        ctx.rows, ctx.n = rows, bias.shape[0]
        ctx.save_for_backward(x, values, ids)
        return values.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, values, ids = ctx.saved_tensors
        coefficients = grads[0] * (values != 0)
        if ctx.rows.requires_grad:
            ctx.rows.outers.append(Outer(ids, coefficients, x.detach().contiguous()))
        g_bias = g_x = None
        if ctx.needs_input_grad[2]:
            g_bias = torch.zeros(ctx.n, device=x.device)
            g_bias.index_add_(0, ids.flatten().long(), coefficients.flatten())
        if ctx.needs_input_grad[0]:
            g_x = add_rows(Codes(coefficients, ids), ctx.rows, torch.zeros_like(x))
        return g_x, None, g_bias, None, None


class _Decode(torch.autograd.Function):
    """codes @ rows + bias, with the rows' gradient left as an Outer."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, ids: Tensor, rows: Rows, bias: Tensor) -> Tensor:
        ctx.rows = rows
        ctx.save_for_backward(values, ids)
        out = bias.detach().repeat(ids.shape[0], 1)
        return add_rows(Codes(values, ids), rows, out)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        values, ids = ctx.saved_tensors
        g = grads[0].contiguous()
        g_values = dot_rows(g, Codes(values, ids), ctx.rows) if ctx.needs_input_grad[0] else None
        if ctx.rows.requires_grad:
            ctx.rows.outers.append(Outer(ids, values, g))
        return g_values, None, None, g.sum(0) if ctx.needs_input_grad[3] else None


def differentiable(x: Float[Tensor, "tokens d"], rows: Rows, bias: Float[Tensor, " features"], codes: Codes) -> Codes:
    """The same codes, their values differentiable as ``x @ rows.T + bias`` at their ids."""
    values = _Values.apply(x, rows, bias, codes.values, codes.ids)
    return Codes(values, codes.ids)


def decode(codes: Codes, rows: Rows, bias: Float[Tensor, " d"]) -> Float[Tensor, "tokens d"]:
    """``codes @ rows + bias``."""
    return _Decode.apply(codes.values, codes.ids, rows, bias)


def exact(x: Float[Tensor, "tokens d"], rows: Rows, bias: Float[Tensor, " features"], codes: Codes) -> Codes:
    """The same choice of features, their values ``x @ rows.T + bias`` computed anew in float32, and differentiable:
    selection in bfloat16 is cheap and nearly always right, values rounded to bfloat16 would cost a reader half a per
    cent on every number."""
    with torch.no_grad():
        values = dot_rows(x, codes, rows) + bias[codes.ids.long()] * (codes.values != 0)
    return differentiable(x, rows, bias, Codes(values.clamp_min_(0), codes.ids))


def narrow(codes: Codes) -> Codes:
    """The same codes in as few columns as the fullest token needs. Gradients do not pass through."""
    width = max(1, int((codes.values > 0).sum(1).max())) if len(codes.values) else 1
    if width == codes.values.shape[1]:
        return codes
    if codes.values.device.type == "cpu":
        values, ids = (torch.empty((len(part), width), dtype=part.dtype) for part in codes)
        kernels.compact(codes.values.detach().numpy(), codes.ids.numpy(), values.numpy(), ids.numpy())
        return Codes(values, ids)
    order = (codes.values <= 0).to(torch.uint8).argsort(dim=1, stable=True)[:, :width]
    return Codes(codes.values.gather(1, order), codes.ids.gather(1, order))


def frozen(rows: Rows) -> Rows:
    """The same data as rows that take no gradient."""
    copy = Rows(rows.data)
    copy.half = rows.half
    return copy.requires_grad_(False)  # pyright: ignore[reportReturnType]
