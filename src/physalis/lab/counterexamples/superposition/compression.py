"""CX-21: a network that seems to compute more functions than it has neurons, helped by noise in its labels."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from physalis.lab.counterexamples.base import Counterexample, Gap

FEATURES, NEURONS, RESIDUAL = 60, 30, 300
SCALES = (0.0, 0.5, 1.0)


class Layer(NamedTuple):
    """``y = out relu(x into)``, without biases."""

    into: Float64[np.ndarray, "features neurons"]
    out: Float64[np.ndarray, "neurons features"]


def mixing(*, seed: int) -> Float64[np.ndarray, "features features"]:
    """``E E^T - 1`` of random rows of length 1: what comes back beside each feature that is written into a residual
    stream too narrow for all, and read with the same directions."""
    e = np.random.default_rng(seed).normal(size=(FEATURES, RESIDUAL))
    e /= np.linalg.norm(e, axis=1, keepdims=True)
    return e @ e.T - np.eye(FEATURES)


def one_at_a_time() -> Float64[np.ndarray, "inputs features"]:
    """Each feature alone, as 1 and as -1: all that very sparse inputs are, up to their size, which passes through a
    layer without biases unchanged."""
    return np.vstack([np.eye(FEATURES), -np.eye(FEATURES)])


def labels(mixed: Float64[np.ndarray, "features features"]) -> Float64[np.ndarray, "inputs features"]:
    x = one_at_a_time()
    return np.maximum(x, 0) + x @ mixed


def loss(layer: Layer, y: Float64[np.ndarray, "inputs features"]) -> float:
    return float(np.square(np.maximum(one_at_a_time() @ layer.into, 0) @ layer.out - y).sum() / FEATURES)


def half_solved() -> Layer:
    """A neuron for each of the first features, and nothing for the others."""
    one = np.eye(FEATURES)[:, :NEURONS]
    return Layer(one, one.T)


def train_layer(y: Float64[np.ndarray, "inputs features"], *, steps: int = 1_500, lr: float = 5e-3, seed: int) -> Layer:
    """Adam on all inputs at once, the rate falling to 0."""
    rng, x = np.random.default_rng([seed, 1]), one_at_a_time()
    parts = [rng.normal(size=shape) / np.sqrt(NEURONS) for shape in ((FEATURES, NEURONS), (NEURONS, FEATURES))]
    first, second = ([np.zeros_like(p) for p in parts] for _ in range(2))
    for step in range(1, steps + 1):
        h = np.maximum(x @ parts[0], 0)
        g = 2 * (h @ parts[1] - y) / FEATURES
        rate = lr * (1 - step / steps) * np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
        for p, g_p, m, s in zip(parts, (x.T @ (g @ parts[1].T * (h > 0)), h.T @ g), first, second, strict=True):
            m += 0.1 * (g_p - m)
            s += 0.001 * (g_p**2 - s)
            p -= rate * m / (np.sqrt(s) + 1e-8)
    return Layer(*parts)


def gain(layer: Layer, y: Float64[np.ndarray, "inputs features"]) -> float:
    """How much lower the loss is than that of a layer that solves half of the features: 0 is no better."""
    return 1 - loss(layer, y) / loss(half_solved(), y)


def compressed(seed: int) -> Gap:
    mixed = mixing(seed=seed)
    clean = labels(0 * mixed)
    trained = {scale: train_layer(labels(scale * mixed), seed=seed) for scale in SCALES}
    gains = [gain(layer, labels(scale * mixed)) for scale, layer in trained.items()]
    return Gap(
        naive=gains[-1],
        truth=gain(trained[1.0], clean),
        control_naive=gains[0],
        control_truth=gain(trained[0.0], clean),
        beside={
            "gain without mixing": gains[0],
            "gain for each unit of mixing": float(np.polyfit(SCALES, gains, 1)[0]),
        },
    )


CX_21 = Counterexample(
    id="CX-21",
    belief="A layer that beats one that solves as many features as it has neurons computes in superposition.",
    model="30 ReLUs learn relu(x) of 60 features, one there at a time, from labels that also hold what a residual "
    "stream of 300 dimensions mixes in.",
    naive="Its loss is clearly below that of 30 features solved and 30 left out: it computes more than 30.",
    truth="On relu(x) alone it is worse than those 30. It learned the mixing, which is linear; without mixing there is "
    "no gain, and with it the gain grows.",
    scale="loss saved against 30 features solved: on the labels (naive), on relu(x) alone (truth)",
    control="labels without mixing",
    source="Bhagat et al. 2026, arXiv 2606.14673, on Braun et al. 2025, Compressed Computation",
    warns="Nothing yet: state what a baseline was given, and score on clean labels.",
    run=compressed,
    least=0.1,
    spared=1e-9,
    beside={"gain without mixing": (-1, 0.005), "gain for each unit of mixing": (0.05, 10)},
)
