"""The sampler of worlds: which features fire, how strongly, and the sum of their directions, in compiled loops.

Sample i of a stream depends on the stream's key and on i alone: its random numbers are hashes of both, so neither
threads nor batch boundaries change it. A feature f fires where ``u < Q((t - m) / s)``: u uniform, Q the normal tail, t
the feature's threshold, ``m = factor @ eps`` the share of its normal variable that other features know, s the rest's
standard deviation.

1. eps times a matrix gives, for every feature without a parent, an upper bound of that tail: log Q is concave, so a
   tangent lies above it, and 2^y lies below the chord that a float's bits draw.
2. Uniforms are compared with the bounds, and only what may fire is evaluated; children only where their parent fired.
   Magnitudes follow, siblings that exclude each other are drawn from, directions are summed.

``no_type_check`` keeps the tests' shape checks out of compiled code, which cannot hold them.
"""

import math
from typing import NamedTuple, no_type_check

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, Int64, UInt32
from numba import njit, prange
from scipy.special import log_ndtr, ndtr, ndtri

_LAYERS = 256
_TAIL = 3.6541528853610088  # where the last of 256 equal layers under exp(-x^2 / 2) begins
_AREA = 0.00492867323399  # of each layer
_TABLE_STEPS, _TABLE_END = 64, 8  # Q tabulated a unit, and from minus to plus this
_TABLE_ERROR = 1.0e-5  # twice what linear interpolation in steps of 1/64 can be off by
_ONE_BITS = 127.0 * 2**23  # the bits of 1.0 as an integer
_BLOCK = 64  # samples a thread takes at a time
_SPREAD = np.uint32(0x9E3779B1)
_SLACK = 4096.0  # in bits: far more than rounding in the product can take off the bound


def _ziggurat() -> tuple[np.ndarray, np.ndarray]:
    """Edges of the layers (the widest first) and the density at each: Marsaglia and Tsang (2000)."""
    edges = np.zeros(_LAYERS + 1)
    edges[0], edges[1] = _AREA / math.exp(-0.5 * _TAIL**2), _TAIL
    for i in range(2, _LAYERS):
        edges[i] = math.sqrt(-2.0 * math.log(_AREA / edges[i - 1] + math.exp(-0.5 * edges[i - 1] ** 2)))
    return edges, np.exp(-0.5 * edges**2)


_EDGES, _HEIGHTS = _ziggurat()
_TAILS = ndtr(-np.arange(-_TABLE_END * _TABLE_STEPS, _TABLE_END * _TABLE_STEPS + 2) / _TABLE_STEPS)


class Plan(NamedTuple):
    """A world as the loops read it."""

    threshold: Float64[np.ndarray, " features"]
    """t / s."""
    factor: Float32[np.ndarray, "features rank16"]
    """factor / s, columns padded with 0 to a multiple of 16."""
    parentless: Int32[np.ndarray, " parentless"]
    hashes: UInt32[np.ndarray, " parentless"]
    bound: Float32[np.ndarray, "1_rank2 parentless"]
    """A 1 and eps times this are the bits of the upper bound of each tail; their number is odd."""
    rank: int
    child_start: Int32[np.ndarray, " features_1"]
    child: Int32[np.ndarray, " children"]
    exclusive: Bool[np.ndarray, " features"]
    scaled: Bool[np.ndarray, " features"]
    mean: Float32[np.ndarray, " features"]
    std: Float32[np.ndarray, " features"]
    directions: Float32[np.ndarray, "features d"]
    bias: Float32[np.ndarray, " d"]


def plan(
    *,
    probabilities: Float64[np.ndarray, " features"],
    factor: Float64[np.ndarray, "features rank"],
    parent: Int64[np.ndarray, " features"],
    exclusive: Bool[np.ndarray, " features"],
    scaled: Bool[np.ndarray, " features"],
    mean: Float32[np.ndarray, " features"],
    std: Float32[np.ndarray, " features"],
    directions: Float32[np.ndarray, "features d"],
    bias: Float32[np.ndarray, " d"],
) -> Plan:
    """Precompute what no sample changes."""
    n, rank = factor.shape
    s = np.sqrt(1 - (factor**2).sum(1))
    t = np.clip(-ndtri(probabilities), -30, 30)  # a probability of 0 or 1 is one beyond every number drawn
    padded = np.zeros((n, -(-rank // 16) * 16))
    padded[:, :rank] = factor / s[:, None]
    parentless = np.flatnonzero(parent < 0)
    touch = (t * s)[parentless]  # where the tangent touches log Q: near where the feature mostly fires
    log_tail = log_ndtr(-touch)
    slope = np.exp(-0.5 * touch**2 - log_tail) / math.sqrt(2 * math.pi)
    start = log_tail + slope * (touch - (t / s)[parentless])
    to_bits = 2.0**23 / math.log(2)
    rows = padded[parentless, : -(-rank // 2) * 2].T
    bound = np.vstack([start * to_bits + _ONE_BITS + _SLACK, rows * slope * to_bits])
    order = np.argsort(parent, kind="stable")
    order = order[np.count_nonzero(parent < 0) :]
    counts = np.bincount(parent[order], minlength=n)
    return Plan(
        threshold=t / s,
        factor=np.ascontiguousarray(padded, np.float32),
        parentless=parentless.astype(np.int32),
        hashes=parentless.astype(np.uint32) * _SPREAD,
        bound=np.ascontiguousarray(bound, np.float32),
        rank=rank,
        child_start=np.concatenate([[0], np.cumsum(counts)]).astype(np.int32),
        child=order.astype(np.int32),
        exclusive=exclusive,
        scaled=scaled,
        mean=mean,
        std=std,
        directions=directions,
        bias=bias,
    )


@njit(inline="always")
@no_type_check
def _mix(x):
    """A bijection of 64-bit numbers that leaves no trace of the order of its arguments."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@njit(inline="always")
@no_type_check
def _next(state):
    return state + np.uint64(0x9E3779B97F4A7C15)


@njit(inline="always")
@no_type_check
def _unit(bits):
    """A uniform number in (0, 1)."""
    return (np.float64(bits >> np.uint64(12)) + 0.5) * 2.0**-52


@njit(inline="always")
@no_type_check
def _hash(f, k0, k1):
    """32 bits for the multiple ``f`` of a feature's id under a sample's two keys."""
    h = np.uint32(f + k0)
    h = np.uint32((h ^ (h >> np.uint32(16))) * np.uint32(0x85EBCA6B))
    h = np.uint32((h ^ (h >> np.uint32(13))) + k1)
    h = np.uint32(h * np.uint32(0xC2B2AE35))
    h = np.uint32((h ^ (h >> np.uint32(16))) * np.uint32(0x7FEB352D))
    return np.uint32(h ^ (h >> np.uint32(15)))


@njit(cache=True, nogil=True)
@no_type_check
def _outside(layer, x, state):
    """The rare half of ``_normal``: in the tail or above a layer's core. (value >= 0, accepted, state)."""
    if layer == 0:
        while True:
            state = _next(state)
            a = -math.log(_unit(_mix(state))) / _TAIL
            state = _next(state)
            b = -math.log(_unit(_mix(state)))
            if b + b > a * a:
                return _TAIL + a, True, state
    state = _next(state)
    low, high = _HEIGHTS[layer], _HEIGHTS[layer + 1]
    if layer + 1 == _LAYERS:
        high = 1.0
    return x, low + _unit(_mix(state)) * (high - low) < math.exp(-0.5 * x * x), state


@njit(inline="always")
@no_type_check
def _normal(state):
    """(a standard normal number, the state after it): Marsaglia and Tsang's ziggurat."""
    while True:
        state = _next(state)
        bits = _mix(state)
        layer = np.int64(bits & np.uint64(255))
        x = np.float64(bits >> np.uint64(12)) * 2.0**-52 * _EDGES[layer]
        accepted = x < _EDGES[layer + 1]
        if not accepted:
            x, accepted, state = _outside(layer, x, state)
        if accepted:
            return (x if bits & np.uint64(256) else -x), state


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})
@no_type_check
def _dot(factor, f, eps, i):
    total = np.float32(0)
    for j in range(factor.shape[1]):
        total += factor[f, j] * eps[i, j]
    return total


@njit(cache=True, nogil=True)
@no_type_check
def _exceeds(x, u):
    """Whether u < Q(x); an erfc is seldom needed to know."""
    at = (min(max(x, -_TABLE_END), _TABLE_END) + _TABLE_END) * _TABLE_STEPS
    cell = np.int64(at)
    q = _TAILS[cell] + (at - cell) * (_TAILS[cell + 1] - _TAILS[cell])
    return u < q if abs(u - q) > _TABLE_ERROR else u < 0.5 * math.erfc(x * math.sqrt(0.5))


@njit(cache=True, nogil=True, fastmath={"contract"})
@no_type_check
def _may_fire(bound, eps, i, hashes, keys, bits, most, hits):
    """hits[t, j] = 1 where the uniform number of parentless feature j is not above its bound, for the four samples t
    from i on: as many as make good use of each number of ``bound`` that is fetched. ``bits`` and ``most`` are the same
    memory, read as int32 and as float32."""
    many = len(hashes)
    for t in range(4):
        for j in range(many):
            most[t, j] = bound[0, j]
    for r in range(0, len(bound) - 1, 2):
        a0, a1, a2, a3 = eps[i, r], eps[i + 1, r], eps[i + 2, r], eps[i + 3, r]
        b0, b1, b2, b3 = eps[i, r + 1], eps[i + 1, r + 1], eps[i + 2, r + 1], eps[i + 3, r + 1]
        for j in range(many):
            a, b = bound[r + 1, j], bound[r + 2, j]
            most[0, j] = most[0, j] + a0 * a + b0 * b
            most[1, j] = most[1, j] + a1 * a + b1 * b
            most[2, j] = most[2, j] + a2 * a + b2 * b
            most[3, j] = most[3, j] + a3 * a + b3 * b
    for t in range(4):
        for j in range(many):
            bits[t, j] = np.int32(min(max(most[t, j], np.float32(0)), np.float32(2.1e9)))
        k0, k1 = keys[i + t, 0], keys[i + t, 1]
        for j in range(many):
            u = np.float32(_hash(hashes[j], k0, k1) >> np.uint32(8)) * np.float32(2.0**-24)
            hits[i + t, j] = np.uint8(u <= most[t, j])


@njit(cache=True, nogil=True)
@no_type_check
def _draw(
    i, at, keys, state, hits, word, eps, values, ids, threshold, factor, parentless, child_start, child, exclusive,
    scaled, mean, std,
):  # fmt: skip
    """Codes of a block's sample i into row ``at``: how many there are, though no more than ``width`` are written."""
    width = values.shape[1]
    k0, k1 = keys[i, 0], keys[i, 1]
    count = 0
    for w in range(word.shape[1]):
        if word[i, w] != 0:
            for j in range(8 * w, 8 * w + 8):
                if hits[i, j] != 0:
                    f = parentless[j]
                    u = (_hash(np.uint32(np.uint32(f) * _SPREAD), k0, k1) + 0.5) * 2.0**-32
                    if _exceeds(threshold[f] - _dot(factor, f, eps, i), u):
                        z, state = _normal(state)
                        v = mean[f] + std[f] * z
                        if v > 0:
                            if count < width:
                                values[at, count] = v
                                ids[at, count] = f
                            count += 1
    turn = 0
    while turn < min(count, width):
        f = ids[at, turn]
        scale = values[at, turn] / mean[f] if scaled[f] else np.float32(1)
        first, seen = count, 0
        for c in range(child_start[f], child_start[f + 1]):
            g = child[c]
            u = (_hash(np.uint32(np.uint32(g) * _SPREAD), k0, k1) + 0.5) * 2.0**-32
            if _exceeds(threshold[g] - _dot(factor, g, eps, i), u):
                z, state = _normal(state)
                v = mean[g] + std[g] * z
                if v > 0:
                    seen += 1
                    place = count
                    if exclusive[f] and seen > 1:
                        state = _next(state)
                        place = first if _unit(_mix(state)) * seen < 1 else width  # each of the seen is as likely
                    else:
                        count += 1
                    if place < width:
                        values[at, place] = v * scale
                        ids[at, place] = g
        turn += 1
    return count


@njit(parallel=True, cache=True, nogil=True)
@no_type_check
def draw_samples(p, key, index, x, values, ids, counts):
    """The samples numbered ``index`` into ``x`` [n, d] and sparse codes [n, width]. ``counts`` says how many codes each
    has, or that there are more than ``width``: then that sample is not whole and must be drawn again with more room."""
    n, width = values.shape
    many = len(p.parentless)
    blocks = (n + _BLOCK - 1) // _BLOCK
    threshold, factor, parentless, hashes, bound = p.threshold, p.factor, p.parentless, p.hashes, p.bound
    child_start, child, exclusive, scaled = p.child_start, p.child, p.exclusive, p.scaled
    mean, std, directions, bias = p.mean, p.std, p.directions, p.bias
    rank = p.rank
    for block in prange(blocks):
        first, last = block * _BLOCK, min(n, (block + 1) * _BLOCK)
        eps, states = np.zeros((_BLOCK, factor.shape[1]), np.float32), np.zeros(_BLOCK, np.uint64)
        keys, hits = np.zeros((_BLOCK, 2), np.uint32), np.zeros((_BLOCK, 8 * ((many + 7) // 8)), np.uint8)
        bits = np.zeros((4, many), np.int32)
        most, word = bits.view(np.float32), hits.view(np.uint64)
        for i in range(last - first):
            state = _mix(key + np.uint64(index[first + i]) * np.uint64(0xD1342543DE82EF95))
            for j in range(rank):
                eps[i, j], state = _normal(state)
            state = _next(state)
            pair = _mix(state)
            keys[i, 0], keys[i, 1] = np.uint32(pair & np.uint64(0xFFFFFFFF)), np.uint32(pair >> np.uint64(32))
            states[i] = state
        for i in range(0, last - first, 4):
            _may_fire(bound, eps, i, hashes, keys, bits, most, hits)
        for i in range(last - first):
            at = first + i
            count = _draw(
                i, at, keys, states[i], hits, word, eps, values, ids, threshold, factor, parentless, child_start, child,
                exclusive, scaled, mean, std,
            )  # fmt: skip
            counts[at] = count
            for k in range(len(bias)):
                x[at, k] = bias[k]
            for j in range(min(count, width)):
                f, v = ids[at, j], values[at, j]
                for k in range(len(bias)):
                    x[at, k] += v * directions[f, k]
            for j in range(count, width):
                values[at, j] = 0
                ids[at, j] = 0
