"""The sparse half of a dictionary's arithmetic on the CPU: select, decode, its two gradients, and Adam on rows.

A row of codes touches k of the weights' rows, so each kernel reads those rows and nothing else; none makes a
[tokens, features] array. All are parallel over rows with a fixed order inside a row, so results do not depend on the
number of threads. ``reference`` in tests/test_kernels.py states each in dense torch.

Numbers that are never negative order like their bit patterns, so selection works on the product's bits as integers
(int16 for bfloat16, int32 for float32): a negative product is a negative integer and never chosen.

``no_type_check`` keeps the tests' shape checks out of compiled code, which cannot hold them.
"""

from collections.abc import Callable
from typing import Any, no_type_check

import numpy as np
from numba import njit, prange, types
from numba.extending import overload

_ONE = np.int32(1)


@njit(parallel=True, cache=True, nogil=True)
@no_type_check
def quantise(x, most, out, scale):
    """``out`` [n, d] int8 and ``scale`` [n], so that out * scale is as near x as numbers up to ``most`` allow."""
    for r in prange(x.shape[0]):
        scale[r] = _round_row(x[r], out[r], most)


def _round_row(row: Any, out: Any, most: Any) -> float:
    """Write ``row`` rounded to ``out``, as bfloat16's bits in int16 or as int8; returns what to multiply ``out`` by."""
    raise NotImplementedError(row, out, most)


@overload(_round_row)
@no_type_check
def _round_row_of(row, out, most) -> Callable:
    def to_bfloat16(row, out, most):
        u = row.view(np.uint32)
        for i in range(row.shape[0]):  # round to nearest even
            out[i] = np.int16((u[i] + np.uint32(0x7FFF) + ((u[i] >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16))
        return np.float32(1)

    def to_int8(row, out, most):
        largest = np.float32(1e-30)
        for i in range(row.shape[0]):
            size = abs(row[i])
            largest = size if size > largest else largest
        by = np.float32(np.float64(most) / np.float64(largest))  # in float64: fast arithmetic rounds it no other way
        for i in range(row.shape[0]):
            out[i] = np.int8(np.rint(row[i] * by))
        return np.float32(np.float64(largest) / np.float64(most))

    return to_bfloat16 if out.dtype == types.int16 else to_int8


@njit(inline="always")
@no_type_check
def kth_largest(values, n, k, low, high, within=0):
    """Largest t with at least k of values[:n] >= t, from low to high, or one at most ``within`` below it: bisection,
    each step one vectorised count."""
    while high - low > within:
        middle = low + ((high - low + _ONE) >> _ONE)
        t = values.dtype.type(middle)
        count = np.int32(0)
        for i in range(n):
            count += np.int32(values[i] >= t)
        if count >= k:
            low = middle
        else:
            high = middle - _ONE
    return low


@njit(parallel=True, cache=True, nogil=True)
@no_type_check
def select_top(bits, k, out_ids, out_bits):
    """The k largest positive entries of each row of ``bits`` [n, features], in no particular order; 0 pads.

    Exact. A row is read as stripes of ``width`` entries laid over one another; the k-th largest of the columns' maxima
    is a lower bound of the k-th largest entry, so only columns that reach it are read a second time. Which of several
    equal entries at the threshold are kept is fixed, but arbitrary.
    """
    n, features = bits.shape
    zero = bits.dtype.type(0)
    most = np.int32(np.iinfo(bits.dtype).max)
    width = min(features, max(512, 8 * k))
    stripes = (features + width - 1) // width
    for r in prange(n):
        row = bits[r]
        peaks = np.zeros(width, bits.dtype)
        for s in range(stripes):
            stripe = row[s * width : min((s + 1) * width, features)]
            for j in range(stripe.shape[0]):
                value, peak = stripe[j], peaks[j]
                peaks[j] = value if value > peak else peak
        bound = kth_largest(peaks, width, k, _ONE, most)
        t = bits.dtype.type(bound)
        columns = 0
        for j in range(width):
            columns += 1 if peaks[j] >= t else 0
        found = np.empty(columns * stripes, bits.dtype)
        where = np.empty(columns * stripes, np.int32)
        c = 0
        for j in range(width):
            if peaks[j] >= t:
                for i in range(j, features, width):
                    if row[i] >= t:
                        found[c] = row[i]
                        where[c] = i
                        c += 1
        t = bits.dtype.type(kth_largest(found, c, k, bound, most))
        above = 0
        for i in range(c):
            above += 1 if found[i] > t else 0
        ties = k - above
        o = 0
        for i in range(c):
            if found[i] > t:
                out_ids[r, o] = where[i]
                out_bits[r, o] = found[i]
                o += 1
            elif found[i] == t and ties > 0:
                ties -= 1
                out_ids[r, o] = where[i]
                out_bits[r, o] = found[i]
                o += 1
        for i in range(o, k):
            out_ids[r, i] = 0
            out_bits[r, i] = zero


@njit(parallel=True, cache=True, nogil=True)
@no_type_check
def count_positive(bits, out):
    """out[r] = how many entries of bits[r] are positive."""
    for r in prange(bits.shape[0]):
        row = bits[r]
        count = np.int32(0)
        for i in range(row.shape[0]):
            count += np.int32(row[i] > 0)
        out[r] = count


@njit(parallel=True, cache=True, nogil=True)
@no_type_check
def select_positive(bits, out_ids, out_bits):
    """Every positive entry of each row of ``bits`` [n, features], by ascending id; 0 pads. ``out_ids`` has room for the
    fullest row."""
    width = out_ids.shape[1]
    for r in prange(bits.shape[0]):
        row = bits[r]
        o = 0
        for i in range(row.shape[0]):
            if row[i] > 0:
                out_ids[r, o] = i
                out_bits[r, o] = row[i]
                o += 1
        for i in range(o, width):
            out_ids[r, i] = 0
            out_bits[r, i] = 0


@njit(parallel=True, cache=True, nogil=True)
@no_type_check
def compact(values, ids, out_values, out_ids):
    """The positive values of each row and their ids, moved to the left; 0 pads."""
    n, k = values.shape
    width = out_ids.shape[1]
    for r in prange(n):
        o = 0
        for j in range(k):
            if values[r, j] > 0:
                out_values[r, o] = values[r, j]
                out_ids[r, o] = ids[r, j]
                o += 1
        for j in range(o, width):
            out_values[r, j] = 0
            out_ids[r, j] = 0


@njit(parallel=True, cache=True, nogil=True, fastmath=True)
@no_type_check
def add_rows(values, ids, rows, out):
    """out[t] += sum_j values[t, j] * rows[ids[t, j]]."""
    n, k = ids.shape
    d = rows.shape[1]
    for r in prange(n):
        total = out[r]
        for j in range(k):
            v = values[r, j]
            if v != 0:
                row = rows[ids[r, j]]
                for i in range(d):
                    total[i] += v * row[i]


@njit(parallel=True, cache=True, nogil=True, fastmath=True)
@no_type_check
def nested_rests(values, ids, level, rows, target, rests, squares):
    """rests[p, t] = sum over j with level[ids[t, j]] <= p of values[t, j] * rows[ids[t, j]], minus target[t];
    squares[p, t] = its mean square."""
    n, k = ids.shape
    levels, _, d = rests.shape
    for r in prange(n):
        for p in range(levels):
            total = rests[p, r]
            for i in range(d):
                total[i] = rests[p - 1, r, i] if p > 0 else -target[r, i]
            for j in range(k):
                v = values[r, j]
                if v != 0 and level[ids[r, j]] == p:
                    row = rows[ids[r, j]]
                    for i in range(d):
                        total[i] += v * row[i]
            square = np.float32(0)
            for i in range(d):
                square += total[i] * total[i]
            squares[p, r] = square / np.float32(d)


@njit(parallel=True, cache=True, nogil=True, fastmath=True)
@no_type_check
def nested_gradients(values, ids, level, rows, rests, g, carry, reach, g_values, g_target, at):
    """From ``g`` [levels, n], the gradients of nested_rests' squares: what reaches each prefix's own features
    (``reach``, like ``rests``), the values and the target. ``at`` says for each code which row of ``reach`` is its."""
    n, k = ids.shape
    levels, _, d = rests.shape
    for r in prange(n):
        total = g_target[r]
        for i in range(d):
            total[i] = 0
        for q in range(levels):
            p = levels - 1 - q
            scale = np.float32(2) * g[p, r] / np.float32(d)
            own = reach[p, r]
            for i in range(d):
                part = scale * rests[p, r, i]
                total[i] -= part
                own[i] = part + carry * reach[p + 1, r, i] if q > 0 else part
        for j in range(k):
            p = level[ids[r, j]]
            dot = np.float32(0)
            if values[r, j] != 0 and p < levels:
                row, own = rows[ids[r, j]], reach[p, r]
                for i in range(d):
                    dot += own[i] * row[i]
                at[r, j] = p * n + r
            else:
                at[r, j] = -1
            g_values[r, j] = dot


@njit(parallel=True, cache=True, nogil=True, fastmath=True)
@no_type_check
def dot_rows(vectors, ids, values, rows, out):
    """out[t, j] = vectors[t] . rows[ids[t, j]] where values[t, j] is not 0, else 0."""
    n, k = ids.shape
    d = rows.shape[1]
    for r in prange(n):
        vector = vectors[r]
        for j in range(k):
            total = np.float32(0)
            if values[r, j] != 0:
                row = rows[ids[r, j]]
                for i in range(d):
                    total += vector[i] * row[i]
            out[r, j] = total


@njit(parallel=True, cache=True, nogil=True, fastmath=True)
@no_type_check
def pursue(scores, gram, values, ids):
    """Matching pursuit from the products with every feature: the largest is taken, and what it explains of the others
    follows from their products with each other. ``scores`` are used up; 0 pads."""
    features = scores.shape[1]
    for t in prange(scores.shape[0]):
        row = scores[t]
        values[t] = 0
        ids[t] = 0
        for j in range(values.shape[1]):
            most = row[0]
            for f in range(features):
                most = max(most, row[f])
            if most <= 0:
                break
            best = 0
            while row[best] != most:
                best += 1
            values[t, j], ids[t, j] = most, best
            other = gram[best]
            for f in range(features):
                row[f] -= most * other[f]


@njit(cache=True, nogil=True)
@no_type_check
def transpose(ids, coefficients, features):
    """The entries of [n, k] codes grouped by feature, tokens ascending: (start [features + 1], entry = token * k + j).
    Entries whose coefficient is 0 are left out."""
    n, k = ids.shape
    start = np.zeros(features + 1, np.int64)
    for r in range(n):
        for j in range(k):
            if coefficients[r, j] != 0:
                start[ids[r, j] + 1] += 1
    for f in range(features):
        start[f + 1] += start[f]
    place = start[:-1].copy()
    entry = np.empty(start[features], np.int64)
    for r in range(n):
        for j in range(k):
            if coefficients[r, j] != 0:
                f = ids[r, j]
                entry[place[f]] = r * k + j
                place[f] += 1
    return start, entry


@njit(parallel=True, cache=True, nogil=True, fastmath=True)
@no_type_check
def add_outer(start, entry, coefficients, at, vectors, out):
    """out[f] += sum over f's entries of coefficient * vectors[token], or vectors[at] where ``at`` [n, k] has rows."""
    k = coefficients.shape[1]
    d = vectors.shape[1]
    for f in prange(start.shape[0] - 1):
        total = out[f]
        for e in range(start[f], start[f + 1]):
            r = entry[e] // k
            j = entry[e] - r * k
            c = coefficients[r, j]
            vector = vectors[at[r, j] if at.shape[0] > 0 else r]
            for i in range(d):
                total[i] += c * vector[i]


@njit(parallel=True, cache=True, nogil=True, fastmath=True)
@no_type_check
def adam_outer(first, second, more, rows, m, v, half, scale, most, on_sphere, lr, b1, b2, c1, c2, eps):
    """One Adam step on ``rows`` [features, d] whose gradient is two outer products, never stored: each row's gradient
    is summed in cache, used and forgotten. Each is (start, entry, coefficients, at, vectors), as in ``add_outer``.
    ``more`` is a further dense gradient, or has no rows. ``half`` receives the new rows rounded to bfloat16 (as int16
    bits) or to int8 up to ``most`` with ``scale`` [features], if it has rows. ``on_sphere`` keeps rows at length 1: the
    gradient's part along the row is dropped and the row is rescaled after the step. c1, c2 undo the moments' start at
    0."""
    d = rows.shape[1]
    one, zero, tiny = np.float32(1), np.float32(0), np.float32(1e-30)
    for f in prange(rows.shape[0]):
        g = np.zeros(d, np.float32)
        if more.shape[0] > 0:
            g[:] = more[f]
        for part in (second, first):
            start, entry, coefficients, at, vectors = part
            k = coefficients.shape[1]
            for e in range(start[f], start[f + 1]):
                r = entry[e] // k
                j = entry[e] - r * k
                c = coefficients[r, j]
                vector = vectors[at[r, j] if at.shape[0] > 0 else r]
                for i in range(d):
                    g[i] += c * vector[i]
        w, mf, vf = rows[f], m[f], v[f]
        if on_sphere:
            along = np.float32(0)
            for i in range(d):
                along += g[i] * w[i]
            for i in range(d):
                g[i] -= along * w[i]
        square = np.float32(0)
        for i in range(d):
            mi = b1 * mf[i] + (one - b1) * g[i]
            vi = b2 * vf[i] + (one - b2) * g[i] * g[i]
            # a feature that never fires would bring its moments into the range where processors take 100 times as long
            mi = mi if abs(mi) > tiny else zero
            vi = vi if vi > tiny else zero
            mf[i] = mi
            vf[i] = vi
            wi = w[i] - lr * (mi * c1) / (np.sqrt(vi * c2) + eps)
            w[i] = wi
            square += wi * wi
        if on_sphere:
            shrink = one / np.sqrt(square)
            for i in range(d):
                w[i] *= shrink
        if half.shape[0] > 0:
            scale[f] = _round_row(w, half[f], most)
