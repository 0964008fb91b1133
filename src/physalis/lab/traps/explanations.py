"""Traps for explainers of units: CX-01, CX-07 and CX-20."""

import numpy as np

from physalis.lab.counterexamples.readings.examples import STRENGTHS, rare_and_common
from physalis.lab.traps.base import Explainer, Outcome, Trap, answered

N = 50_000


def _off(method: Explainer, activations: np.ndarray, concepts: np.ndarray, truth: np.ndarray) -> float:
    """Half of the sum of distances from the true shares; NaN where the explainer passes."""
    said = answered(method.explain(activations, concepts), (concepts.shape[1],), method, "explain")
    return float(0.5 * np.abs(said - truth).sum())


def _shared(method: Explainer, seed: int) -> Outcome:
    rng = np.random.default_rng(seed)
    which = rng.integers(4, size=N)
    concepts = np.eye(4, dtype=bool)[which]
    wrong = []
    for fires, truth in (((0, 1), (0.5, 0.5, 0, 0)), ((0,), (1.0, 0, 0, 0))):
        # a little stronger on the first, as no two are quite the same
        unit = np.isin(which, fires) * (1 + 0.1 * (which == 0)) * rng.uniform(0.9, 1.0, N)
        wrong.append(_off(method, unit, concepts, np.array(truth)))
    return Outcome(*wrong)


def _rare(method: Explainer, seed: int) -> Outcome:
    inputs = rare_and_common(N, seed=seed)
    wrong = []
    for strengths in (STRENGTHS, (2.0, 0.0)):
        parts = inputs * strengths
        wrong.append(_off(method, parts.sum(1), inputs > 0, parts.sum(0) / parts.sum()))
    return Outcome(*wrong)


def _nothing(method: Explainer, seed: int) -> Outcome:
    """Eight words, each a tenth of a text; the rest is of none."""
    rng = np.random.default_rng(seed)
    concepts = np.eye(10, dtype=bool)[rng.integers(10, size=N)][:, :8]
    noise = rng.random(N) * (rng.random(N) < 0.05)
    unit = concepts[:, 0] * rng.uniform(0.5, 1.0, N)
    nothing, first = np.zeros(8), np.eye(8)[0]
    return Outcome(_off(method, noise, concepts, nothing), _off(method, unit, concepts, first))


EXPLANATION_TRAPS = (
    Trap(
        id="CX-01",
        name="two of four",
        protocol=Explainer,
        measures="distance of the shares given to concepts from the true ones",
        most=0.2,
        run=_shared,
    ),
    Trap(
        id="CX-07",
        name="rare and strong",
        protocol=Explainer,
        measures="distance of the shares given to concepts from the true ones",
        most=0.2,
        run=_rare,
    ),
    Trap(
        id="CX-20",
        name="nothing there",
        protocol=Explainer,
        measures="half of the share of concepts in a unit that answers to none (control: distance from the true ones)",
        most=0.2,
        run=_nothing,
    ),
)
