"""Parts whose removal says too little, or too much: CX-10 and CX-11."""

import numpy as np
from jaxtyping import Float64

from physalis.lab.counterexamples.base import Counterexample, Gap

Values = Float64[np.ndarray, " n"]


def with_backup(a: Values, noise: Values, *, seen: Values, strength: float) -> Values:
    """``a + strength relu(1 - seen - noise)``: a backup does what a did not. It sees a, unless what it sees is held
    still."""
    return a + strength * np.maximum(1 - seen - noise, 0)


def effects(noise: Values, *, strength: float) -> tuple[float, float]:
    """What removing a changes: in all, and with the backup held still."""
    a, none = np.ones_like(noise), np.zeros_like(noise)
    there = with_backup(a, noise, seen=a, strength=strength)
    total, direct = (there - with_backup(none, noise, seen=seen, strength=strength) for seen in (none, a))
    return float(total.mean()), float(direct.mean())


def repaired(seed: int) -> Gap:
    noise = 0.1 * np.random.default_rng(seed).random(1_000)
    (total, direct), control = (effects(noise, strength=each) for each in (1.0, 0.0))
    either = max  # of two parts that are 1 or 0
    return Gap(
        naive=total,
        truth=direct,
        control_naive=control[0],
        control_truth=control[1],
        beside={
            "a OR b: removing one": float(either(1, 1) - either(0, 1)),
            "a OR b: removing both": float(either(1, 1) - either(0, 0)),
            "a OR b: Shapley value of each": (either(1, 0) - either(0, 0) + either(1, 1) - either(0, 1)) / 2,
        },
    )


CX_10 = Counterexample(
    id="CX-10",
    belief="What can be removed without effect does not matter.",
    model="y = a + relu(1 - a - noise): a part that does the work and a backup that does it when a does not.",
    naive="Without a, hardly anything changes: a is unimportant.",
    truth="All of the output comes from a. Held still, the backup shows it; so do removing both, and Shapley values.",
    scale="effect of a on the output: in all (naive), directly (truth)",
    control="a without a backup",
    source="McGrath et al. 2023, The Hydra Effect; Rushing and Nanda 2024",
    warns="Nothing yet: effects in the atlas are direct ones only (promoted tokens), which is the other half.",
    run=repaired,
    least=0.9,
    spared=1e-9,
    beside={
        "a OR b: removing one": (0, 0),
        "a OR b: removing both": (1, 1),
        "a OR b: Shapley value of each": (0.5, 0.5),
    },
)

CONSTANT = 5.0


def right(x: Float64[np.ndarray, " n"], h: Float64[np.ndarray, " n"], y: np.ndarray) -> float:
    """Accuracy of a model that adds a unit h to its signal x, with a bias that expects it at 5."""
    return float(((x + h - CONSTANT > 0) == y).mean())


def constant(seed: int) -> Gap:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=2_000)
    y, h, zero = x > 0, np.full(2_000, CONSTANT), np.zeros(2_000)
    carrying = np.where(y, 1.0, -1.0) + CONSTANT  # a unit that is the signal, about the same mean
    shuffled = rng.permutation(carrying)
    before, chance = right(x, h, y), 0.5
    return Gap(
        naive=(before - right(x, zero, y)) / (before - chance),
        truth=(before - right(x, rng.permutation(h), y)) / (before - chance),
        control_naive=(right(zero, carrying, y) - right(zero, zero, y)) / (1 - chance),
        control_truth=(right(zero, carrying, y) - right(zero, shuffled, y)) / (1 - chance),
        beside={"effect of putting the mean in its place": before - right(x, np.full(2_000, h.mean()), y)},
    )


CX_11 = Counterexample(
    id="CX-11",
    belief="What a unit matters is what setting it to zero costs.",
    model="A classifier whose bias is a unit that is 5 on every input.",
    naive="Set to zero, it takes the classifier to chance: it matters most of all.",
    truth="It says nothing about any input: another input's value in its place, or the mean, changes no answer.",
    scale="share of the accuracy above chance that is lost: at zero (naive), with another input's value (truth)",
    control="a unit with the same mean that carries the signal",
    source="Bricken et al. 2023 (why zero is too easy a baseline); Chan et al. 2022, Causal Scrubbing",
    warns="`physalis evaluate` prints loss recovered against zero and against the mean, side by side.",
    run=constant,
    least=0.9,
    spared=0.1,
    beside={"effect of putting the mean in its place": (0, 0)},
)
