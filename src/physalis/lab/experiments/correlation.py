"""TMS-6: features that come together lie at right angles, features that exclude each other lie opposite."""

import numpy as np

from physalis.lab.checks import Check, Finding
from physalis.lab.toys.inputs import Inputs, anticorrelated, correlated, independent
from physalis.lab.toys.models import ToyModels, train_toys

SEEDS = 32


def best(inputs: Inputs, *, steps: int = 6_000, batch: int = 1_024, seed: int = 0) -> np.ndarray:
    """W [2, n] of the model with the least loss on fresh inputs: two dimensions have many local minima."""
    toys: ToyModels = train_toys(2, inputs, steps=steps, batch=batch, lr=5e-3, seed=seed)
    return toys.W[toys.measured().argmin()]


def angles_within(w: np.ndarray, each: int = 2) -> np.ndarray:
    """Degrees between the first two features of each set."""
    unit = w / np.maximum(np.linalg.norm(w, axis=0), 1e-12)
    dots = [float(unit[:, s] @ unit[:, s + 1]) for s in range(0, w.shape[1], each)]
    return np.degrees(np.arccos(np.clip(dots, -1, 1)))


def check(seed: int = 0) -> Check:
    """Best of 32 models each."""
    often, seldom = np.full(SEEDS, 0.05), np.full(SEEDS, 0.01)
    together = angles_within(best(correlated(2, 2, often), seed=seed))
    apart = angles_within(best(anticorrelated(2, 2, often), seed=seed))
    three = best(correlated(3, 2, seldom), seed=seed)
    sides = angles_within(three)
    dense = best(correlated(3, 2, np.full(SEEDS, 0.7)), seed=seed)
    alone = angles_within(best(independent(np.repeat(often[:, None], 4, 1)), seed=seed))
    return Check(
        id="TMS-6",
        claim="Two pairs of correlated features put each pair at right angles, two anticorrelated ones opposite; three "
        "correlated pairs make a hexagon with partners side by side, and collapse to one direction each when dense.",
        source="Elhage et al. 2022, Correlated and Anticorrelated Features",
        findings=(
            Finding("correlated pairs: largest distance from 90 degrees", float(np.abs(together - 90).max()), high=6),
            Finding("anticorrelated pairs: largest distance from 180 degrees", float((180 - apart).max()), high=6),
            Finding("three pairs, .01: largest distance from 63 degrees", float(np.abs(sides - 63).max()), high=8),
            Finding("three pairs, density .01: shortest feature", float(np.linalg.norm(three, axis=0).min()), low=0.7),
            Finding("three pairs, density .7: widest angle within a pair", float(angles_within(dense).max()), high=6),
        ),
        control="independent features, read as pairs",
        control_findings=(
            Finding("correlated pairs: largest distance from 90 degrees", float(np.abs(alone - 90).max()), high=6),
            Finding("anticorrelated pairs: largest distance from 180 degrees", float((180 - alone).max()), high=6),
        ),
    )
