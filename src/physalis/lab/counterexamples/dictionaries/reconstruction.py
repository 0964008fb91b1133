"""CX-06: most of the variance explained by features that are not the true ones."""

from typing import Literal

from physalis.lab.counterexamples.base import Counterexample, Gap
from physalis.lab.fitting import fit_dictionary
from physalis.lab.recipes import Recipe
from physalis.lab.truth import Truth, score
from physalis.lab.worlds import World

D, SAMPLES, JUDGED = 24, 300_000, 20_000
LATENTS, K = 256, 8
TRUE = 0.8
"""The cosine above which a direction is a true one."""


def crowded(*, seed: int) -> World:
    """512 features in 24 dimensions, seven at a time."""
    return World.make(Recipe(n_features=512, d=D, n_roots=0, depth=0, correlation=0.0, p_max=0.3, seed=seed))


def roomy(*, seed: int) -> World:
    """20 features in as many dimensions, one or two at a time."""
    return World.make(Recipe(n_features=20, d=D, n_roots=0, depth=0, correlation=0.0, p_max=0.1, p_min=0.05, seed=seed))


def judged(world: World, n_features: int, k: int, *, seed: int, frozen: Literal["dec"] | None = None) -> Truth:
    """A TopK dictionary of a world; with its decoder frozen, its directions stay as random as they began."""
    source = world.samples(SAMPLES, seed=seed)
    return score(
        fit_dictionary(source, "topk", n_features=n_features, k=k, seed=seed, frozen=frozen), world, samples=JUDGED
    )


def true_ones(found: Truth) -> float:
    """Share of the dictionary's directions."""
    return float((found.learned.cosine > TRUE).mean())


def explained(seed: int) -> Gap:
    trap, control = judged(crowded(seed=seed), LATENTS, K, seed=seed), judged(roomy(seed=seed), 20, 3, seed=seed)
    random = judged(crowded(seed=seed), LATENTS, K, seed=seed, frozen="dec")
    return Gap(
        naive=trap.explained_variance,
        truth=true_ones(trap),
        control_naive=control.explained_variance,
        control_truth=true_ones(control),
        beside={
            "variance that random directions explain": random.explained_variance,
            "random directions that are true ones": true_ones(random),
        },
    )


CX_06 = Counterexample(
    id="CX-06",
    belief="A dictionary with a low reconstruction error has found the features.",
    model="512 features in 24 dimensions, seven at a time, and a TopK dictionary of 256, eight at a time.",
    naive="It explains four fifths of the variance.",
    truth="Fewer than a quarter of its directions are true ones. Directions that stay random explain two thirds, and "
    "none of them is.",
    scale="variance explained (naive); directions with a cosine above .8 to a true one (truth)",
    control="20 features in the same 24 dimensions",
    source="arXiv 2602.14111 (2026)",
    warns="The baseline of random directions beside every number of `physalis evaluate`; recovered() in lab.score.",
    run=explained,
    least=0.5,
    spared=0.2,
    beside={
        "variance that random directions explain": (0.5, 1),
        "random directions that are true ones": (0, 0.05),
    },
    fast=False,
)
