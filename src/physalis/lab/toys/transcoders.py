"""Transcoders of ``|x|``: sparse replacements of a layer whose mechanism is known to the last neuron (Olah 2025, "A Toy
Model of Mechanistic (Un)Faithfulness").

The layer is two ReLUs a coordinate. Its transcoder, ``y = W_out^T relu(W_in x + b_in) + b_out``, is trained to answer
alike with few latents, ``|y - |x||^2 + penalty * sum_k tanh(f_k |W_out_k|)``, on sparse inputs among which one, the
repeated one, comes again and again. ``jacobian`` weighs ``|J_layer v - J_transcoder v|^2`` for random v of signs among
the coordinates that are not 0; along the others the layer has no derivative. (With 0 in its place there, as frameworks
have it, matching does harm: it punishes latents that open at 0, and only their weights, not their biases, can answer.)
"""

import math
from dataclasses import dataclass
from typing import no_type_check

import numpy as np
from jaxtyping import Float64
from numba import njit, prange

from physalis.errors import BadInput
from physalis.lab.toys.descent import B1, B2
from physalis.lab.toys.neurons import adam

TRIPLE = 3
"""Coordinates that are 1 in the repeated input, the first ones; the others are 0."""


@njit(inline="always")
@no_type_check
def draw_signed(density, repeat, x):
    """Fill x: the repeated input with probability ``repeat``, else each coordinate uniform from -1 to 1 with
    probability ``density`` and 0 without."""
    again = np.random.random() < repeat
    for c in range(len(x)):
        if again:
            x[c] = 1.0 if c < TRIPLE else 0.0
        else:
            x[c] = 2.0 * np.random.random() - 1.0 if np.random.random() < density else 0.0


@njit(parallel=True, cache=True)
@no_type_check
def descend(w_in, w_out, b_in, b_out, repeat, penalty, jacobian, density, seeds, steps, batch, lr, losses):
    """Train in place: w_in and w_out [instances, latents, d], b_in [instances, 1, latents], b_out [instances, 1, d];
    repeat, penalty and jacobian [instances]. losses [instances] are the squared errors of the last tenth."""
    for i in prange(len(w_in)):
        np.random.seed(seeds[i])
        latents, d = w_in.shape[1], w_in.shape[2]
        to_in, to_out, c_in, c_out = w_in[i], w_out[i], b_in[i], b_out[i]
        g_in, m_in, v_in = np.zeros((latents, d)), np.zeros((latents, d)), np.zeros((latents, d))
        g_out, m_out, v_out = np.zeros((latents, d)), np.zeros((latents, d)), np.zeros((latents, d))
        g_ci, m_ci, v_ci = np.zeros((1, latents)), np.zeros((1, latents)), np.zeros((1, latents))
        g_co, m_co, v_co = np.zeros((1, d)), np.zeros((1, d)), np.zeros((1, d))
        x, g, r, v = np.zeros(d), np.zeros(d), np.zeros(d), np.zeros(d)
        f, length, along = np.zeros(latents), np.zeros(latents), np.zeros(latents)
        weight = jacobian[i]
        total, last = 0.0, max(1, steps // 10)
        for step in range(steps):
            g_in[:] = 0
            g_out[:] = 0
            g_ci[:] = 0
            g_co[:] = 0
            if step == steps - last:
                total = 0.0
            for k in range(latents):
                s = 1e-24
                for c in range(d):
                    s += to_out[k, c] ** 2
                length[k] = math.sqrt(s)
            for _ in range(batch):
                draw_signed(density, repeat[i], x)
                for c in range(d):
                    g[c] = c_out[0, c] - abs(x[c])
                for k in range(latents):
                    row, s = to_in[k], c_in[0, k]
                    for c in range(d):
                        s += row[c] * x[c]
                    f[k] = s
                    if s > 0.0:
                        to = to_out[k]
                        for c in range(d):
                            g[c] += s * to[c]
                for c in range(d):
                    total += g[c] ** 2
                    g[c] *= 2.0 / batch
                    g_co[0, c] += g[c]
                if weight > 0.0:
                    for c in range(d):  # |x| has no derivative along a coordinate that is 0
                        v[c] = 0.0 if x[c] == 0.0 else 1.0 if np.random.random() < 0.5 else -1.0
                        r[c] = -v[c] * np.sign(x[c])
                    for k in range(latents):
                        if f[k] > 0.0:
                            s = 0.0
                            for c in range(d):
                                s += to_in[k, c] * v[c]
                            along[k] = s
                            for c in range(d):
                                r[c] += s * to_out[k, c]
                    for c in range(d):
                        r[c] *= 2.0 * weight / batch
                for k in range(latents):
                    if f[k] <= 0.0:
                        continue
                    row, t = to_out[k], math.tanh(f[k] * length[k])
                    shrink = penalty[i] * (1.0 - t * t) / batch
                    s = shrink * length[k]
                    for c in range(d):
                        s += row[c] * g[c]
                        g_out[k, c] += f[k] * (g[c] + shrink * row[c] / length[k])
                    for c in range(d):
                        g_in[k, c] += s * x[c]
                    g_ci[0, k] += s
                    if weight > 0.0:
                        s = 0.0
                        for c in range(d):
                            s += row[c] * r[c]
                            g_out[k, c] += along[k] * r[c]
                        for c in range(d):
                            g_in[k, c] += s * v[c]
            rate = lr * (1.0 - step / steps) * math.sqrt(1.0 - B2 ** (step + 1)) / (1.0 - B1 ** (step + 1))
            adam(to_in, g_in, m_in, v_in, rate)
            adam(to_out, g_out, m_out, v_out, rate)
            adam(c_in, g_ci, m_ci, v_ci, rate)
            adam(c_out, g_co, m_co, v_co, rate)
        losses[i] = total / (last * batch)


@dataclass(frozen=True)
class Transcoders:
    """Trained transcoders of the layer that computes ``|x|``."""

    W_in: Float64[np.ndarray, "instances latents d"]
    W_out: Float64[np.ndarray, "instances latents d"]
    b_in: Float64[np.ndarray, "instances latents"]
    b_out: Float64[np.ndarray, "instances d"]
    losses: Float64[np.ndarray, " instances"]
    """Mean squared error, summed over coordinates, on the inputs of the last tenth of training."""

    def answers(self, x: Float64[np.ndarray, "samples d"]) -> Float64[np.ndarray, "instances samples d"]:
        """What each says of these inputs."""
        f = np.maximum(np.einsum("sd,ikd->isk", x, self.W_in) + self.b_in[:, None], 0)
        return f @ self.W_out + self.b_out[:, None]


def train_transcoders(
    *,
    repeat: Float64[np.ndarray, " instances"],
    penalty: Float64[np.ndarray, " instances"] | float = 0.05,
    jacobian: Float64[np.ndarray, " instances"] | float = 0.0,
    d: int = 8,
    latents: int = 24,
    density: float = 0.1,
    steps: int = 6_000,
    batch: int = 128,
    lr: float = 3e-3,
    seed: int = 0,
) -> Transcoders:
    """Train one for each share of repeated inputs. Raises BadInput where there are fewer coordinates than the repeated
    input has, or a share is none."""
    shares = np.ascontiguousarray(repeat, np.float64)
    if d < TRIPLE or latents < 1 or steps < 1 or not ((shares >= 0) & (shares <= 1)).all():
        raise BadInput(
            f"A transcoder needs {TRIPLE} coordinates or more, latents, steps, and shares from 0 to 1; received d={d}, "
            f"{latents} latents, {steps} steps and shares {shares.tolist()}."
        )
    n = len(shares)
    price, match = (np.ascontiguousarray(np.broadcast_to(np.asarray(a, np.float64), (n,))) for a in (penalty, jacobian))
    rng = np.random.default_rng(seed)
    w_in, w_out = (rng.normal(size=(n, latents, d)) / np.sqrt(d) for _ in range(2))
    b_in, b_out, losses = np.zeros((n, 1, latents)), np.zeros((n, 1, d)), np.zeros(n)
    seeds = np.random.SeedSequence(seed).generate_state(n).astype(np.int64)
    descend(w_in, w_out, b_in, b_out, shares, price, match, density, seeds, steps, batch, lr, losses)
    return Transcoders(w_in, w_out, b_in[:, 0], b_out[:, 0], losses)
