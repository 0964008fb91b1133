"""Bottlenecks: ``relu(A x + v)`` computed through fewer dimensions than there are features, and the virtual weights
that result (Olah, Turner & Conerly 2025, "A Toy Model of Interference Weights").

``y = relu(U x + b)`` with ``U = W_out W_in``. Every feature of one side has a weight to every feature of the other in
U, though A connects few: a product of narrow matrices cannot be 0 where it should be.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from physalis.errors import BadInput


@dataclass(frozen=True)
class Task:
    """What is to be computed, and how often each feature is there; values are uniform from 0 to 1."""

    A: Float64[np.ndarray, "n n"]
    v: float
    density: float

    def draw(self, samples: int, rng: np.random.Generator) -> Float64[np.ndarray, "samples n"]:
        shape = (samples, len(self.A))
        return rng.random(shape) * (rng.random(shape) < self.density)

    def answers(self, x: Float64[np.ndarray, "samples n"]) -> Float64[np.ndarray, "samples n"]:
        return np.maximum(x @ self.A.T + self.v, 0)


def identity(n: int, density: float) -> Task:
    """Each feature is asked for as it is."""
    return Task(np.eye(n), 0.0, density)


def blocks(n: int, count: int, within: float, v: float, density: float, rng: np.random.Generator) -> Task:
    """``count`` blocks of features that compute among themselves: in a block a share ``within`` of the weights is
    there, uniform from 0 to 1."""
    if n % count:
        raise BadInput(f"{n} features do not make {count} blocks of one size.")
    same = np.kron(np.eye(count), np.ones((n // count, n // count)))
    return Task(same * (rng.random((n, n)) < within) * rng.random((n, n)), v, density)


@dataclass(frozen=True)
class Bottleneck:
    """A trained model."""

    W_in: Float64[np.ndarray, "m n"]
    W_out: Float64[np.ndarray, "n m"]
    b: Float64[np.ndarray, " n"]
    losses: Float64[np.ndarray, " steps"]

    @property
    def U(self) -> Float64[np.ndarray, "n n"]:
        """The virtual weights: row i is what reaches output i."""
        return self.W_out @ self.W_in


def train_bottleneck(
    task: Task, m: int, *, steps: int = 2_000, batch: int = 256, lr: float = 5e-3, seed: int = 0
) -> Bottleneck:
    """Trained with Adam, at a rate that falls from ``lr`` to 0, on the squared error summed over outputs."""
    rng, n = np.random.default_rng(seed), len(task.A)
    w_in, w_out, b = (rng.normal(size=s) * np.sqrt(2 / (n + m)) for s in ((m, n), (n, m), (n,)))
    b *= 0
    parts = [w_in, w_out, b]
    first, second, losses = [np.zeros_like(p) for p in parts], [np.zeros_like(p) for p in parts], np.zeros(steps)
    for step in range(steps):
        x = task.draw(batch, rng)
        h = x @ w_in.T
        out = h @ w_out.T + b
        e = np.maximum(out, 0) - task.answers(x)
        losses[step] = np.square(e).sum(1).mean()
        g = 2 * e * (out > 0) / batch
        rate = lr * (1 - step / steps) * np.sqrt(1 - 0.999 ** (step + 1)) / (1 - 0.9 ** (step + 1))
        for part, grad, mean, square in zip(parts, ((g @ w_out).T @ x, g.T @ h, g.sum(0)), first, second, strict=True):
            mean += 0.1 * (grad - mean)
            square += 0.001 * (grad**2 - square)
            part -= rate * mean / (np.sqrt(square) + 1e-8)
    return Bottleneck(w_in, w_out, b, losses)


def losses_without(
    U: Float64[np.ndarray, "n n"],
    b: Float64[np.ndarray, " n"],
    x: Float64[np.ndarray, "samples n"],
    y: Float64[np.ndarray, "samples n"],
) -> Float64[np.ndarray, "n n"]:
    """By how much the mean loss on these inputs rises where one virtual weight alone is cut: [i, j] for that from input
    j to output i. Less than 0 where the model does better without."""
    pre = x @ U.T + b
    loss, rise = np.square(np.maximum(pre, 0) - y), np.zeros_like(U)
    for j in range(len(U)):
        there = np.flatnonzero(x[:, j])  # the others do not notice
        cut = np.square(np.maximum(pre[there] - x[there, j, None] * U[:, j], 0) - y[there])
        rise[:, j] = (cut - loss[there]).sum(0) / len(x)
    return rise


def target_weighted(
    U: Float64[np.ndarray, "n n"], x: Float64[np.ndarray, "samples n"], y: Float64[np.ndarray, "samples n"]
) -> Float64[np.ndarray, "n n"]:
    """``U_ij E[x_j y_i] / E[y_i]``: what input j brings to output i on average, where inputs at which y_i is large
    count more."""
    return U * (y.T @ x) / np.maximum(y.sum(0), 1e-12)[:, None]


def precision(score: np.ndarray, real: Bool[np.ndarray, "..."]) -> tuple[np.ndarray, np.ndarray]:
    """Recall and precision as more and more weights are called real, those of the highest score first."""
    hits = np.cumsum(real.reshape(-1)[np.argsort(-score.reshape(-1), kind="stable")])
    return hits / max(hits[-1], 1), hits / np.arange(1, len(hits) + 1)


def average_precision(score: np.ndarray, real: Bool[np.ndarray, "..."]) -> float:
    """The area under that curve: 1 where all real weights come first, their share where the order says nothing."""
    recall, exact = precision(score, real)
    return float(np.sum(np.diff(recall, prepend=0.0) * exact))
