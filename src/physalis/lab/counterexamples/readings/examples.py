"""What a unit seems to be from the inputs that drive it hardest, found or made: CX-07 and CX-24."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from physalis.lab.counterexamples.base import Counterexample, Gap

P_A, P_B = 0.01, 0.2
STRENGTHS = (2.0, 0.5)
TOP = 20


def rare_and_common(n: int, *, seed: int) -> Float64[np.ndarray, "n 2"]:
    """A rare feature and a common one, each uniform from 0 to 1 where it is there."""
    rng = np.random.default_rng(seed)
    return (rng.random((n, 2)) < (P_A, P_B)) * rng.random((n, 2))


class Told(NamedTuple):
    """The share of the rare feature in a unit ``relu(strengths . inputs)``."""

    top: float
    """Of its strongest examples."""
    firings: float
    activation: float
    """Of all that it ever says."""


def tell(inputs: Float64[np.ndarray, "n 2"], strengths: tuple[float, float]) -> Told:
    parts = inputs * strengths
    unit = parts.sum(1)
    strongest = np.argsort(-unit)[:TOP]
    return Told(
        float((inputs[strongest, 0] > 0).mean()),
        float((inputs[unit > 0, 0] > 0).mean()),
        float(parts[:, 0].sum() / unit.sum()),
    )


def top_examples(seed: int) -> Gap:
    inputs = rare_and_common(200_000, seed=seed)
    told, control = tell(inputs, STRENGTHS), tell(inputs, (2.0, 0.0))
    return Gap(
        naive=told.top,
        truth=told.activation,
        control_naive=control.top,
        control_truth=control.activation,
        beside={"its share of the firings": told.firings},
    )


CX_07 = Counterexample(
    id="CX-07",
    belief="Its strongest examples tell what a unit does.",
    model="A unit relu(2 a + .5 b), where a is there in 1 % of inputs and b in 20 %.",
    naive="All of its twenty strongest examples contain a: it is a unit for a.",
    truth="a is there in a twentieth of its firings and brings a sixth of all it ever says; the rest is b.",
    scale="share of a in what the unit does",
    control="the unit without b",
    source="Elhage et al. 2022 (primary and secondary features); Bolukbasi et al. 2021",
    warns="Examples at every level of activation in the atlas, and the histogram of a feature's codes.",
    run=top_examples,
    least=0.7,
    spared=0.01,
    beside={"its share of the firings": (0.03, 0.07)},
)

D, NATURAL, WIDTH = 32, 16, 0.01


class Fooling(NamedTuple):
    """A unit that is A on inputs like the data and B elsewhere: ``nat(x) relu(a . x) + (1 - nat(x)) relu(b . x)``."""

    a: Float64[np.ndarray, " d"]
    b: Float64[np.ndarray, " d"]
    off: Float64[np.ndarray, "d d"]
    """The projector off the plane of the data; 0 where every input counts as natural."""

    def natural(self, x: Float64[np.ndarray, "n d"]) -> Float64[np.ndarray, " n"]:
        return np.exp(-np.square(x @ self.off).sum(1) / WIDTH)

    def __call__(self, x: Float64[np.ndarray, "n d"]) -> Float64[np.ndarray, " n"]:
        nat = self.natural(x)
        return nat * np.maximum(x @ self.a, 0) + (1 - nat) * np.maximum(x @ self.b, 0)

    def gradient(self, x: Float64[np.ndarray, "n d"]) -> Float64[np.ndarray, "n d"]:
        nat, to_a, to_b = self.natural(x)[:, None], (x @ self.a)[:, None], (x @ self.b)[:, None]
        away = -2 / WIDTH * nat * (x @ self.off)
        return (
            nat * (to_a > 0) * self.a
            + (1 - nat) * (to_b > 0) * self.b
            + away * (np.maximum(to_a, 0) - np.maximum(to_b, 0))
        )


def visualise(unit: Fooling, *, starts: int = 16, steps: int = 300, seed: int) -> Float64[np.ndarray, " d"]:
    """The input of length 1 that drives the unit hardest: gradient ascent from several random inputs."""
    x = np.random.default_rng(seed).normal(size=(starts, D))
    for _ in range(steps):
        x /= np.linalg.norm(x, axis=1, keepdims=True)
        x += 0.1 * unit.gradient(x)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return x[int(np.argmax(unit(x)))]


def visualised(seed: int) -> Gap:
    rng = np.random.default_rng(seed)
    plane = np.linalg.qr(rng.normal(size=(D, NATURAL)))[0]
    a, b = plane @ rng.normal(size=NATURAL), rng.normal(size=D)
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
    fooling = Fooling(a, b, np.eye(D) - plane @ plane.T)
    honest = fooling._replace(off=np.zeros((D, D)))
    data = rng.normal(size=(2_000, NATURAL)) @ plane.T
    responses = np.maximum(data @ a, 0)
    shown, control = visualise(fooling, seed=seed), visualise(honest, seed=seed)
    return Gap(
        naive=float(shown @ a),
        truth=float(np.corrcoef(fooling(data), responses)[0, 1]),
        control_naive=float(control @ a),
        control_truth=float(np.corrcoef(honest(data), responses)[0, 1]),
        beside={"cosine of the input made and what the unit detects elsewhere": float(shown @ b)},
    )


CX_24 = Counterexample(
    id="CX-24",
    belief="The input that drives a unit hardest shows what it detects.",
    model="A unit that answers to A on inputs like the data (in a plane of R^32) and to B on all others.",
    naive="The input made by gradient ascent shows B, and hardly any A.",
    truth="On data the unit is A exactly.",
    scale="likeness to A: cosine of the input made (naive), correlation on data (truth)",
    control="the same unit without its switch",
    source="Geirhos et al. 2023, Don't trust your eyes, arXiv 2306.04719",
    warns="physalis shows examples from text only, and makes no inputs.",
    run=visualised,
    least=0.5,
    spared=0.01,
    beside={"cosine of the input made and what the unit detects elsewhere": (0.9, 1)},
)
