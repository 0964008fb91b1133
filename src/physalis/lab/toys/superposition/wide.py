"""Toy models of a hundred features and more, drawn and computed a row at a time in 32 bits.

descent.py walks through the features that are there, which pays where few are. With many features, half of them there,
most of its time goes to numbers that wait for the one before. Here every feature has a random generator of its own,
so that a row of inputs is drawn in vector instructions, and all sums run over whole rows.
"""

import math
from typing import no_type_check

import numpy as np
from jaxtyping import Bool, Float64
from numba import njit, prange

from physalis.errors import BadInput
from physalis.lab.toys.descent import B1, B2, EPS
from physalis.lab.toys.inputs import independent
from physalis.lab.toys.superposition.models import ToyModels

ROW = 32
"""Features are filled up to a multiple of it with some that never come, for no vector to be left half full."""
BITS = 24  # of a generator's 64 that make the value, and as many that say whether the feature is there
ONE, LEFT, RIGHT, LAST, HIGH = (np.uint64(v) for v in (2**BITS - 1, 13, 7, 17, 64 - BITS))
NONE, UNIT = np.float32(0), np.float32(2.0**-BITS)
SLOW, SLOWER, SMALL = np.float32(1 - B1), np.float32(1 - B2), np.float32(EPS)


@njit(inline="always")
@no_type_check
def draw_row(lanes, gate, x):
    """One input: feature f is there where the low bits of its generator (xorshift) are below gate[f]; the high ones are
    its value."""
    for f in range(len(x)):
        z = lanes[f]
        z ^= z << LEFT
        z ^= z >> RIGHT
        z ^= z << LAST
        lanes[f] = z
        value = np.float32(np.int32(z >> HIGH)) * UNIT
        x[f] = value if np.int32(z & ONE) < gate[f] else NONE


@njit(parallel=True, cache=True, fastmath={"contract", "reassoc", "nsz", "arcp"}, error_model="numpy")
@no_type_check
def descend_rows(w, b, relu, importance, gate, lanes, steps, batch, lr, every, kept, kept_b, losses):
    """As descent.descend, on w [instances, m, n] of 32 bits; gate [instances, n] is the density in 2^-24, lanes
    [instances, n] the generators' states."""
    for i in prange(len(w)):
        m, n = w.shape[1], w.shape[2]
        weights, bias, lane = w[i], b[i], lanes[i]
        g_w, m_w, v_w = np.zeros((m, n), np.float32), np.zeros((m, n), np.float32), np.zeros((m, n), np.float32)
        g_b, m_b, v_b = np.zeros(n, np.float32), np.zeros(n, np.float32), np.zeros(n, np.float32)
        h, x, g = np.zeros(m, np.float32), np.zeros(n, np.float32), np.zeros(n, np.float32)
        total = 0.0
        for step in range(steps):
            g_w[:] = NONE
            g_b[:] = NONE
            for _ in range(batch):
                draw_row(lane, gate[i], x)
                for f in range(n):
                    g[f] = bias[f]
                for a in range(m):
                    s = NONE
                    for f in range(n):
                        s += weights[a, f] * x[f]
                    h[a] = s
                    for f in range(n):
                        g[f] += s * weights[a, f]
                part = NONE
                linear = not relu[i]
                for f in range(n):  # g becomes half the loss's gradient towards what goes into the relu
                    opened = linear or g[f] > NONE
                    e = (g[f] if opened else NONE) - x[f]
                    part += importance[i, f] * e * e
                    g[f] = importance[i, f] * e if opened else NONE
                    g_b[f] += g[f]
                total += part
                for a in range(m):
                    s, t = NONE, h[a]
                    for f in range(n):
                        s += weights[a, f] * g[f]
                    for f in range(n):
                        g_w[a, f] += s * x[f] + t * g[f]
            scale = np.float32(2.0 / batch)
            unbias = math.sqrt(1.0 - B2 ** (step + 1)) / (1.0 - B1 ** (step + 1))
            rate = np.float32(lr * (1.0 - step / steps) * unbias)
            for a in range(m):
                for f in range(n):
                    d = g_w[a, f] * scale
                    m_w[a, f] += SLOW * (d - m_w[a, f])
                    v_w[a, f] += SLOWER * (d * d - v_w[a, f])
                    weights[a, f] -= rate * m_w[a, f] / (math.sqrt(v_w[a, f]) + SMALL)
            for f in range(n):
                d = g_b[f] * scale
                m_b[f] += SLOW * (d - m_b[f])
                v_b[f] += SLOWER * (d * d - v_b[f])
                bias[f] -= rate * m_b[f] / (math.sqrt(v_b[f]) + SMALL)
            if (step + 1) % every == 0:
                at = (step + 1) // every - 1
                for f in range(kept.shape[3]):
                    kept_b[i, at, f] = bias[f]
                    for a in range(m):
                        kept[i, at, a, f] = weights[a, f]
                losses[i, at] = total / (every * batch)
                total = 0.0


def train_wide(
    m: int,
    density: Float64[np.ndarray, "instances n"],
    *,
    relu: bool | Bool[np.ndarray, " instances"] = True,
    steps: int = 5_000,
    batch: int = 512,
    lr: float = 3e-3,
    snapshots: int = 1,
    seed: int = 0,
) -> ToyModels:
    """As models.train_toys for independent features that all matter alike, in 32 bits and from other random numbers:
    faster from about thirty features on."""
    inputs = independent(density)
    instances, n = inputs.density.shape
    if m < 1 or instances < 1 or steps < snapshots:
        raise BadInput(f"A toy needs dimensions, instances and steps; received m={m}, {instances} instances, {steps}.")
    wide = -(-n // ROW) * ROW
    w, b, importance = (np.zeros((instances, *shape), np.float32) for shape in ((m, wide), (wide,), (wide,)))
    w[:, :, :n] = np.random.default_rng(seed).normal(size=(instances, m, n)) * np.sqrt(2 / (n + m))
    importance[:, :n] = 1
    gate = np.zeros((instances, wide), np.int32)
    gate[:, :n] = np.rint(inputs.density * 2**BITS)
    lanes = np.random.SeedSequence(seed).generate_state(instances * wide, np.uint64).reshape(instances, wide)
    lanes |= np.uint64(1)  # a generator of zeros stays there
    opens = np.ascontiguousarray(np.broadcast_to(np.asarray(relu, bool), (instances,)))
    kept, kept_b = np.zeros((instances, snapshots, m, n)), np.zeros((instances, snapshots, n))
    losses = np.zeros((instances, snapshots))
    descend_rows(w, b, opens, importance, gate, lanes, steps, batch, lr, steps // snapshots, kept, kept_b, losses)
    told = (w[:, :, :n].astype(np.float64), b[:, :n].astype(np.float64), np.ones((instances, n)))
    return ToyModels(*told, inputs, opens, kept, kept_b, losses)
