"""The loss that a toy model of a few features is expected to have, and the least there is, by arithmetic alone.

Few features allow few combinations of which are there, and each combination is a small cube of values, read at the
middles of a grid. Nothing is drawn, so losses of two models can be told apart however little they differ, and a
trained model can be held against the best that the same arithmetic finds.
"""

import itertools
from typing import NamedTuple, no_type_check

import numpy as np
from jaxtyping import Bool, Float64, Int64
from numba import njit
from scipy.optimize import minimize

PER_AXIS = (1, 48, 16, 10, 5, 3)
"""Points of the midpoint rule along each axis where that many features are there: many together seldom are."""


class Points(NamedTuple):
    """Where the loss is read."""

    x: Float64[np.ndarray, "points n"]
    case: Int64[np.ndarray, " points"]
    """Which combination of features each point belongs to."""
    share: Float64[np.ndarray, " points"]
    """Its part in the mean of its combination."""
    there: Bool[np.ndarray, "cases n"]

    def chances(self, density: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " cases"]:
        """How likely each combination is, of independent features."""
        return np.where(self.there, density, 1 - density).prod(1)


def points(n: int) -> Points:
    """All combinations of ``n`` features, at most five."""
    there = np.array(list(itertools.product([False, True], repeat=n)))
    parts = []
    for row in there:
        per = PER_AXIS[row.sum()]
        grid = np.zeros((per ** row.sum(), n))
        middles = (np.arange(per) + 0.5) / per
        for axis, values in zip(np.flatnonzero(row), np.meshgrid(*[middles] * row.sum(), indexing="ij"), strict=True):
            grid[:, axis] = values.reshape(-1)
        parts.append(grid)
    case = np.repeat(np.arange(len(there)), [len(part) for part in parts])
    share = np.concatenate([np.full(len(part), 1 / len(part)) for part in parts])
    return Points(np.concatenate(parts), case, share, there)


@njit(cache=True)
@no_type_check
def expect(w, b, importance, x, weight, g_w, g_b):
    """Loss of ``relu(w^T w x + b)`` over points x of these weights; g_w [m, n] and g_b [n] receive its gradient."""
    m, n = w.shape
    h, g = np.zeros(m), np.zeros(n)
    g_w[:] = 0
    g_b[:] = 0
    total = 0.0
    for t in range(len(x)):
        for f in range(n):
            g[f] = b[f]
        for a in range(m):
            s = 0.0
            for f in range(n):
                s += w[a, f] * x[t, f]
            h[a] = s
            for f in range(n):
                g[f] += s * w[a, f]
        for f in range(n):
            e = max(g[f], 0.0) - x[t, f]
            total += weight[t] * importance[f] * e * e
            g[f] = 2.0 * weight[t] * importance[f] * e if g[f] > 0.0 else 0.0
            g_b[f] += g[f]
        for a in range(m):
            s = 0.0
            for f in range(n):
                s += w[a, f] * g[f]
            for f in range(n):
                g_w[a, f] += s * x[t, f] + h[a] * g[f]
    return total


def expected(
    w: Float64[np.ndarray, "m n"],
    b: Float64[np.ndarray, " n"],
    importance: Float64[np.ndarray, " n"],
    density: Float64[np.ndarray, " n"],
    at: Points,
) -> float:
    """The expected loss of one model."""
    weight = at.chances(density)[at.case] * at.share
    return float(expect(w, b, importance, at.x, weight, np.zeros_like(w), np.zeros_like(b)))


class Least(NamedTuple):
    """A minimum of the expected loss."""

    loss: float
    W: Float64[np.ndarray, "m n"]
    b: Float64[np.ndarray, " n"]


def descend_from(
    w: Float64[np.ndarray, "m n"],
    b: Float64[np.ndarray, " n"],
    importance: Float64[np.ndarray, " n"],
    density: Float64[np.ndarray, " n"],
    at: Points,
) -> Least:
    """The minimum that lies below these weights (L-BFGS)."""
    m, n = w.shape
    weight = at.chances(density)[at.case] * at.share
    g_w, g_b = np.zeros((m, n)), np.zeros(n)

    def loss(z: np.ndarray) -> tuple[float, np.ndarray]:
        value = expect(z[: m * n].reshape(m, n), z[m * n :], importance, at.x, weight, g_w, g_b)
        return float(value), np.concatenate([g_w.reshape(-1), g_b])

    options = {"maxiter": 500, "ftol": 1e-13, "gtol": 1e-9}
    start = np.concatenate([w.reshape(-1), b])
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options=options)
    return Least(float(found.fun), found.x[: m * n].reshape(m, n), found.x[m * n :])
