"""Rows: a weight with one row a feature, and the sparse products through it that autograd understands.

The gradient of such a weight is an outer product of codes and vectors. Writing it out costs more than everything else
in the backward pass, so it is not: each product leaves an ``Outer`` on the weight, and the optimiser reads it. Ordinary
dense gradients (``.grad``) work beside it, so an architecture may use plain torch wherever it likes.
"""

from collections.abc import Iterator
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, Int8, Shaped
from torch import Tensor

from physalis.dictionaries.kernels import candidate_kernels, cpu
from physalis.dictionaries.kernels.bounds import within
from physalis.types import Codes

gpu: Any = None
"""The kernels for a GPU where there is one and Triton is at hand; plain torch does the same without."""
if torch.cuda.is_available() and find_spec("triton") is not None:
    gpu = import_module("physalis.dictionaries.kernels.gpu")

PRODUCT_BYTES = 128 << 20  # of the encoder product held at a time; a larger batch goes in slices


class Outer(NamedTuple):
    """A gradient in factors: row f receives the sum of ``coefficients[t, j] * vectors[t]`` over ``ids[t, j] == f``, or
    of ``vectors[at[t, j]]`` where ``at`` is given. Entries whose coefficient is 0 are no entries."""

    ids: Int[Tensor, "tokens k"]
    coefficients: Float[Tensor, "tokens k"]
    vectors: Float[Tensor, "vectors d"]
    at: Int[Tensor, "tokens k"] | None = None


class Rows(torch.nn.Parameter):
    """A float32 weight [features, d], and beside it the rounded copy that fast products are taken with."""

    outers: list[Outer]
    half: Tensor | None
    """The copy, in bfloat16 or int8, where products are taken in one of these."""
    scale: Tensor | None
    """[features]: what an int8 copy's rows are multiplied by."""
    on_sphere: bool
    """Whether the optimiser keeps every row at length 1."""
    room: int
    """For so many candidates a token, at least, room is made at first."""
    _errors: tuple[Tensor, Tensor] | None

    def __new__(cls, data: Tensor) -> "Rows":
        rows = torch.Tensor._make_subclass(cls, data.contiguous(), True)
        rows.outers, rows.half, rows.scale, rows.on_sphere = [], None, None, False
        rows.room, rows._errors = 0, None
        return rows

    def __deepcopy__(self, memo: dict[int, Any]) -> "Rows":
        copy = Rows(self.data.clone())
        copy.requires_grad_(self.requires_grad)
        copy.on_sphere = self.on_sphere
        copy.half, copy.scale = (None if part is None else part.clone() for part in (self.half, self.scale))
        memo[id(self)] = copy
        return copy

    def compute_in(self, dtype: torch.dtype) -> None:
        """Take encoder products in float32, bfloat16 or int8: the latter two with a rounded copy beside the rows."""
        self.half = None if dtype == torch.float32 else torch.empty_like(self.data, dtype=dtype)
        self.scale = self.data.new_empty(len(self)) if dtype == torch.int8 else None
        self.refresh()

    def refresh(self) -> None:
        """Call after changing the data, or moving them to another device: renews the rounded copy."""
        self._errors = None
        if self.half is None:
            return
        if self.half.dtype == torch.int8 and self.device.type != "cpu":
            self.compute_in(torch.bfloat16)  # int8 products are read by kernels for the CPU
        elif self.half.dtype == torch.int8:
            self.half, self.scale = quantised(self.data, most_int8())
        elif self.half.device == self.device:
            self.half.copy_(self.data)
        else:
            self.half = self.data.to(self.half.dtype)

    def stepped(self) -> None:
        """Call after changing the data and the rounded copy alike."""
        self._errors = None

    def errors(self) -> tuple[Float[Tensor, " features"], Float[Tensor, " features"]]:
        """Lengths of the rows, and of what rounding took from them."""
        if self._errors is None:
            seen = self.data if self.half is None else self.half
            scale = torch.ones_like(self.data[:, 0]) if self.scale is None else self.scale
            pieces = zip(self.data.split(4096), seen.split(4096), scale.split(4096), strict=True)
            missed = torch.cat([(row - few.float() * by[:, None]).norm(dim=1) for row, few, by in pieces])
            self._errors = self.data.norm(dim=1), missed
        return self._errors


@cache
def most_int8() -> int:
    """The largest number of an int8 weight: 127, or 64 where sums of two products saturate 16 bits, as with AVX2."""
    full = torch.full((64, 64), 127, dtype=torch.int8)
    return 127 if int(torch._int_mm(full, full)[0, 0]) == 64 * 127 * 127 else 64


def quantised(x: Float[Tensor, "n d"], most: int = 127) -> tuple[Int8[Tensor, "n d"], Float[Tensor, " n"]]:
    """Each row as int8 numbers up to ``most``, and what these are multiplied by."""
    if x.device.type == "cpu":
        x = x.detach().contiguous()
        numbers, scale = torch.empty_like(x, dtype=torch.int8), torch.empty(len(x))
        cpu.quantise(x.numpy(), most, numbers.numpy(), scale.numpy())
        return numbers, scale
    scale = x.abs().amax(1).clamp_min(1e-30) / most
    return (x / scale[:, None]).round_().to(torch.int8), scale


_buffers: dict[tuple[torch.device, torch.dtype], Tensor] = {}


def _buffer(n: int, features: int, like: Tensor, dtype: torch.dtype) -> Tensor:
    """A reused array for the encoder product: allocating it anew costs more than selecting from it."""
    key = (like.device, dtype)
    if key not in _buffers or _buffers[key].numel() < n * features:
        _buffers[key] = torch.empty(n * features, device=like.device, dtype=dtype)
    return _buffers[key][: n * features].view(n, features)


def release_buffers() -> None:
    """Give back the memory kept between encoder products."""
    _buffers.clear()


class _Scaled(NamedTuple):
    """An int8 product: entry (t, f) stands for ``numbers * by[t] * scale[f] + bias[f]``."""

    numbers: Tensor
    by: Tensor
    scale: Tensor
    bias: Tensor

    def read(self, room: int, k: int | None = None) -> tuple[Tensor, Tensor, int]:
        """The k largest positive entries of each row, or all positive ones: (values, ids, how many the fullest row
        has, which may be more than ``room``)."""
        n, features = self.numbers.shape
        values, ids = torch.zeros((n, room)), torch.zeros((n, room), dtype=torch.int32)
        counts, unused = torch.empty(n, dtype=torch.int32), np.empty((n, room), np.float32)
        sure = (np.zeros(n, np.float32), *(np.zeros(features, np.float32),) * 2, np.float32(0))
        known = (*(part.numpy() for part in self), *sure)
        found = (ids.numpy(), values.numpy(), unused, counts.numpy())
        if k is None:
            candidate_kernels.propose_positive(*known, *found)  # pyright: ignore[reportCallIssue]
        else:
            candidate_kernels.propose_top(*known, k, *found)  # pyright: ignore[reportCallIssue]
        return values, ids, int(counts.max()) if n else 0


def _select(product: Tensor | _Scaled, k: int) -> tuple[Tensor, Tensor]:
    """The k largest positive entries of each row: (values float32, ids int32)."""
    if isinstance(product, _Scaled):
        return product.read(k, k)[:2]
    n = product.shape[0]
    if product.device.type == "cpu":
        bits = torch.int16 if product.dtype == torch.bfloat16 else torch.int32
        values = torch.empty((n, k), dtype=product.dtype)
        ids = torch.empty((n, k), dtype=torch.int32)
        cpu.select_top(product.view(bits).numpy(), k, ids.numpy(), values.view(bits).numpy())
        return values.float(), ids
    if gpu is not None and product.is_cuda:
        return gpu.select_top(product, k)
    values, ids = product.topk(k, dim=1, sorted=False)
    return values.float().clamp_min_(0), ids.int()


def _select_positive(product: Tensor | _Scaled) -> tuple[Tensor, Tensor]:
    """Every positive entry of each row: (values float32, ids int32), 0 pads."""
    if isinstance(product, _Scaled):
        values, ids, fullest = product.read(256)
        if fullest > 256:
            values, ids, fullest = product.read(fullest)
        return values[:, : max(1, fullest)].contiguous(), ids[:, : max(1, fullest)].contiguous()
    if product.device.type == "cpu":
        bits = product.view(torch.int16 if product.dtype == torch.bfloat16 else torch.int32).numpy()
        counts = torch.empty(len(product), dtype=torch.int32)
        cpu.count_positive(bits, counts.numpy())
        shape = (len(product), max(1, int(counts.max()) if len(counts) else 1))
        values, ids = torch.empty(shape, dtype=product.dtype), torch.empty(shape, dtype=torch.int32)
        cpu.select_positive(bits, ids.numpy(), values.view(torch.int16 if bits.itemsize == 2 else torch.int32).numpy())
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
    weight, scale = rows.data if rows.half is None else rows.half, rows.scale
    if among is not None:
        # padded to few different sizes: the product keeps what it prepared for every size that it meets
        pad = -len(among) % 256
        weight = torch.cat([weight[among], weight.new_zeros(pad, weight.shape[1])])
        bias = torch.cat([bias[among], bias.new_full((pad,), -1.0)])
        scale = None if scale is None else torch.cat([scale[among], scale.new_ones(pad)])
    k = min(k, len(weight))
    found = [_select(product, k) for product in _products(x, weight, scale, bias)]
    values, ids = torch.cat([v for v, _ in found]), torch.cat([i for _, i in found])
    if among is not None:
        ids = among.int()[ids.long().clamp_max(len(among) - 1)]  # a plain top k may name padding, with the value 0
    return Codes(values, ids)


@torch.no_grad()
def above(x: Float[Tensor, "tokens d"], rows: Rows, bias: Float[Tensor, " features"]) -> Codes:
    """Every positive ``x @ rows.T + bias`` of each token, by ascending id, in as many columns as the fullest token
    needs; products in ``rows.half``'s dtype."""
    weight = rows.data if rows.half is None else rows.half
    found = [_select_positive(product) for product in _products(x, weight, rows.scale, bias)]
    width = max(values.shape[1] for values, _ in found)
    pad = torch.nn.functional.pad
    values, ids = (torch.cat([pad(each[i], (0, width - each[i].shape[1])) for each in found]) for i in (0, 1))
    return Codes(values, ids)


def _products(x: Tensor, weight: Tensor, scale: Tensor | None, bias: Tensor) -> Iterator[Tensor | _Scaled]:
    """``x @ weight.T + bias`` in slices, each valid until the next: they share one buffer."""
    n, features = x.shape[0], weight.shape[0]
    if scale is not None:
        for piece in x.split(max(1, PRODUCT_BYTES // (features * 4))):
            numbers, by = quantised(piece)
            yield _Scaled(product(numbers, weight), by, scale, bias.detach())
        return
    x, b = x.to(weight.dtype), bias.to(weight.dtype)
    zero_bias = not bool(bias.any())
    size = max(1, min(n, PRODUCT_BYTES // (features * weight.element_size())))
    for piece in x.split(size):
        out = _buffer(len(piece), features, weight, weight.dtype)
        if zero_bias:
            torch.mm(piece, weight.T, out=out)
        else:
            torch.addmm(b, piece, weight.T, out=out)
        yield out


def product(x: Shaped[Tensor, "tokens d"], weight: Shaped[Tensor, "features d"]) -> Shaped[Tensor, "tokens features"]:
    """``x @ weight.T`` in their dtype, int8 in int32, in memory that the next product takes."""
    exact = weight.dtype == torch.int8
    out = _buffer(len(x), len(weight), weight, torch.int32 if exact else weight.dtype)
    return torch._int_mm(x, weight.T, out=out) if exact else torch.mm(x, weight.T, out=out)


@torch.no_grad()
def add_rows(codes: Codes, rows: Tensor, out: Float[Tensor, "tokens d"]) -> Float[Tensor, "tokens d"]:
    """``out[t] += sum_j values[t, j] * rows[ids[t, j]]``, in place; returns ``out``."""
    if out.device.type == "cpu":
        ids = within(codes.ids, len(rows))
        cpu.add_rows(codes.values.detach().numpy(), ids, rows.detach().numpy(), out.numpy())
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
        ids, values = within(codes.ids, len(rows)), codes.values.detach().numpy()
        cpu.dot_rows(vectors.contiguous().numpy(), ids, values, rows.detach().numpy(), out.numpy())
        return out
    if gpu is not None and vectors.is_cuda:
        return gpu.dot_rows(vectors, codes.ids, codes.values.detach(), rows.detach())
    size = max(1, PRODUCT_BYTES // (codes.ids.shape[1] * rows.shape[1] * 4))
    pairs = zip(vectors.split(size), codes.ids.split(size), strict=True)
    pieces = [torch.einsum("nd,nkd->nk", x, rows.detach()[i.long()]) for x, i in pairs]
    return torch.cat(pieces) * (codes.values != 0)


@torch.no_grad()
def outer_sum(outer: Outer, features: int) -> Float[Tensor, "features d"]:
    """An Outer written out as a dense gradient."""
    out = torch.zeros((features, outer.vectors.shape[1]), device=outer.vectors.device)
    if out.device.type == "cpu":
        coefficients = outer.coefficients.numpy()
        start, entry = cpu.transpose(within(outer.ids, features), coefficients, features)
        cpu.add_outer(start, entry, coefficients, at_rows(outer), outer.vectors.numpy(), out.numpy())
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
    a product that is good enough to choose by would cost a reader half a per cent on every number."""
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
        cpu.compact(codes.values.detach().numpy(), codes.ids.numpy(), values.numpy(), ids.numpy())
        return Codes(values, ids)
    order = (codes.values <= 0).to(torch.uint8).argsort(dim=1, stable=True)[:, :width]
    return Codes(codes.values.gather(1, order), codes.ids.gather(1, order))


def frozen(rows: Rows) -> Rows:
    """The same data as rows that take no gradient."""
    copy = Rows(rows.data)
    copy.half, copy.scale = rows.half, rows.scale
    return copy.requires_grad_(False)  # pyright: ignore[reportReturnType]
