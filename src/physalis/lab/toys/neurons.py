"""NeuronModels: sparse inputs through a layer of ReLU neurons and back, many models in one compiled run ("Toy Models of
Superposition", Superposition in a Privileged Basis and Computing in Superposition).

``y = relu(W_out^T relu(W_in x) + b)`` with W_in and W_out [m, n], against ``|x|``; the loss is
``sum_i importance_i (|x_i| - y_i)^2``. Where inputs are never negative the target is the input itself, and the layer
stores; where they have signs, it must compute. A ReLU acts on each neuron alone, so neurons are no arbitrary axes here.

As in toys/descent.py each model lives in a thread's cache and depends on its own seed alone.
"""

import math
from dataclasses import dataclass
from typing import no_type_check

import numpy as np
from jaxtyping import Float64
from numba import njit, prange

from physalis.errors import BadInput
from physalis.lab.toys.descent import B1, B2, EPS, draw
from physalis.lab.toys.inputs import independent

Weights = Float64[np.ndarray, "instances m n"]


@njit(inline="always")
@no_type_check
def forward(w_in, w_out, b, ids, values, there, h, out):
    """What goes into the neurons (h) and into the output's ReLU (out), for the features that are there."""
    out[:] = b
    for a in range(len(w_in)):
        row, s = w_in[a], 0.0
        for j in range(there):
            s += row[ids[j]] * values[j]
        h[a] = s
        if s > 0.0:
            to = w_out[a]
            for f in range(len(out)):
                out[f] += s * to[f]


@njit
@no_type_check
def adam(w, g, m, v, rate):
    """One step of w [rows, columns], its moments m and v."""
    for a in range(w.shape[0]):
        for f in range(w.shape[1]):
            m[a, f] += (1 - B1) * (g[a, f] - m[a, f])
            v[a, f] += (1 - B2) * (g[a, f] ** 2 - v[a, f])
            w[a, f] -= rate * m[a, f] / (math.sqrt(v[a, f]) + EPS)


@njit(parallel=True, cache=True)
@no_type_check
def descend(w_in, w_out, b, tied, importance, low, start, one_of, density, seeds, steps, batch, lr, losses):
    """Train in place: w_in and w_out [instances, m, n], b [instances, 1, n]. Where ``tied``, w_out is w_in: its
    gradient then gathers both. Values are uniform from ``low`` to 1. losses [instances] are those of the last tenth."""
    for i in prange(len(w_in)):
        np.random.seed(seeds[i])
        m, n = w_in.shape[1], w_in.shape[2]
        to_in, to_out, bias, weight = w_in[i], w_out[i], b[i], importance[i]
        g_in, g_b, m_in, v_in = np.zeros((m, n)), np.zeros((1, n)), np.zeros((m, n)), np.zeros((m, n))
        m_b, v_b = np.zeros((1, n)), np.zeros((1, n))
        g_out = g_in if tied else np.zeros((m, n))
        m_out, v_out = np.zeros((m, n)), np.zeros((m, n))
        h, x, g = np.zeros(m), np.zeros(n), np.zeros(n)
        ids, values = np.zeros(n, np.int64), np.zeros(n)
        total, last = 0.0, max(1, steps // 10)
        for step in range(steps):
            g_in[:] = 0
            g_out[:] = 0
            g_b[:] = 0
            empty = 0
            if step == steps - last:
                total = 0.0
            for _ in range(batch):
                there = draw(start, one_of, density[i], ids, values)
                if there == 0:  # all empty inputs are one: taken together below
                    empty += 1
                    continue
                for j in range(there):
                    values[j] = low + (1.0 - low) * values[j]
                    x[ids[j]] = abs(values[j])
                forward(to_in, to_out, bias[0], ids, values, there, h, g)
                for f in range(n):  # from what goes into the relu to the loss's gradient towards it
                    shut = g[f] <= 0.0
                    e = (0.0 if shut else g[f]) - x[f]
                    total += weight[f] * e * e
                    g[f] = 0.0 if shut else 2.0 * weight[f] * e / batch
                    g_b[0, f] += g[f]
                for a in range(m):
                    if h[a] <= 0.0:
                        continue
                    row, s, to = to_out[a], 0.0, g_out[a]
                    for f in range(n):
                        s += row[f] * g[f]
                        to[f] += h[a] * g[f]
                    for j in range(there):
                        g_in[a, ids[j]] += s * values[j]
                for j in range(there):
                    x[ids[j]] = 0.0
            for f in range(n):
                e = max(bias[0, f], 0.0)
                total += empty * weight[f] * e * e
                g_b[0, f] += empty * 2.0 * weight[f] * e / batch
            rate = lr * (1.0 - step / steps) * math.sqrt(1.0 - B2 ** (step + 1)) / (1.0 - B1 ** (step + 1))
            adam(to_in, g_in, m_in, v_in, rate)
            adam(bias, g_b, m_b, v_b, rate)
            if not tied:
                adam(to_out, g_out, m_out, v_out, rate)
        losses[i] = total / (last * batch)


@njit(parallel=True, cache=True)
@no_type_check
def measure(w_in, w_out, b, importance, low, start, one_of, density, seed, samples, losses):
    """Mean loss of each instance on ``samples`` fresh inputs; instances of one density read the same ones."""
    for i in prange(len(w_in)):
        np.random.seed(seed)
        n = w_in.shape[2]
        h, x, out = np.zeros(w_in.shape[1]), np.zeros(n), np.zeros(n)
        ids, values = np.zeros(n, np.int64), np.zeros(n)
        total = 0.0
        for _ in range(samples):
            there = draw(start, one_of, density[i], ids, values)
            for j in range(there):
                values[j] = low + (1.0 - low) * values[j]
                x[ids[j]] = abs(values[j])
            forward(w_in[i], w_out[i], b[i, 0], ids, values, there, h, out)
            for f in range(n):
                e = max(out[f], 0.0) - x[f]
                total += importance[i, f] * e * e
            for j in range(there):
                x[ids[j]] = 0.0
        losses[i] = total / samples


@dataclass(frozen=True)
class NeuronModels:
    """Trained models."""

    W_in: Weights
    W_out: Weights
    """The very array W_in where the two are tied."""
    b: Float64[np.ndarray, "instances n"]
    importance: Float64[np.ndarray, "instances n"]
    density: Float64[np.ndarray, "instances n"]
    low: float
    """The least value of a feature that is there."""
    losses: Float64[np.ndarray, " instances"]
    """Mean over the last tenth of training."""

    def measured(self, *, samples: int = 100_000, seed: int = 1_000_003) -> Float64[np.ndarray, " instances"]:
        """Mean loss of each on fresh inputs."""
        inputs, losses = independent(self.density), np.zeros(len(self.W_in))
        about = (self.importance, self.low, inputs.start, inputs.one_of, inputs.density)
        measure(self.W_in, self.W_out, self.b[:, None], *about, seed, samples, losses)
        return losses

    def answers(self, x: Float64[np.ndarray, "samples n"], instance: int = 0) -> Float64[np.ndarray, "samples n"]:
        """What one of them says of these inputs."""
        h = np.maximum(x @ self.W_in[instance].T, 0)
        return np.maximum(h @ self.W_out[instance] + self.b[instance], 0)


def train_stores(
    m: int,
    density: Float64[np.ndarray, "instances n"],
    importance: Float64[np.ndarray, " n"],
    *,
    steps: int = 5_000,
    batch: int = 256,
    lr: float = 3e-3,
    seed: int = 0,
) -> NeuronModels:
    """Tied models, ``y = relu(W^T relu(W x) + b)``, of features between 0 and 1: the layer stores.

    Trained with Adam at a rate that falls from ``lr`` to 0. The same arguments give the same bytes, whatever the number
    of threads. Raises BadInput for densities outside 0 to 1, and where there are no instances, neurons or steps.
    """
    start = _start(m, density, steps, seed)
    return _trained(start, start, True, 0.0, density, importance, steps, batch, lr, seed)


def train_absolutes(
    m: int,
    density: Float64[np.ndarray, "instances n"],
    importance: Float64[np.ndarray, " n"],
    *,
    steps: int = 5_000,
    batch: int = 256,
    lr: float = 3e-3,
    seed: int = 0,
) -> NeuronModels:
    """Untied models of features between -1 and 1 whose absolute values are asked for: the layer computes. Arguments,
    and what is refused, as for train_stores."""
    start = _start(m, density, steps, seed)
    # sizes alike at the start: each output answers its own feature most, and none is shut for good by what others bring
    return _trained(start, np.abs(start), False, -1.0, density, importance, steps, batch, lr, seed)


def _start(m: int, density: np.ndarray, steps: int, seed: int) -> np.ndarray:
    instances, n = independent(density).density.shape
    if m < 1 or instances < 1 or steps < 1:
        raise BadInput(f"A layer needs neurons, instances and steps; received m={m}, {instances} instances, {steps}.")
    return np.random.default_rng(seed).normal(size=(instances, m, n)) * np.sqrt(2 / (n + m))


def _trained(
    w_in: np.ndarray, w_out: np.ndarray, tied: bool, low: float, density: np.ndarray, importance: np.ndarray,
    steps: int, batch: int, lr: float, seed: int,
) -> NeuronModels:  # fmt: skip
    inputs, (instances, _, n) = independent(density), w_in.shape
    weight = np.ascontiguousarray(np.broadcast_to(np.asarray(importance, np.float64), (instances, n)))
    b, losses = np.zeros((instances, 1, n)), np.zeros(instances)
    seeds = np.random.SeedSequence(seed).generate_state(instances).astype(np.int64)
    descend(
        w_in, w_out, b, tied, weight, low, inputs.start, inputs.one_of, inputs.density, seeds, steps, batch, lr, losses
    )  # fmt: skip
    return NeuronModels(w_in, w_out, b[:, 0], weight, inputs.density, low, losses)
