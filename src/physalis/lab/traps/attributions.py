"""Traps for attribution methods: CX-09 to CX-12."""

import numpy as np

from physalis.lab.counterexamples.interventions.ablations import CONSTANT
from physalis.lab.counterexamples.readings.attention import contributions, head
from physalis.lab.counterexamples.readings.saturation import saturating, slope
from physalis.lab.traps.base import Attribution, Network, Outcome, Trap, answered, correlation, shares

N = 500


def _ask(method: Attribution, network: Network, x: np.ndarray) -> np.ndarray:
    return answered(method.attribute(network, x), x.shape, method, "attribute")


def _head(weights: np.ndarray, lengths: np.ndarray) -> Network:
    """Looks by ``weights`` and says the sum of what is there, each token as loud as its value is long."""
    by = weights * lengths
    return Network(
        outputs=lambda x: x @ by,
        slopes=lambda x: np.tile(by, (len(x), 1)),
        attention=lambda x: np.tile(weights, (len(x), 1)),
    )


def _sink(method: Attribution, seed: int) -> Outcome:
    weights, values = head(seed=seed)
    silent = values.copy()
    silent[0] = 0.0
    wrong = []
    for each in (silent, values):
        x, lengths = np.ones((N, len(weights))), np.linalg.norm(each, axis=1)
        said, truth = shares(_ask(method, _head(weights, lengths), x)), contributions(weights, each)
        wrong.append(float(0.5 * np.abs(said - truth).sum(1).mean()))
    return Outcome(*wrong)


def _either(method: Attribution, seed: int) -> Outcome:
    x = np.ones((N, 2))
    either = Network(lambda x: 1 - (1 - x).prod(1), lambda x: 1 - x[:, ::-1])
    mean = Network(lambda x: x.mean(1), lambda x: np.full(x.shape, 0.5))
    wrong, control = (float(np.abs(_ask(method, each, x) - 0.5).mean()) for each in (either, mean))
    return Outcome(wrong, control)


def _constant(method: Attribution, seed: int) -> Outcome:
    rng = np.random.default_rng(seed)
    total = Network(lambda x: x.sum(1), np.ones_like)
    still, moving = rng.normal(size=(2, N, 2))
    still[:, 1], moving[:, 1] = CONSTANT, moving[:, 1] + CONSTANT
    size = np.abs(_ask(method, total, still)).mean(0)
    follows = abs(correlation(_ask(method, total, moving)[:, 1], moving[:, 1]))
    return Outcome(float(size[1] / max(size.sum(), 1e-12)), 1 - follows)


def _flat(method: Attribution, seed: int) -> Outcome:
    rng = np.random.default_rng(seed)
    network = Network(lambda x: saturating(x[:, 0]), lambda x: slope(x[:, 0])[:, None])
    wrong = []
    for low, high in ((1.5, 3.0), (0.2, 0.9)):
        x = rng.uniform(low, high, (N, 1))
        wrong.append(float(np.abs(_ask(method, network, x)[:, 0] - saturating(x[:, 0])).mean()))
    return Outcome(*wrong)


ATTRIBUTION_TRAPS = (
    Trap(
        id="CX-09",
        name="an attention sink",
        protocol=Attribution,
        measures="distance of the shares given to tokens from what they contribute",
        most=0.1,
        run=_sink,
    ),
    Trap(
        id="CX-10",
        name="either is enough",
        protocol=Attribution,
        measures="distance from .5 for each of two inputs of which one would do",
        most=0.1,
        run=_either,
    ),
    Trap(
        id="CX-11",
        name="a constant",
        protocol=Attribution,
        measures="share given to an input that never changes (control: 1 - correlation with one that does)",
        most=0.1,
        run=_constant,
    ),
    Trap(
        id="CX-12",
        name="saturation",
        protocol=Attribution,
        measures="distance from what removal does",
        most=0.1,
        run=_flat,
    ),
)
