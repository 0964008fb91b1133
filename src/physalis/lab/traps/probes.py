"""Traps for probes: CX-05 and CX-14 by what they read, CX-16 by what they compute themselves."""

import numpy as np

from physalis.lab.counterexamples.readings.probes import LENGTH, TOKENS, onions
from physalis.lab.experiments.mechanisms.codes import STIMULI, compositional, local
from physalis.lab.traps.base import Outcome, Predictor, Probe, Trap, answered

N, NOISE = 3_000, 0.02
DEEP = 3
"""Layers of the onion that are asked for, after the first."""


def _fit(method: Probe, x: np.ndarray, y: np.ndarray):
    """The predictor, its answers checked."""
    made: Predictor = method.fit_probe(x, y)
    return lambda at: answered(made(at), (len(at),), method, "fit_probe(x, y)(x)")


def _unseen(method: Probe, seed: int) -> Outcome:
    """Red is learned without red in one shape, and then asked of that."""
    rng, wrong = np.random.default_rng(seed), []
    red = np.array([colour == 0 for colour, _ in STIMULI]).astype(int)
    for code in (local(), compositional()):
        missed = []
        for shape in range(4):
            out = STIMULI.index((0, shape))
            shown = rng.choice([i for i in range(16) if i != out], N)
            predict = _fit(method, code[shown] + NOISE * rng.normal(size=(N, code.shape[1])), red[shown])
            said = predict(code[[out] * 50] + NOISE * rng.normal(size=(50, code.shape[1])))
            missed.append(np.nan if np.isnan(said).all() else float((said != 1).mean()))
        wrong.append(float(np.nan if np.isnan(missed).all() else np.nanmean(missed)))
    return Outcome(*wrong)


def _missed(predict, x: np.ndarray, y: np.ndarray) -> float:
    said = predict(x)
    return float(np.nan if np.isnan(said).mean() > 0.5 else (said != y).mean())


def _onion(method: Probe, seed: int) -> Outcome:
    rng = np.random.default_rng(seed)
    tokens = rng.integers(TOKENS, size=(2 * N, LENGTH))
    basis = np.linalg.qr(rng.normal(size=(TOKENS * LENGTH, TOKENS * LENGTH)))[0]
    wrong = []
    for apart in (False, True):
        h = onions(tokens, basis, apart=apart)
        h = (h - h.mean(0)) @ basis.T  # each direction as a unit of its own
        if apart:
            h = h / np.maximum(h.std(0), 1e-12)
        each = [_missed(_fit(method, h[:N], tokens[:N, j]), h[N:], tokens[N:, j]) for j in range(1, DEEP)]
        wrong.append(float(np.mean(each)))
    return Outcome(*wrong)


def _own_work(method: Probe, seed: int) -> Outcome:
    """Whether two objects are the same, from units that say which each is, and, in the control, one that says it."""
    rng = np.random.default_rng(seed)
    first = rng.integers(4, size=2 * N)
    same = rng.integers(2, size=2 * N)
    second = np.where(same, first, (first + rng.integers(1, 4, size=2 * N)) % 4)
    apart = np.c_[np.eye(4)[first], np.eye(4)[second]]
    wrong = []
    for x in (apart, np.c_[apart, same]):
        x = x + NOISE * rng.normal(size=x.shape)
        wrong.append(_missed(_fit(method, x[:N], same[:N]), x[N:], same[N:]))
    return Outcome(max(0.0, 1 - 2 * wrong[0]) if wrong[0] == wrong[0] else wrong[0], wrong[1])


PROBE_TRAPS = (
    Trap(
        id="CX-05",
        name="a code without parts",
        protocol=Probe,
        measures="unseen members of a class denied, in a code where none can be known",
        most=0.1,
        run=_unseen,
    ),
    Trap(
        id="CX-14",
        name="an onion",
        protocol=Probe,
        measures="errors on what is there, one inside the other",
        most=0.1,
        run=_onion,
    ),
    Trap(
        id="CX-16",
        name="its own work",
        protocol=Probe,
        measures="accuracy above chance on what was not computed yet (control: errors where it was)",
        most=0.3,
        run=_own_work,
    ),
)
