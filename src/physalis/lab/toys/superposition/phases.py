"""The phase diagram of two features in one dimension: trained models beside the optimum that arithmetic gives
("Toy Models of Superposition", Superposition as a Phase Change; McGrath's invited comment for the exact optimum).

The second feature's importance is ``r`` times the first's, both are there with probability p. One of three things is
best: the second feature is dropped (or the first, where it matters less), both share the line in opposite directions,
or, when both are nearly always there, both lie confused on the same side.
"""

from dataclasses import dataclass
from typing import no_type_check

import numpy as np
from jaxtyping import Float64, Int64
from numba import njit, prange
from scipy.optimize import minimize

from physalis.lab.toys.superposition.models import train_toys

DROPPED, DEDICATED, ANTIPODAL, CONFUSED = range(4)
NAMES = ("the second is dropped", "the second alone", "both, in opposite directions", "both, on the same side")
CUT = 0.15  # of the larger weight, below which the smaller counts as none
POINTS = 120  # of the midpoint rule along each axis


@njit(parallel=True, cache=True)
@no_type_check
def exact_loss(w, b, r, p, points, losses):
    """The expected loss of each model, w and b [instances, 2], r and p [instances], by the midpoint rule in each of the
    four cases (neither feature there, one, the other, both)."""
    for i in prange(len(w)):
        w1, w2, b1, b2 = w[i, 0], w[i, 1], b[i, 0], b[i, 1]
        one = one2 = both = 0.0
        for a in range(points):
            x = (a + 0.5) / points
            h = w1 * x
            one += (x - max(w1 * h + b1, 0.0)) ** 2 + r[i] * max(w2 * h + b2, 0.0) ** 2
            h = w2 * x
            one2 += max(w1 * h + b1, 0.0) ** 2 + r[i] * (x - max(w2 * h + b2, 0.0)) ** 2
            for c in range(points):
                y = (c + 0.5) / points
                h = w1 * x + w2 * y
                both += (x - max(w1 * h + b1, 0.0)) ** 2 + r[i] * (y - max(w2 * h + b2, 0.0)) ** 2
        none = max(b1, 0.0) ** 2 + r[i] * max(b2, 0.0) ** 2
        q = 1 - p[i]
        losses[i] = q * q * none + p[i] * q * (one + one2) / points + p[i] ** 2 * both / points**2


def losses_of(w: Float64[np.ndarray, "i 2"], b: Float64[np.ndarray, "i 2"], r: np.ndarray, p: np.ndarray) -> np.ndarray:
    """The expected loss of each model."""
    out = np.zeros(len(w))
    exact_loss(w, b, np.ascontiguousarray(r, np.float64), np.ascontiguousarray(p, np.float64), POINTS, out)
    return out


def phase(w: Float64[np.ndarray, "i 2"]) -> Int64[np.ndarray, " i"]:
    """Which of the phases two weights are in, by their signs and the ratio of their sizes."""
    small, large = np.abs(w).min(1), np.abs(w).max(1)
    both = small > CUT * large
    alone = np.where(np.abs(w[:, 0]) > np.abs(w[:, 1]), DROPPED, DEDICATED)
    return np.where(both, np.where(w[:, 0] * w[:, 1] < 0, ANTIPODAL, CONFUSED), alone)


def closed_form(r: np.ndarray) -> np.ndarray:
    """The density below which opposite directions beat one feature alone, where weights have length 1 and no bias:
    ``4r / (2 + 5r)`` up to r = 1 and ``4 / (5 + 2r)`` from there."""
    r = np.asarray(r, np.float64)
    return np.where(r <= 1, 4 * r / (2 + 5 * r), 4 / (5 + 2 * r))


STARTS = ((1, 0, 0, 0), (0, 1, 0, 0), (1, -1, 0, 0), (0.7, -0.7, 0, 0), (0.9, 0.4, 0, 0.2), (0.4, 0.9, 0.2, 0),
          (0.7, 0.7, 0.1, 0.1))  # fmt: skip


def optimum(r: float, p: float) -> tuple[float, Float64[np.ndarray, " 4"]]:
    """The least expected loss over weights and biases, and those: (loss, [w1, w2, b1, b2]). Best of seven starts, not a
    proof."""
    one = np.array([r]), np.array([p])

    def loss(z: np.ndarray) -> float:
        return float(losses_of(z[None, :2].copy(), z[None, 2:].copy(), *one)[0])

    options = {"xatol": 1e-5, "fatol": 1e-9, "maxiter": 1500}
    found = [minimize(loss, np.array(start, float), method="Nelder-Mead", options=options) for start in STARTS]
    best = min(found, key=lambda each: each.fun)
    return float(best.fun), best.x


def boundary(r: float, *, steps: int = 7) -> float:
    """The density up to which opposite directions are best, to ``2^-steps``."""
    low, high = 0.0, 1.0
    for _ in range(steps):
        middle = (low + high) / 2
        antipodal = phase(optimum(r, middle)[1][None, :2])[0] == ANTIPODAL
        low, high = (middle, high) if antipodal else (low, middle)
    return (low + high) / 2


@dataclass(frozen=True)
class PhaseDiagram:
    """Cells by importance (first axis) and density (second)."""

    r: Float64[np.ndarray, " grid"]
    p: Float64[np.ndarray, " grid"]
    W: Float64[np.ndarray, "grid grid seeds 2"]
    b: Float64[np.ndarray, "grid grid seeds 2"]
    losses: Float64[np.ndarray, "grid grid seeds"]
    """Expected, by arithmetic."""

    @property
    def best(self) -> Int64[np.ndarray, "grid grid"]:
        """The phase of the seed with the least loss."""
        at = self.losses.argmin(2)[..., None, None]
        return phase(np.take_along_axis(self.W, at, 2)[:, :, 0].reshape(-1, 2)).reshape(self.losses.shape[:2])

    @property
    def boundary(self) -> Float64[np.ndarray, " grid"]:
        """For each importance the density up to which the best models are antipodal: midway between two cells."""
        edges = np.concatenate([[self.p[0]], np.sqrt(self.p[1:] * self.p[:-1]), [1.0]])
        last = [np.flatnonzero(row == ANTIPODAL) for row in self.best]
        return np.array([edges[found[-1] + 1] if len(found) else edges[0] for found in last])


def phase_diagram(
    *, grid: int = 24, seeds: int = 10, steps: int = 2_000, batch: int = 128, lr: float = 1e-2, seed: int = 0
) -> PhaseDiagram:
    """Train ``grid * grid * seeds`` models of two features in one dimension: the second's importance from .1 to 10, the
    density from .01 to 1, both in equal ratios. Three times as many inputs change the phase of no cell."""
    r, p = np.geomspace(0.1, 10, grid), np.geomspace(0.01, 1, grid)
    each = [axis.reshape(-1) for axis in np.meshgrid(r, p, np.arange(seeds), indexing="ij")]
    importance = np.stack([np.ones_like(each[0]), each[0]], 1)
    # Adam's step is free of the loss's scale, so r above 1 needs no other rate
    toys = train_toys(1, np.repeat(each[1][:, None], 2, 1), importance, steps=steps, batch=batch, lr=lr, seed=seed)
    w, shape = toys.W[:, 0], (grid, grid, seeds)
    losses = losses_of(w, toys.b, each[0], each[1])
    return PhaseDiagram(r, p, w.reshape(*shape, 2), toys.b.reshape(*shape, 2), losses.reshape(shape))
