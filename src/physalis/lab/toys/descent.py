"""Many small models in one compiled run: each lives in a thread's cache, draws its data and takes its own Adam steps.

A framework's operations on so small a model cost more to start than to compute, and a batch of thousands of such models
spills from cache at every operation. Here one model is trained from beginning to end before the next, its sparse
inputs drawn where they are used, so that a feature that is not there costs nothing.

Instance i depends on its own seed alone: threads and neighbours change nothing.
"""

import math
from typing import no_type_check

import numpy as np
from numba import njit, prange

B1, B2, EPS = 0.9, 0.999, 1e-8


@njit(inline="always")
@no_type_check
def draw(start, one_of, density, ids, values):
    """One input: how many features are there, which, and how strongly (uniform from 0 to 1)."""
    n = 0
    for s in range(len(one_of)):
        if np.random.random() >= density[s]:
            continue
        if one_of[s]:
            ids[n] = start[s] + np.random.randint(start[s + 1] - start[s])
            values[n] = np.random.random()
            n += 1
        else:
            for f in range(start[s], start[s + 1]):
                ids[n] = f
                values[n] = np.random.random()
                n += 1
    return n


@njit(parallel=True, cache=True)
@no_type_check
def descend(w, b, relu, importance, start, one_of, density, seeds, steps, batch, lr, every, kept, kept_b, losses):
    """Train ``x' = relu(w^T w x + b)``, or the same without relu where ``relu`` is false, in place.

    w [instances, m, n], b and importance [instances, n]. kept [instances, snapshots, m, n], kept_b [instances,
    snapshots, n] and losses [instances, snapshots] receive weights and biases every ``every`` steps and the mean loss
    since the last time.
    """
    for i in prange(len(w)):
        np.random.seed(seeds[i])
        m, n = w.shape[1], w.shape[2]
        weights, bias, weight = w[i], b[i], importance[i]
        g_w, g_b = np.zeros((m, n)), np.zeros(n)
        m_w, v_w, m_b, v_b = np.zeros((m, n)), np.zeros((m, n)), np.zeros(n), np.zeros(n)
        h, x, g = np.zeros(m), np.zeros(n), np.zeros(n)
        ids, values = np.zeros(n, np.int64), np.zeros(n)
        total = 0.0
        for step in range(steps):
            g_w[:] = 0
            g_b[:] = 0
            empty = 0
            for _ in range(batch):
                there = draw(start, one_of, density[i], ids, values)
                if there == 0:  # all empty inputs are one: taken together below
                    empty += 1
                    continue
                for j in range(there):
                    x[ids[j]] = values[j]
                g[:] = bias
                for a in range(m):
                    row, s = weights[a], 0.0
                    for j in range(there):
                        s += row[ids[j]] * values[j]
                    h[a] = s
                    if s != 0.0:
                        for f in range(n):
                            g[f] += s * row[f]
                for f in range(n):  # from what goes into the relu to the loss's gradient towards it
                    shut = relu[i] and g[f] <= 0.0
                    e = (0.0 if shut else g[f]) - x[f]
                    total += weight[f] * e * e
                    g[f] = 0.0 if shut else 2.0 * weight[f] * e / batch
                    g_b[f] += g[f]
                for a in range(m):
                    row, s, to = weights[a], 0.0, g_w[a]
                    for f in range(n):
                        s += row[f] * g[f]
                    for j in range(there):
                        to[ids[j]] += s * values[j]
                    if h[a] != 0.0:
                        for f in range(n):
                            to[f] += h[a] * g[f]
                for j in range(there):
                    x[ids[j]] = 0.0
            for f in range(n):
                e = 0.0 if relu[i] and bias[f] <= 0.0 else bias[f]
                total += empty * weight[f] * e * e
                g_b[f] += empty * 2.0 * weight[f] * e / batch
            rate = lr * (1.0 - step / steps) * math.sqrt(1.0 - B2 ** (step + 1)) / (1.0 - B1 ** (step + 1))
            for a in range(m):
                for f in range(n):
                    m_w[a, f] += (1 - B1) * (g_w[a, f] - m_w[a, f])
                    v_w[a, f] += (1 - B2) * (g_w[a, f] ** 2 - v_w[a, f])
                    weights[a, f] -= rate * m_w[a, f] / (math.sqrt(v_w[a, f]) + EPS)
            for f in range(n):
                m_b[f] += (1 - B1) * (g_b[f] - m_b[f])
                v_b[f] += (1 - B2) * (g_b[f] ** 2 - v_b[f])
                bias[f] -= rate * m_b[f] / (math.sqrt(v_b[f]) + EPS)
            if (step + 1) % every == 0:
                at = (step + 1) // every - 1
                kept[i, at] = weights
                kept_b[i, at] = bias
                losses[i, at] = total / (every * batch)
                total = 0.0


@njit(parallel=True, cache=True)
@no_type_check
def measure(w, b, relu, importance, start, one_of, density, seed, samples, losses):
    """Mean loss of each instance on ``samples`` fresh inputs; instances of one density read the same ones."""
    for i in prange(len(w)):
        np.random.seed(seed)
        m, n = w.shape[1], w.shape[2]
        x, out = np.zeros(n), np.zeros(n)
        ids, values = np.zeros(n, np.int64), np.zeros(n)
        total = 0.0
        for _ in range(samples):
            there = draw(start, one_of, density[i], ids, values)
            out[:] = b[i]
            for j in range(there):
                x[ids[j]] = values[j]
            for a in range(m):
                s = 0.0
                for j in range(there):
                    s += w[i, a, ids[j]] * values[j]
                for f in range(n):
                    out[f] += s * w[i, a, f]
            for f in range(n):
                e = (0.0 if relu[i] and out[f] <= 0.0 else out[f]) - x[f]
                total += importance[i, f] * e * e
            for j in range(there):
                x[ids[j]] = 0.0
        losses[i] = total / samples
