"""gpu: the same sparse arithmetic as ``cpu``, on a GPU, in Triton. ``rows`` imports this only where CUDA is at hand.

UNMEASURED: written without a GPU to run on. tests/dictionaries/test_gpu.py compares what each kernel computes with the
CPU's in Triton's interpreter, and compiles them for an H100; how fast they are is not known. Where one disappoints,
``rows.gpu = None`` goes back to plain torch, which does the same.

One program makes one row of the output, or a block of it, and adds in a fixed order: results do not depend on how the
GPU schedules them. ``no_type_check`` keeps the tests' shape checks out of compiled code.
"""

# pyright: reportMissingImports=false, reportIndexIssue=false

from typing import no_type_check

import torch
import triton
import triton.language as tl
from torch import Tensor

CHUNK = 4096  # entries of a product that one program looks at together
BLOCK = 512  # elements of a row that one program adds together


@triton.jit
@no_type_check
def _select_top(product, out_values, out_ids, features, k, most, SHIFT: tl.constexpr, CHUNK: tl.constexpr):
    # Positive numbers order like their bit patterns: the k-th largest is found by bisection over these, each step one
    # pass over the row, which stays in cache. bfloat16 has no more than its upper 16 bits.
    row = product + tl.program_id(0).to(tl.int64) * features
    low = 1
    high = most
    while low < high:
        middle = low + ((high - low + 1) >> 1)
        count = 0
        for at in range(0, features, CHUNK):
            i = at + tl.arange(0, CHUNK)
            bits = tl.load(row + i, mask=i < features, other=0.0).to(tl.float32).to(tl.int32, bitcast=True) >> SHIFT
            count += tl.sum((bits >= middle).to(tl.int32), 0)
        if count >= k:
            low = middle
        else:
            high = middle - 1
    above = 0
    for at in range(0, features, CHUNK):
        i = at + tl.arange(0, CHUNK)
        bits = tl.load(row + i, mask=i < features, other=0.0).to(tl.float32).to(tl.int32, bitcast=True) >> SHIFT
        above += tl.sum((bits > low).to(tl.int32), 0)
    ties = k - above
    seen = 0
    done = 0
    for at in range(0, features, CHUNK):
        i = at + tl.arange(0, CHUNK)
        x = tl.load(row + i, mask=i < features, other=0.0).to(tl.float32)
        bits = x.to(tl.int32, bitcast=True) >> SHIFT
        same = (bits == low).to(tl.int32)
        keep = (bits > low) | ((same > 0) & (seen + tl.cumsum(same, 0) <= ties))
        kept = keep.to(tl.int32)
        place = tl.program_id(0).to(tl.int64) * k + done + tl.cumsum(kept, 0) - 1
        tl.store(out_values + place, x, mask=keep)
        tl.store(out_ids + place, i, mask=keep)
        seen += tl.sum(same, 0)
        done += tl.sum(kept, 0)


@triton.jit
@no_type_check
def _add_rows(values, ids, rows, out, k, d, BLOCK: tl.constexpr):
    t = tl.program_id(0).to(tl.int64)
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = i < d
    total = tl.load(out + t * d + i, mask=inside, other=0.0)
    for j in range(0, k):
        value = tl.load(values + t * k + j)
        if value != 0:
            f = tl.load(ids + t * k + j).to(tl.int64)
            total += value * tl.load(rows + f * d + i, mask=inside, other=0.0)
    tl.store(out + t * d + i, total, mask=inside)


@triton.jit
@no_type_check
def _dot_rows(vectors, values, ids, rows, out, k, d, BLOCK: tl.constexpr):
    entry = tl.program_id(0).to(tl.int64)  # one axis: others end at 65,535, and a row may have more candidates
    t = entry // k
    total = tl.zeros([BLOCK], tl.float32)
    if tl.load(values + entry) != 0:
        f = tl.load(ids + entry).to(tl.int64)
        for at in range(0, d, BLOCK):
            i = at + tl.arange(0, BLOCK)
            vector = tl.load(vectors + t * d + i, mask=i < d, other=0.0)
            total += vector * tl.load(rows + f * d + i, mask=i < d, other=0.0)
    tl.store(out + entry, tl.sum(total, 0))


@triton.jit
@no_type_check
def _gathered(g, f, start, entry, coefficients, at, vectors, i, k, d, HAS_AT: tl.constexpr):
    # g plus the sum over f's entries of coefficient * vector, at the elements i of a row
    for e in range(tl.load(start + f), tl.load(start + f + 1)):
        which = tl.load(entry + e)
        vector = (tl.load(at + which) if HAS_AT else which // k).to(tl.int64)
        g += tl.load(coefficients + which) * tl.load(vectors + vector * d + i, mask=i < d, other=0.0)
    return g


@triton.jit
@no_type_check
def _add_outer(start, entry, coefficients, at, vectors, out, k, d, HAS_AT: tl.constexpr, BLOCK: tl.constexpr):
    f = tl.program_id(0).to(tl.int64)
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    total = tl.load(out + f * d + i, mask=i < d, other=0.0)
    total = _gathered(total, f, start, entry, coefficients, at, vectors, i, k, d, HAS_AT)
    tl.store(out + f * d + i, total, mask=i < d)


@triton.jit
@no_type_check
def _adam_outer(
    start, entry, coefficients, at, vectors, more, rows, m, v, half, k, d, lr, b1, b2, c1, c2, eps,
    HAS_AT: tl.constexpr, HAS_MORE: tl.constexpr, HAS_HALF: tl.constexpr, ON_SPHERE: tl.constexpr, WHOLE: tl.constexpr,
):  # fmt: skip
    # one program a row, which stays in registers
    f = tl.program_id(0).to(tl.int64)
    i = tl.arange(0, WHOLE)
    inside = i < d
    here = f * d + i
    g = tl.zeros([WHOLE], tl.float32)
    if HAS_MORE:
        g += tl.load(more + here, mask=inside, other=0.0)
    g = _gathered(g, f, start, entry, coefficients, at, vectors, i, k, d, HAS_AT)
    w = tl.load(rows + here, mask=inside, other=0.0)
    if ON_SPHERE:
        g -= tl.sum(g * w, 0) * w
    mi = b1 * tl.load(m + here, mask=inside, other=0.0) + (1 - b1) * g
    vi = b2 * tl.load(v + here, mask=inside, other=0.0) + (1 - b2) * g * g
    mi = tl.where(tl.abs(mi) > 1e-30, mi, 0.0)
    vi = tl.where(vi > 1e-30, vi, 0.0)
    tl.store(m + here, mi, mask=inside)
    tl.store(v + here, vi, mask=inside)
    w -= lr * (mi * c1) / (tl.sqrt(vi * c2) + eps)
    if ON_SPHERE:
        w *= 1 / tl.sqrt(tl.sum(w * w, 0))
    tl.store(rows + here, w, mask=inside)
    if HAS_HALF:
        tl.store(half + here, w.to(tl.bfloat16), mask=inside)


def select_top(product: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest positive entries of each row of [n, features], by ascending id: (float32, int32) [n, k], 0 pads."""
    n, features = product.shape
    values = torch.zeros(n, k, device=product.device)
    ids = torch.zeros(n, k, device=product.device, dtype=torch.int32)
    shift = 16 if product.dtype == torch.bfloat16 else 0
    most = 0x7F800000 >> shift
    _select_top[(n,)](product, values, ids, features, k, most, SHIFT=shift, CHUNK=min(CHUNK, _power(features)))
    return values, ids


def add_rows(values: Tensor, ids: Tensor, rows: Tensor, out: Tensor) -> None:
    """out[t] += sum_j values[t, j] * rows[ids[t, j]]."""
    (n, k), d = ids.shape, rows.shape[1]
    block = min(BLOCK, _power(d))
    _add_rows[(n, triton.cdiv(d, block))](values.contiguous(), ids.contiguous(), rows, out, k, d, BLOCK=block)


def dot_rows(vectors: Tensor, ids: Tensor, values: Tensor, rows: Tensor) -> Tensor:
    """out[t, j] = vectors[t] . rows[ids[t, j]] where values[t, j] is not 0, else 0."""
    (n, k), d = ids.shape, rows.shape[1]
    out = torch.empty(n, k, device=vectors.device)
    args = (vectors.contiguous(), values.contiguous(), ids.contiguous(), rows, out, k, d)
    _dot_rows[(n * k,)](*args, BLOCK=min(BLOCK, _power(d)))
    return out


def transpose(ids: Tensor, coefficients: Tensor, features: int) -> tuple[Tensor, Tensor]:
    """The entries of [n, k] codes grouped by feature, tokens ascending: (start [features + 1], entry = token * k + j).
    Entries whose coefficient is 0 stand after the last group."""
    key = torch.where(coefficients != 0, ids, features).flatten()
    key, entry = key.sort(stable=True)
    return torch.searchsorted(key, torch.arange(features + 1, device=key.device, dtype=key.dtype)), entry


def add_outer(ids: Tensor, coefficients: Tensor, at: Tensor | None, vectors: Tensor, out: Tensor) -> None:
    """out[f] += sum of coefficient * vectors[token], or vectors[at], over f's entries of [n, k]."""
    (features, d), k = out.shape, ids.shape[1]
    start, entry = transpose(ids, coefficients, features)
    block = min(BLOCK, _power(d))
    _add_outer[(features, triton.cdiv(d, block))](
        start, entry, coefficients.contiguous(), start if at is None else at.contiguous(), vectors.contiguous(), out, k,
        d, HAS_AT=at is not None, BLOCK=block,
    )  # fmt: skip


def adam_outer(
    ids: Tensor, coefficients: Tensor, at: Tensor | None, vectors: Tensor, more: Tensor | None, rows: Tensor, m: Tensor,
    v: Tensor, half: Tensor | None, *, on_sphere: bool, lr: float, b1: float, b2: float, c1: float, c2: float,
    eps: float,
) -> None:  # fmt: skip
    """One Adam step on ``rows`` [features, d] whose gradient is an outer product, never stored, and ``more``. ``half``
    receives the new rows rounded to bfloat16; ``on_sphere`` keeps rows at length 1."""
    features, d = rows.shape
    start, entry = transpose(ids, coefficients, features)
    whole = _power(d)
    _adam_outer[(features,)](
        start, entry, coefficients.contiguous(), start if at is None else at.contiguous(), vectors.contiguous(),
        rows if more is None else more.contiguous(), rows, m, v, rows if half is None else half, ids.shape[1], d,
        lr, b1, b2, c1, c2, eps, HAS_AT=at is not None, HAS_MORE=more is not None, HAS_HALF=half is not None,
        ON_SPHERE=on_sphere, WHOLE=whole, num_warps=max(1, min(16, whole // 256)),
    )  # fmt: skip


def _power(n: int) -> int:
    return triton.next_power_of_2(n)
