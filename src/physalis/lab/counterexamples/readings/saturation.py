"""Numbers that are too small for a reason of their own: CX-12 (a flat gradient) and CX-22 (a penalty's shrinkage)."""

import numpy as np
from jaxtyping import Float64

from physalis.lab.counterexamples.base import Counterexample, Gap


def saturating(x: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    """``1 - relu(1 - x)``: rises to 1 and stays."""
    return 1 - np.maximum(1 - x, 0)


def slope(x: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    """Its derivative."""
    return (x < 1).astype(float)


def flat(seed: int) -> Gap:
    rng = np.random.default_rng(seed)
    beyond, before = rng.uniform(1.5, 3, 1_000), rng.uniform(0.2, 0.9, 1_000)
    path = (np.arange(256) + 0.5) / 256
    integrated = beyond * np.mean([slope(t * beyond) for t in path], 0)
    return Gap(
        naive=float((slope(beyond) * beyond).mean()),
        truth=float((saturating(beyond) - saturating(0 * beyond)).mean()),
        control_naive=float((slope(before) * before).mean()),
        control_truth=float((saturating(before) - saturating(0 * before)).mean()),
        beside={"integrated gradients": float(integrated.mean())},
    )


CX_12 = Counterexample(
    id="CX-12",
    belief="The gradient tells what an input does to the output.",
    model="y = 1 - relu(1 - x) at x from 1.5 to 3, where it is flat.",
    naive="The gradient is 0, and gradient times input too: x does nothing.",
    truth="Without x the output falls from 1 to 0. Gradients summed along the way from 0 say so.",
    scale="effect of x on y: gradient times input (naive), removal (truth)",
    control="x below 1, where the output still rises",
    source="Sundararajan et al. 2017, Axiomatic Attribution; Kramár et al. 2024, AtP*",
    warns="suite.run_suite on the attribution that you use: gradient times input falls here.",
    run=flat,
    least=0.95,
    spared=1e-9,
    beside={"integrated gradients": (0.98, 1.02)},
)

PENALTY = 0.2


def penalised(strength: Float64[np.ndarray, " n"], penalty: float, *, steps: int = 200) -> Float64[np.ndarray, " n"]:
    """The code f >= 0 of a feature of this strength that minimises ``(strength - f)^2 + penalty f``, by proximal
    descent."""
    f = np.zeros_like(strength)
    for _ in range(steps):
        f = np.maximum(f - 0.1 * (2 * (f - strength) + penalty), 0)
    return f


def shrunk(seed: int) -> Gap:
    strength = np.random.default_rng(seed).uniform(0.5, 2, 1_000)
    code, free = penalised(strength, PENALTY), penalised(strength, 0.0)
    return Gap(
        naive=float(code.mean()),
        truth=float(strength.mean()),
        control_naive=float(free.mean()),
        control_truth=float(strength.mean()),
        beside={"half of the penalty, less the gap": PENALTY / 2 - float((strength - code).mean())},
    )


CX_22 = Counterexample(
    id="CX-22",
    belief="A feature's code is how strongly the feature is there.",
    model="One feature, a decoder of length 1, and an L1 penalty of weight .2.",
    naive="The code of least loss.",
    truth="It is the strength less half of the penalty, exactly, whatever the strength.",
    scale="mean strength",
    control="no penalty, as in TopK and JumpReLU",
    source="Rajamanoharan et al. 2024, Gated SAEs, arXiv 2404.16014",
    warns="Shrinkage in lab.score (1 is none), and L1's FVU beside the others' in the architectures' scorecard.",
    run=shrunk,
    least=0.0999,
    spared=1e-9,
    beside={"half of the penalty, less the gap": (-1e-6, 1e-6)},
)
