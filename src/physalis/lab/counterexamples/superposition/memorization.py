"""CX-18: a network that looks like noise feature by feature, and is a regular polygon point by point."""

import numpy as np
from jaxtyping import Float

from physalis.lab.counterexamples.base import Counterexample, Gap
from physalis.lab.toys.memorization import Memorizers, draw_points, memorize, sample_dimensionality
from physalis.lab.toys.superposition.models import dimensionality

M = 2
FEW, MANY_FEATURES = 8, 1_000
FEW_FEATURES, MANY = 5, 2_000


def best(points: Float[np.ndarray, "T n"], *, starts: int, steps: int, seed: int) -> tuple[Memorizers, int]:
    made = memorize(np.repeat(points[None], starts, 0), M, steps=steps, seed=seed)
    return made, made.best


def stored(made: Memorizers, i: int) -> tuple[float, float]:
    """The share of a dimension that is a feature's own, the largest of all, and a point's own, the median."""
    features = dimensionality(made.W[i : i + 1].astype(float))[0]
    return float(features.max()), float(np.median(sample_dimensionality(made.hidden[i])))


def polygons(seed: int) -> Gap:
    few = best(draw_points(FEW, MANY_FEATURES, 0.01, seed=seed), starts=6, steps=30_000, seed=seed)
    many = best(draw_points(MANY, FEW_FEATURES, 0.05, seed=seed), starts=3, steps=10_000, seed=seed)
    (features, points), (of_features, of_points) = stored(*few), stored(*many)
    return Gap(
        naive=features,
        truth=max(features, points),
        control_naive=of_features,
        control_truth=max(of_features, of_points),
        beside={"a point's share, less 2/8": points - M / FEW},
    )


CX_18 = Counterexample(
    id="CX-18",
    belief="A network whose features make no sense has nothing in it to understand.",
    model="The toy model of superposition, 1,000 features in two dimensions, trained on eight points alone.",
    naive="The best of its features has an eighth of a dimension to itself, most have next to nothing.",
    truth="The eight points are the corners of a regular polygon, a quarter of a dimension each: what it stored is "
    "points, not features.",
    scale="share of a dimension that is its own: the best feature's (naive), that of what is stored (truth)",
    control="five features and 2,000 points, where features are what is stored",
    source="Henighan et al. 2023, Superposition, Memorization, and Double Descent",
    warns="`physalis lab check DD-1`; the number of different texts among a feature's examples in the atlas.",
    run=polygons,
    least=0.1,
    spared=1e-9,
    beside={"a point's share, less 2/8": (-0.03, 0.03)},
    fast=False,
)
