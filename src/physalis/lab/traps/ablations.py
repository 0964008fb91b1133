"""Traps for ablation: CX-08, CX-10 and CX-11."""

from collections.abc import Mapping

import numpy as np

from physalis.lab.counterexamples.interventions.ablations import CONSTANT
from physalis.lab.counterexamples.interventions.patching import Mediated
from physalis.lab.traps.base import Ablation, Outcome, Parted, Trace, Trap, answered, shares

N = 1_000
Held = Mapping[str, np.ndarray]


def _ask(method: Ablation, model: Parted, inputs: np.ndarray) -> np.ndarray:
    return answered(method.ablate(model, inputs), (len(model.parts),), method, "ablate")


def _illusion(method: Ablation, seed: int) -> Outcome:
    mediated = Mediated.random(seed=seed)
    carrying = np.r_[mediated.disconnected, 0.0]

    def model(first: np.ndarray) -> Parted:
        ways = {"direction": first, "mediator": mediated.mediator}

        def trace(inputs: np.ndarray, held: Held) -> Trace:
            units = mediated.states(inputs[:, 0])
            values = {name: units @ way for name, way in ways.items()}
            for name, value in held.items():
                units = units + np.outer(value - values[name], ways[name])
            return Trace(units @ mediated.readout, values | dict(held), units)

        return Parted(tuple(ways), trace)

    x = np.random.default_rng([seed, 2]).normal(size=(N, 1))
    wrong, control = (float(shares(_ask(method, model(way), x))[0]) for way in (mediated.illusory, carrying))
    return Outcome(wrong, control)


def _either(method: Ablation, seed: int) -> Outcome:
    def two(inputs: np.ndarray, held: Held) -> Trace:
        values = {name: held.get(name, inputs[:, 0]) for name in ("a", "b")}
        return Trace(np.maximum(values["a"], values["b"]), values, np.stack([*values.values()], 1))

    def one(inputs: np.ndarray, held: Held) -> Trace:
        value = held.get("both", inputs[:, 0])
        return Trace(value, {"both": value}, value[:, None])

    x = np.random.default_rng(seed).integers(2, size=(N, 1)).astype(float)
    together = float(np.abs(_ask(method, Parted(("both",), one), x)).sum())
    apart = float(np.abs(_ask(method, Parted(("a", "b"), two), x)).sum())
    return Outcome(abs(1 - apart / max(together, 1e-12)), float(together < 0.05))


def _constant(method: Ablation, seed: int) -> Outcome:
    def trace(inputs: np.ndarray, held: Held) -> Trace:
        values = {name: held.get(name, inputs[:, i]) for i, name in enumerate(("bias", "signal"))}
        return Trace(values["bias"] + values["signal"] - CONSTANT, values, np.stack([*values.values()], 1))

    rng = np.random.default_rng(seed)
    still, moving = rng.normal(size=(2, N, 2))
    still[:, 0], moving[:, 0] = CONSTANT, moving[:, 0] + CONSTANT
    model = Parted(("bias", "signal"), trace)
    wrong, control = (float(shares(_ask(method, model, x))[0]) for x in (still, moving))
    return Outcome(wrong, max(0.0, 0.5 - control))


ABLATION_TRAPS = (
    Trap(
        id="CX-08",
        name="a patch that wakes what sleeps",
        protocol=Ablation,
        measures="share given to a direction that does nothing",
        most=0.2,
        run=_illusion,
    ),
    Trap(
        id="CX-10",
        name="a backup",
        protocol=Ablation,
        measures="what two parts do together, of which the sum of what each does falls short",
        most=0.3,
        run=_either,
    ),
    Trap(
        id="CX-11",
        name="a constant",
        protocol=Ablation,
        measures="share given to a part that never changes (control: what one that does is short of half)",
        most=0.2,
        run=_constant,
    ),
)
