"""CX-19: weights between features that are there only because the features share dimensions."""

import numpy as np

from physalis.lab.counterexamples.base import Counterexample, Gap
from physalis.lab.toys.superposition.bottlenecks import blocks, losses_without, precision, train_bottleneck

FEATURES, BLOCKS, NARROW = 64, 4, 8
REAL, RECALL = 1e-4, 0.5


def right_among_large(m: int, *, steps: int = 1_500, seed: int) -> float:
    """In a model with ``m`` dimensions: of the weights at least as large as the larger half of the real ones, the share
    that is real, which is to say that the loss rises without it. (At a recall of .9 the share is .1, but even a model
    with room for all has .25 there: some real weights are small.)"""
    task = blocks(FEATURES, BLOCKS, 0.1, -0.1, 0.3, np.random.default_rng(seed))
    made = train_bottleneck(task, m, steps=steps, seed=seed)
    x = task.draw(5_000, np.random.default_rng([seed, 1]))
    real = losses_without(made.U, made.b, x, task.answers(x)) > REAL
    recall, exact = precision(np.abs(made.U), real)
    return float(exact[int(np.argmax(recall >= RECALL))])


def interfering(seed: int) -> Gap:
    return Gap(
        naive=1.0,
        truth=right_among_large(NARROW, seed=seed),
        control_naive=1.0,
        control_truth=right_among_large(FEATURES, seed=seed),
    )


CX_19 = Counterexample(
    id="CX-19",
    belief="A large weight between two features is a connection.",
    model="64 features in eight dimensions compute relu(A x - .1), where A connects few of them.",
    naive="Rank the weights between features by size: the large ones are what the model computes.",
    truth="To have half of the weights whose removal costs anything, a third of what is taken is interference: "
    "features share dimensions, so each has a weight to all, and some of those are large.",
    scale="share of real weights among the largest, down to where half of the real ones are found",
    control="as many dimensions as features",
    source="Olah, Turner and Conerly 2025, A Toy Model of Interference Weights",
    warns="`physalis lab check INT-1`; for a real model, weigh by what the target says.",
    run=interfering,
    least=0.25,
    spared=0.05,
    fast=False,
)
