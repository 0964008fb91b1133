"""TMS-1: how many features five dimensions hold as inputs become sparser; a linear model never holds more than five."""

import numpy as np

from physalis.lab.checks import Check, Finding
from physalis.lab.toys.models import ToyModels, dimensionality, dimensions_per_feature, represented, train_toys

SPARSITIES = np.array([0, 0.5, 0.7, 0.9, 0.97, 0.99, 0.999])
COUNTS = (5, 6, 7, 9, 11, 12, 13)
"""Represented features at each sparsity where importance falls as .7^i, measured in plain numpy (5,000 steps)."""
N, M = 20, 5


def superposition(*, relu: bool = True, importance: float = 0.7, steps: int = 5_000, seed: int = 0) -> ToyModels:
    """One model for each of SPARSITIES, of 20 features in 5 dimensions; feature i matters ``importance ** i``."""
    density = np.repeat(1 - SPARSITIES[:, None], N, 1)
    return train_toys(M, density, importance ** np.arange(N), relu=relu, steps=steps, seed=seed)


def check(seed: int = 0) -> Check:
    """Counts, their order, and the uniform model whose features pair up."""
    toys, linear = superposition(seed=seed), superposition(relu=False, seed=seed)
    uniform = superposition(importance=1.0, seed=seed)
    counts = represented(toys.W).sum(1)
    alone = represented(linear.W)
    paired = dimensionality(uniform.W)[2][represented(uniform.W)[2]]
    d = dimensions_per_feature(toys.W)
    at_zero = float(represented(toys.W)[0, :M].all() and counts[0] == M)
    return Check(
        id="TMS-1",
        claim="As inputs become sparser a ReLU model represents more features than it has dimensions: first none, then "
        "in pairs, then denser; where all features matter alike, pairs at sparsity .7.",
        source="Elhage et al. 2022, Demonstrating Superposition",
        findings=(
            Finding("largest difference of a count from the known one", float(np.abs(counts - COUNTS).max()), high=1),
            Finding("largest fall of the count as inputs become sparser", float(-np.diff(counts).min()), high=0),
            Finding("at sparsity 0 exactly the five most important features are there", at_zero, low=1),
            Finding("dimensions a feature at sparsity .999", float(d[-1]), high=0.45),
            Finding("uniform, sparsity .7: largest |D - 1/2|", float(np.abs(paired - 0.5).max()), high=0.02),
            Finding("uniform, sparsity .7: represented", float(len(paired)), 10, 10),
        ),
        control="the linear model",
        control_findings=(
            Finding("features beyond the first five", float(alone[:, M:].any(1).sum()), low=1),
            Finding("represented at sparsity .999", float(alone[-1].sum()), low=M + 1),
        ),
    )
