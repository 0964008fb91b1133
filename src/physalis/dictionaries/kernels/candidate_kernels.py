"""From a fast product to the features that may fire by it, and from those to the ones that do, on the CPU.

Entry (t, f) stands for ``number * by[t] * scale[f] + bias[f]``, and is within ``size[t] * error[f] + share *
|number * by[t] * scale[f]| + extra[f]`` of what exact arithmetic gives. What is exact here is summed in float64, so no
order of summation, and so no kind of CPU, shows in a code. ``no_type_check`` keeps the tests' shape checks out of
compiled code.
"""

from collections.abc import Callable
from typing import Any, no_type_check

import numpy as np
from numba import njit, prange, types
from numba.extending import overload

from physalis.dictionaries.kernels.cpu import kth_largest

_NONE = np.int32(0)
_INFINITE = np.int32(0x7F800000)
_COARSE = np.int32(1 << 13)  # of a float's last bits: a lower bound need not be the best one
_BLOCK = 32  # entries looked at together: most hold nothing


def _number(entry: Any) -> float:
    """What an entry of a product says: bfloat16 comes as its bits in an int16."""
    raise NotImplementedError(entry)


@overload(_number, inline="always")
@no_type_check
def _number_of(entry) -> Callable:
    if entry == types.int16:
        return lambda entry: np.int32(np.int32(entry) << np.int32(16)).view(np.float32)
    return lambda entry: np.float32(entry)


@njit(inline="always")
@no_type_check
def _float(bits):
    return np.int32(bits).view(np.float32)


@njit(parallel=True, cache=True, nogil=True)
@no_type_check
def propose_top(product, by, scale, bias, size, error, extra, share, k, out_ids, out_values, out_errors, counts):
    """Of each row of ``product`` [n, features], every entry that may be among the k largest positive ones.

    The k-th largest lower bound is one that the k-th largest entry reaches; what may reach it too is kept. A row is
    read as stripes of ``width`` entries laid over one another, and only columns that hold something large are read
    again. ``counts`` says how many there are, even where ``out_ids`` has no room for all.
    """
    n, features = product.shape
    room = out_ids.shape[1]
    width = min(features, max(1024, 8 * k))
    stripes = (features + width - 1) // width
    zero = np.float32(0)
    column_error, column_extra = np.zeros(width, np.float32), np.zeros(width, np.float32)
    for i in range(features):
        j = i % width
        column_error[j] = max(column_error[j], error[i])
        column_extra[j] = max(column_extra[j], extra[i] + share * abs(bias[i]))
    for r in prange(n):
        row = product[r]
        scaled, own = by[r], size[r]
        peaks = np.full(width, -np.inf, np.float32)
        for s in range(stripes):
            stripe = row[s * width : min((s + 1) * width, features)]
            scales, added = scale[s * width :], bias[s * width :]
            for j in range(stripe.shape[0]):
                value, peak = _number(stripe[j]) * (scaled * scales[j]) + added[j], peaks[j]
                peaks[j] = value if value > peak else peak
        least = np.empty(width, np.float32)
        most = zero
        for j in range(width):
            peak = peaks[j]
            wrong = own * column_error[j] + column_extra[j] + share * abs(peak)
            low = peak - wrong
            low = low if low > zero else zero
            peaks[j] = peak + wrong
            least[j] = low
            most = low if low > most else most
        bits = least.view(np.int32)
        bound = _float(kth_largest(bits, width, k, _NONE, np.float32(most).view(np.int32), _COARSE))
        columns = 0
        for j in range(width):
            columns += 1 if peaks[j] >= bound and peaks[j] > zero else 0
        values, errors = np.empty(columns * stripes, np.float32), np.empty(columns * stripes, np.float32)
        lows, where = np.empty(columns * stripes, np.float32), np.empty(columns * stripes, np.int32)
        c = 0
        for j in range(width):
            if peaks[j] >= bound and peaks[j] > zero:
                for i in range(j, features, width):
                    number = _number(row[i]) * (scaled * scale[i])
                    value = number + bias[i]
                    wrong = own * error[i] + extra[i] + share * abs(number)
                    if value + wrong >= bound and value + wrong > zero:
                        values[c] = value
                        errors[c] = wrong
                        lows[c] = max(value - wrong, zero)
                        where[c] = i
                        c += 1
        bound = _float(kth_largest(lows.view(np.int32), c, k, _NONE, _INFINITE))
        o = 0
        for i in range(c):
            if values[i] + errors[i] >= bound:
                if o < room:
                    out_ids[r, o] = where[i]
                    out_values[r, o] = values[i]
                    out_errors[r, o] = errors[i]
                o += 1
        counts[r] = o


@njit(parallel=True, cache=True, nogil=True)
@no_type_check
def propose_positive(product, by, scale, bias, size, error, extra, share, out_ids, out_values, out_errors, counts):
    """Of each row of ``product``, every entry that may be positive, by ascending id; as ``propose_top`` otherwise."""
    n, features = product.shape
    room = out_ids.shape[1]
    for r in prange(n):
        row = product[r]
        scaled, own = by[r], size[r]
        o = 0
        for start in range(0, features, _BLOCK):
            end = min(start + _BLOCK, features)
            hits = np.int32(0)
            for i in range(start, end):
                number = _number(row[i]) * (scaled * scale[i])
                hits += np.int32(number + share * abs(number) + bias[i] + (own * error[i] + extra[i]) > 0)
            if hits == 0:
                continue
            for i in range(start, end):
                number = _number(row[i]) * (scaled * scale[i])
                if number + share * abs(number) + bias[i] + (own * error[i] + extra[i]) > 0:
                    if o < room:
                        out_ids[r, o] = i
                        out_values[r, o] = number + bias[i]
                        out_errors[r, o] = own * error[i] + extra[i] + share * abs(number)
                    o += 1
        counts[r] = o


@njit(cache=True, nogil=True, fastmath=True)
@no_type_check
def _dot(a, b):
    total = np.float64(0)
    for i in range(a.shape[0]):
        total += np.float64(a[i]) * np.float64(b[i])
    return total


@njit(parallel=True, cache=True, nogil=True)
@no_type_check
def decide_top(x, rows, bias, ids, values, errors, counts, out_values, out_ids, failed):
    """Of each row's candidates the largest positive ``x . rows + bias``, as many as ``out_ids`` has columns, from the
    largest to the smallest and by ascending id where they are equal; 0 pads.

    A row fails whose candidates did not fit into ``ids``, or are not within ``errors`` of ``values``.
    """
    k = out_ids.shape[1]
    for r in prange(ids.shape[0]):
        best, named = out_values[r], out_ids[r]
        best[:] = 0
        named[:] = 0
        fails = counts[r] > ids.shape[1]
        held = 0
        for c in range(0 if fails else counts[r]):
            f = ids[r, c]
            value = np.float32(_dot(x[r], rows[f]) + bias[f])
            fails = fails or not abs(value - values[r, c]) <= errors[r, c]
            if value <= 0 or (held == k and value < best[k - 1]):
                continue
            if held == k and value == best[k - 1] and f > named[k - 1]:
                continue
            held = min(held + 1, k)
            j = held - 1
            while j > 0 and (best[j - 1] < value or (best[j - 1] == value and named[j - 1] > f)):
                best[j] = best[j - 1]
                named[j] = named[j - 1]
                j -= 1
            best[j] = value
            named[j] = f
        failed[r] = fails


@njit(parallel=True, cache=True, nogil=True)
@no_type_check
def decide_positive(x, rows, bias, floor, ids, values, errors, counts, out_values, out_ids, kept, failed):
    """Of each row's candidates those whose ``x . rows + bias`` is positive and above ``floor``, in their order; 0 pads.
    ``values`` are what is left above the floor. A row fails as in ``decide_top``."""
    for r in prange(ids.shape[0]):
        fails = counts[r] > ids.shape[1]
        o = 0
        for c in range(0 if fails else counts[r]):
            f = ids[r, c]
            value = np.float32(_dot(x[r], rows[f]) + bias[f])
            fails = fails or not abs((value - floor[f]) - values[r, c]) <= errors[r, c]
            if value > floor[f] and value > 0:
                out_values[r, o] = value
                out_ids[r, o] = f
                o += 1
        for c in range(o, ids.shape[1]):
            out_values[r, c] = 0
            out_ids[r, c] = 0
        kept[r] = o
        failed[r] = fails
