"""A 2-D map of features: those whose directions are alike lie together. And its regions.

1. Each living feature is joined to its nearest by decoder direction. An edge's strength falls from 1 at the nearest
   with a length scale chosen feature by feature, so that dense and sparse neighbourhoods count alike; the two
   directions of a pair are joined as independent chances (McInnes et al. 2018, arXiv 1802.03426, section 3).
2. The starting places are the two slowest modes of a random walk on that graph that some dozens of steps of the walk
   find from a random projection of the directions.
3. Places move by stochastic gradient: joined features attract as often as their edge is strong, random pairs repel,
   with the similarity 1 / (1 + r^2) at distance r. (The paper's two fitted exponents cost a power a pair.)
4. Regions are k-means clusters of the places.

Deterministic for a seed: one thread, fixed order. 4,608 features take about half a second, 100,000 about 20 s.
"""

import math
from typing import NamedTuple, no_type_check

import numpy as np
from numba import njit

REPELLED = 5
"""Random features that each attraction is balanced with."""

WALK_STEPS = 60

EPOCHS = 80
"""Passes over the edges. 200 show the same."""


class Layout(NamedTuple):
    """One row a feature."""

    x: np.ndarray
    """In [0, 1]; 0 for dead features."""
    y: np.ndarray
    region: np.ndarray
    """-1 for dead features."""


def lay_out(
    directions: np.ndarray, living: np.ndarray, nearest: np.ndarray, cosine: np.ndarray, *, seed: int
) -> Layout:
    """Places and regions of the living features. ``directions`` [features, d]; ``nearest`` and ``cosine`` [features, n]
    name living features only, nearest first, -1 where there are fewer."""
    ids = np.flatnonzero(living)
    x, y = np.zeros((2, len(living)), np.float32)
    out = Layout(x, y, np.full(len(living), -1, np.int32))
    if len(ids) == 0:
        return out
    local = np.full(len(living) + 1, -1)
    local[ids] = np.arange(len(ids))
    offsets, other, strength = _graph(local[nearest[ids]], 1 - cosine[ids])
    projection = np.random.default_rng(seed).standard_normal((directions.shape[1], 2))
    places = _walk(offsets, other, strength, directions[ids] @ projection)
    _move(places, offsets, other, strength, EPOCHS, seed)
    places = _unit_square(places)
    region = _k_means(places, _n_regions(len(ids)))
    out.x[ids], out.y[ids], out.region[ids] = places[:, 0], places[:, 1], region
    return out


def _n_regions(n: int) -> int:
    """Few enough to read, many enough to tell apart: 24 for 4,608 features."""
    return max(1, min(40, n // 2, round(math.sqrt(n) / 2.8)))


def _graph(nearest: np.ndarray, distance: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The joined graph: edges of feature i are ``offsets[i]:offsets[i + 1]`` of the other two."""
    n = len(nearest)
    strength = _strengths(nearest, np.ascontiguousarray(distance, np.float64))
    here, there = np.repeat(np.arange(n), nearest.shape[1]), nearest.reshape(-1)
    real = there >= 0
    key = np.concatenate([here[real] * n + there[real], there[real] * n + here[real]])
    given = np.concatenate([strength.reshape(-1)[real]] * 2)
    order = np.argsort(key, kind="stable")
    key, given = key[order], given[order]
    first = np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]])) if len(key) else np.zeros(0, np.int64)
    # At most two chances meet on an edge: 1 - (1 - a)(1 - b).
    joined = 1 - np.multiply.reduceat(1 - given, first) if len(key) else given
    key = key[first]
    return np.searchsorted(key, np.arange(n + 1) * n), key % n if n else key, joined


@njit(cache=True, nogil=True)
@no_type_check
def _strengths(nearest, distance):
    """exp(-(d - nearest d) / scale), the scale such that a feature's strengths sum to log2 of their number."""
    out = np.zeros(nearest.shape)
    for i in range(nearest.shape[0]):
        n = 0
        while n < nearest.shape[1] and nearest[i, n] >= 0:
            n += 1
        if n == 0:
            continue
        goal, low, high = max(1.0, np.log2(n)), 1e-6, 10.0
        for _ in range(40):
            scale = np.sqrt(low * high)
            total = 0.0
            for j in range(n):
                total += np.exp(-(distance[i, j] - distance[i, 0]) / scale)
            if total > goal:
                high = scale
            else:
                low = scale
        for j in range(n):
            out[i, j] = np.exp(-(distance[i, j] - distance[i, 0]) / low)
    return out


def _walk(offsets: np.ndarray, other: np.ndarray, strength: np.ndarray, start: np.ndarray) -> np.ndarray:
    """The two slowest modes that ``start`` holds, of a size that the gradient steps fit."""
    n = len(start)
    degree = np.add.reduceat(np.append(strength, 0), offsets[:-1]) * (np.diff(offsets) > 0)
    root = np.sqrt(np.maximum(degree, 1e-12))
    still = root / np.linalg.norm(root)
    modes = start * root[:, None]
    for _ in range(WALK_STEPS):
        modes = 0.5 * modes + 0.5 * _step(offsets, other, strength, modes / root[:, None]) / root[:, None]
        modes -= still[:, None] * (still @ modes)
        modes, _ = np.linalg.qr(modes) if n > 1 else (modes, None)
    places = modes / root[:, None] if modes.shape[1] == 2 else np.zeros((n, 2))
    # Ranks spread what the modes crowd together, and keep its order.
    ranks = np.argsort(np.argsort(places, axis=0, kind="stable"), axis=0, kind="stable")
    return np.ascontiguousarray(20 * (ranks / max(1, n - 1) - 0.5))


@njit(cache=True, nogil=True)
@no_type_check
def _step(offsets, other, strength, modes):
    out = np.zeros_like(modes)
    for i in range(modes.shape[0]):
        for e in range(offsets[i], offsets[i + 1]):
            out[i, 0] += strength[e] * modes[other[e], 0]
            out[i, 1] += strength[e] * modes[other[e], 1]
    return out


@njit(cache=True, nogil=True)
@no_type_check
def _move(places, offsets, other, strength, epochs, seed):
    n = places.shape[0]
    due = np.zeros(strength.shape[0])
    state = np.uint64(seed * 2 + 1)
    for epoch in range(epochs):
        rate = 1.0 - epoch / epochs
        for i in range(n):
            for e in range(offsets[i], offsets[i + 1]):
                due[e] += strength[e]
                if due[e] < 1:
                    continue
                due[e] -= 1
                j = other[e]
                dx, dy = places[i, 0] - places[j, 0], places[i, 1] - places[j, 1]
                square = dx * dx + dy * dy
                pull = -2 / (1 + square)
                mx, my = rate * _clip(pull * dx), rate * _clip(pull * dy)
                places[i, 0] += mx
                places[i, 1] += my
                places[j, 0] -= mx
                places[j, 1] -= my
                for _ in range(REPELLED):
                    state ^= state << np.uint64(13)
                    state ^= state >> np.uint64(7)
                    state ^= state << np.uint64(17)
                    j = np.int64(((state >> np.uint64(32)) * np.uint64(n)) >> np.uint64(32))
                    dx, dy = places[i, 0] - places[j, 0], places[i, 1] - places[j, 1]
                    square = dx * dx + dy * dy
                    push = 2 / ((0.001 + square) * (1 + square))
                    places[i, 0] += rate * _clip(push * dx)
                    places[i, 1] += rate * _clip(push * dy)


@njit(cache=True, nogil=True)
@no_type_check
def _clip(value):
    return min(4.0, max(-4.0, value))


def _unit_square(places: np.ndarray) -> np.ndarray:
    """Scaled alike on both axes. The outermost 0.2 % at each side are moved to the edge, or a few strays would set the
    scale."""
    low, high = np.quantile(places, 0.002, axis=0), np.quantile(places, 0.998, axis=0)
    size = max(float((high - low).max()), 1e-12)
    return np.clip((places - (low + high) / 2) / size * 0.96 + 0.5, 0, 1)


def _k_means(places: np.ndarray, k: int) -> np.ndarray:
    """Lloyd's algorithm from the farthest-first centres of a coarse sample; regions numbered by falling size."""
    sample = places[:: max(1, len(places) // 2000)]
    centres = [np.median(sample, axis=0)]
    far = ((sample - centres[0]) ** 2).sum(1)
    while len(centres) < k:
        centres.append(sample[far.argmax()])
        far = np.minimum(far, ((sample - centres[-1]) ** 2).sum(1))
    centre = np.array(centres)
    for _ in range(30):
        region = _nearest_centre(places, centre)
        size = np.bincount(region, minlength=k)
        for axis in range(2):
            total = np.bincount(region, places[:, axis], minlength=k)
            centre[:, axis] = np.where(size > 0, total / np.maximum(size, 1), centre[:, axis])
    size = np.bincount(region, minlength=k)
    rank = np.empty(k, np.int32)
    rank[np.argsort(-size, kind="stable")] = np.arange(k)
    return rank[region]


@njit(cache=True, nogil=True)
@no_type_check
def _nearest_centre(places, centre):
    out = np.zeros(places.shape[0], np.int64)
    for i in range(places.shape[0]):
        best = np.inf
        for c in range(centre.shape[0]):
            d = (places[i, 0] - centre[c, 0]) ** 2 + (places[i, 1] - centre[c, 1]) ** 2
            if d < best:
                best, out[i] = d, c
    return out
