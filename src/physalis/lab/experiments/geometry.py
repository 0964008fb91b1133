"""TMS-4: the shapes that equally important features make of ten dimensions: tetrahedra, triangles, pairs, pentagons."""

import numpy as np

from physalis.lab.checks import Check, Finding
from physalis.lab.toys.models import ToyModels, dimensionality, dimensions_per_feature, represented, train_toys

INVERSE = np.array([1.3, 1.6, 2.0, 2.5, 3.0, 3.5, 4, 5, 8, 10])
"""1 / (1 - S): how sparse."""
SHAPES = {"tetrahedron": 3 / 4, "triangle": 2 / 3, "pair": 1 / 2, "pentagon": 2 / 5, "square antiprism": 3 / 8}
"""The dimensionality of each of a shape's features."""
NEAR = 0.02


def geometry(*, n: int = 100, m: int = 10, steps: int = 8_000, batch: int = 512, seed: int = 0) -> ToyModels:
    """One model for each of INVERSE, all features equally important."""
    return train_toys(m, np.repeat(1 / INVERSE[:, None], n, 1), steps=steps, batch=batch, seed=seed)


def share(d: np.ndarray, shape: str, near: float = NEAR) -> float:
    """Of the represented features' dimensionalities, how many are the shape's."""
    return float((np.abs(d - SHAPES[shape]) < near).mean())


def check(seed: int = 0) -> Check:
    """Which shape most features are in, sparsity by sparsity."""
    toys = geometry(seed=seed)
    of = [d[there] for d, there in zip(dimensionality(toys.W), represented(toys.W), strict=True)]
    paired = min(share(of[i], "pair") for i in range(2, 6))
    many = np.concatenate(of[6:8])
    random = np.random.default_rng(seed).normal(size=toys.W.shape)
    random /= np.linalg.norm(random, axis=1, keepdims=True)
    chance = dimensionality(random[:, :, :20])
    return Check(
        id="TMS-4",
        claim="Features arrange in regular shapes: each has 3/4, 2/3, 1/2, 2/5 or 3/8 of a dimension.",
        source="Elhage et al. 2022, The Geometry of Superposition",
        findings=(
            Finding("least share of pairs, 1/(1-S) from 2 to 3.5", paired, low=0.9),
            Finding("share of tetrahedra at 1.3", share(of[0], "tetrahedron"), low=0.6),
            Finding("share of triangles at 1.6", share(of[1], "triangle"), low=0.6),
            Finding("features in pentagons at 4 and 5", float((np.abs(many - 2 / 5) < NEAR).sum()), low=3),
            Finding("features in square antiprisms at 4 and 5", float((np.abs(many - 3 / 8) < NEAR).sum()), low=2),
            Finding("dimensions a feature at 3", float(dimensions_per_feature(toys.W)[4]), 0.47, 0.51),
        ),
        control="twenty random directions in ten dimensions",
        control_findings=(Finding("share of pairs", share(chance.ravel(), "pair"), low=0.9),),
    )
