"""CX-17: a transcoder as right as can be on its inputs, by a mechanism that the layer does not have."""

import numpy as np

from physalis.lab.counterexamples.base import Counterexample, Gap
from physalis.lab.experiments.mechanisms.faithfulness import JACOBIAN, REPEAT, D, pair_errors
from physalis.lab.toys.transcoders import train_transcoders

STARTS = 3


def unfaithful(seed: int) -> Gap:
    """The median of three starts of each: one start in a few learns nothing by heart."""
    shares, weights = np.repeat([REPEAT, 0.0, REPEAT], STARTS), np.repeat([0.0, 0.0, JACOBIAN], STARTS)
    made = train_transcoders(repeat=shares, jacobian=weights, d=D, seed=seed)
    on = np.median(np.sqrt(made.losses).reshape(3, STARTS), 1)
    off = np.median(pair_errors(made).reshape(3, STARTS), 1)
    return Gap(
        naive=float(on[0]),
        truth=float(off[0]),
        control_naive=float(on[1]),
        control_truth=float(off[1]),
        beside={"error on the pairs with derivatives matched": float(off[2])},
    )


CX_17 = Counterexample(
    id="CX-17",
    belief="A transcoder with a small error computes what the layer computes.",
    model="A layer that takes the absolute value of eight coordinates, and a sparse transcoder of it whose training "
    "inputs are, one in five, the same (1, 1, 1, 0 ...).",
    naive="Its error on such inputs is small.",
    truth="It learned that one input by heart: at (1, 1, 0), (1, 0, 1) and (0, 1, 1) it answers wrongly.",
    scale="error: root mean square on inputs as in training (naive), the largest of a coordinate on the pairs (truth)",
    control="a transcoder whose inputs never repeat",
    source="Olah 2025, A Toy Model of Mechanistic (Un)Faithfulness",
    warns="`physalis lab check FAITH-1`; for a real transcoder nothing yet: compare derivatives.",
    run=unfaithful,
    least=0.2,
    spared=0.1,
    beside={"error on the pairs with derivatives matched": (0, 0.1)},
    fast=False,
)
