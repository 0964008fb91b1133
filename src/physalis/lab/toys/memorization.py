"""Toy models trained on a fixed set of points, again and again: do they store the points or the features? (Henighan et
al. 2023, "Superposition, Memorization, and Double Descent").

``x' = relu(W^T W x + b)`` with W [m, n], AdamW on all points at once. A step on T points and n features would cost
T * n * m operations; most of them need not be made:

* points are sparse, so what comes in is read from lists of the features that are there;
* where no point can open a feature's relu, nothing flows;
* where every point opens it, its gradient is a quadratic form whose sums over points are the same for all features.

Only features that are open for some points and shut for others walk through all points, in loops that the compiler
turns into vector instructions.
"""

import math
from dataclasses import dataclass
from typing import no_type_check

import numpy as np
from jaxtyping import Float, Float32, Float64
from numba import njit, prange

from physalis.errors import BadInput

Points = Float[np.ndarray, "instances T n"]

B1, B2, EPS = 0.9, 0.999, 1e-8
TINY = 1e-30
"""Moments below it are 0: numbers too small for 32 bits are computed hundreds of times slower."""


@njit(cache=True, fastmath={"contract", "reassoc", "nsz", "arcp"}, error_model="numpy")
@no_type_check
def adamw(p, g, mean, square, k):
    """One step of a row of parameters, decay included. k: what turns g into the gradient, rate, what decay leaves, the
    square's unbiasing, and the four constants, all of p's type, since one wider number makes every operation wide."""
    scale, rate, shrink, unbias, slow, slower, eps, tiny = k[0], k[1], k[2], k[3], k[4], k[5], k[6], k[7]
    zero = tiny - tiny
    for f in range(len(p)):
        d = g[f] * scale
        u = mean[f] + slow * (d - mean[f])
        u = u if abs(u) > tiny else zero
        v = square[f] + slower * (d * d - square[f])
        v = v if v > tiny else zero
        mean[f] = u
        square[f] = v
        p[f] = p[f] * shrink - rate * u / (math.sqrt(v) * unbias + eps)


@njit(parallel=True, cache=True, fastmath={"contract", "reassoc", "nsz", "arcp"}, error_model="numpy")
@no_type_check
def descend(w, b, x, steps, warmup, lr, decay, every, kept, kept_b, losses):
    """Train in place on x [instances, T, n]; the rate rises over ``warmup`` steps and falls as a cosine.

    w [instances, m, n], b [instances, n]. kept [instances, snapshots, m, n], kept_b [instances, snapshots, n] and
    losses [instances, snapshots] receive weights and the loss of a point before the step, every ``every`` steps.
    """
    for i in prange(len(w)):
        m, n, points = w.shape[1], w.shape[2], x.shape[1]
        start, total = np.zeros(n + 1, np.int64), 0.0
        for t in range(points):
            for f in range(n):
                start[f + 1] += x[i, t, f] != 0
                total += x[i, t, f] ** 2
        for f in range(n):
            start[f + 1] += start[f]
        who, value, at = np.zeros(start[n], np.int64), np.zeros(start[n], w.dtype), start.copy()
        for t in range(points):  # the points of each feature
            for f in range(n):
                if x[i, t, f] != 0:
                    who[at[f]], value[at[f]] = t, x[i, t, f]
                    at[f] += 1
        weights, bias = w[i], b[i]
        g_w, g_b = np.zeros((m, n), w.dtype), np.zeros(n, w.dtype)
        m_w, v_w, m_b, v_b = (
            np.zeros((m, n), w.dtype),
            np.zeros((m, n), w.dtype),
            np.zeros(n, w.dtype),
            np.zeros_like(g_b),
        )
        h, g_h, out = np.zeros((m, points), w.dtype), np.zeros((m, points), w.dtype), np.zeros(points, w.dtype)
        sums, squares = np.zeros(m), np.zeros((m, m))
        open_b, open_w = np.zeros(m, w.dtype), np.zeros((m, m), w.dtype)
        k = np.zeros(8, w.dtype)
        k[0], k[4], k[5], k[6], k[7] = 2 / points, 1 - B1, 1 - B2, EPS, TINY
        zero = out[0]
        for step in range(steps):
            h[:] = 0
            for a in range(m):
                row, to = weights[a], h[a]
                for f in range(n):
                    for j in range(start[f], start[f + 1]):
                        to[who[j]] += row[f] * value[j]
            reach = 0.0
            for t in range(points):
                length = 0.0
                for a in range(m):
                    length += h[a, t] ** 2
                reach = max(reach, length)
            reach = math.sqrt(reach)
            for a in range(m):
                sums[a] = h[a].sum()
                for c in range(m):
                    squares[a, c] = np.dot(h[a], h[c])
            g_h[:] = 0
            open_b[:] = 0
            open_w[:] = 0
            loss = total
            for f in range(n):
                length = 0.0
                for a in range(m):
                    length += weights[a, f] ** 2
                length = math.sqrt(length) * reach
                if bias[f] + length <= 0:  # shut for all points
                    g_b[f] = 0
                    for a in range(m):
                        g_w[a, f] = 0
                elif bias[f] > length:  # open for all points
                    summed = points * bias[f]
                    loss += points * bias[f] ** 2
                    for a in range(m):
                        g = bias[f] * sums[a]
                        for c in range(m):
                            g += squares[a, c] * weights[c, f]
                            open_w[a, c] += weights[a, f] * weights[c, f]
                        g_w[a, f] = g
                        open_b[a] += weights[a, f] * bias[f]
                        summed += weights[a, f] * sums[a]
                        loss += weights[a, f] * (g + bias[f] * sums[a])
                    for j in range(start[f], start[f + 1]):
                        t, z = who[j], bias[f]
                        summed -= value[j]
                        for a in range(m):
                            z += weights[a, f] * h[a, t]
                            g_w[a, f] -= h[a, t] * value[j]
                            g_h[a, t] -= weights[a, f] * value[j]
                        loss -= 2 * z * value[j]
                    g_b[f] = summed
                else:
                    out[:] = bias[f]
                    for a in range(m):
                        row, by = h[a], weights[a, f]
                        for t in range(points):
                            out[t] += by * row[t]
                    s, towards = zero, zero
                    for t in range(points):
                        z = out[t] if out[t] > zero else zero
                        s += z * z
                        towards += z
                        out[t] = z
                    loss += s
                    for j in range(start[f], start[f + 1]):
                        z = out[who[j]]
                        if z > 0:
                            loss -= 2 * z * value[j]
                            towards -= value[j]
                            out[who[j]] = z - value[j]
                    g_b[f] = towards
                    for a in range(m):
                        row, to, by, s = h[a], g_h[a], weights[a, f], zero
                        for t in range(points):
                            s += out[t] * row[t]
                            to[t] += by * out[t]
                        g_w[a, f] = s
            for a in range(m):
                to = g_h[a]
                for c in range(m):
                    row, by = h[c], open_w[a, c]
                    for t in range(points):
                        to[t] += by * row[t]
                for f in range(n):
                    s = g_w[a, f]
                    for j in range(start[f], start[f + 1]):
                        s += (to[who[j]] + open_b[a]) * value[j]
                    g_w[a, f] = s
            late = 0.5 + 0.5 * math.cos(math.pi * (step - warmup) / (steps - warmup))
            part = lr * ((step + 1) / warmup if step < warmup else late)
            k[1] = part / (1 - B1 ** (step + 1))
            k[2], k[3] = 1 - part * decay, 1 / math.sqrt(1 - B2 ** (step + 1))
            for a in range(m):
                adamw(weights[a], g_w[a], m_w[a], v_w[a], k)
            adamw(bias, g_b, m_b, v_b, k)
            if (step + 1) % every == 0:
                nth = (step + 1) // every - 1
                kept[i, nth], kept_b[i, nth], losses[i, nth] = weights, bias, loss / points


@dataclass(frozen=True)
class Memorizers:
    """Models trained on points of their own, and how they came to be."""

    points: Points
    W: Float[np.ndarray, "instances m n"]
    b: Float[np.ndarray, "instances n"]
    kept: Float[np.ndarray, "instances snapshots m n"]
    """Weights during training, at even intervals; the last are W."""
    kept_b: Float[np.ndarray, "instances snapshots n"]
    losses: Float64[np.ndarray, "instances snapshots"]
    """Training loss of a point just before each snapshot's last step."""

    @property
    def hidden(self) -> Float[np.ndarray, "instances T m"]:
        """Where each training point comes to lie."""
        return np.einsum("imn,itn->itm", self.W, self.points)

    @property
    def best(self) -> int:
        """The instance with the lowest training loss: of one set of points, the start that memorised it best."""
        return int(self.losses[:, -1].argmin())


def draw_points(count: int, n: int, density: float, *, seed: int) -> Float32[np.ndarray, "count n"]:
    """Inputs of length 1: each feature is there with ``density``, uniform from 0 to 1 before the length is set. An
    empty one is drawn anew."""
    rng = np.random.default_rng(seed)
    x = np.zeros((count, n))
    empty = np.arange(count)
    while len(empty):
        x[empty] = rng.random((len(empty), n)) * (rng.random((len(empty), n)) < density)
        empty = np.flatnonzero(~x.any(1))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def memorize(
    points: Points,
    m: int,
    *,
    steps: int = 50_000,
    lr: float = 1e-3,
    decay: float = 1e-2,
    snapshots: int = 1,
    seed: int = 0,
) -> Memorizers:
    """Train one model on each set of points, by AdamW: a twentieth of the steps warms up, then the rate falls as a
    cosine. ``decay`` pulls at weights and biases, in every step by ``rate * decay``.

    Weights start normal with deviation ``sqrt(2 / (n + m))`` (Xavier), biases at 0. Raises BadInput where there is
    nothing to train.
    """
    instances, count, n = points.shape
    if m < 1 or not points.size or steps < max(snapshots, 2):
        raise BadInput(f"A model needs points, dimensions and steps; received {points.shape}, m={m}, {steps} steps.")
    points = np.ascontiguousarray(points)
    w = (np.random.default_rng(seed).normal(size=(instances, m, n)) * np.sqrt(2 / (n + m))).astype(points.dtype)
    b, kept = np.zeros((instances, n), w.dtype), np.zeros((instances, snapshots, m, n), w.dtype)
    kept_b, losses = np.zeros((instances, snapshots, n), w.dtype), np.zeros((instances, snapshots))
    descend(w, b, points, steps, max(1, steps // 20), lr, decay, steps // snapshots, kept, kept_b, losses)
    return Memorizers(points, w, b, kept, kept_b, losses)


def sample_dimensionality(hidden: Float[np.ndarray, "T m"]) -> Float[np.ndarray, " T"]:
    """``|h_i|^2 / sum_j (h_i/|h_i| . h_j)^2``: the share of a dimension that each point has to itself; 0 for a point at
    the origin. Corners of a regular polygon of T points have 2/T each."""
    length = np.linalg.norm(hidden, axis=1)
    shared = np.square(hidden / np.maximum(length, 1e-12)[:, None] @ hidden.T).sum(1)
    return np.where(length > 1e-6, length**2 / np.maximum(shared, 1e-12), 0.0)


def loss_on(w: Float[np.ndarray, "m n"], b: Float[np.ndarray, " n"], points: Float[np.ndarray, "T n"]) -> float:
    """Mean over points of ``|x' - x|^2``; 1 for a model that always answers 0."""
    return float(np.square(np.maximum(points @ w.T @ w + b, 0) - points).sum(1).mean(dtype=float))
