"""Neurons that stand for several things though nothing forces them to share: CX-01 and CX-02."""

from itertools import product

import numpy as np
from jaxtyping import Bool, Float64

from physalis.lab.counterexamples.base import Counterexample, Gap

EVEN = np.full(4, 0.25)
ONE_COMMON = np.array([0.7, 0.1, 0.1, 0.1])


def cross_entropy(fires: Float64[np.ndarray, " features"], p: Float64[np.ndarray, " features"]) -> float:
    """What the best readout of one binary neuron leaves unsaid about which of the exclusive features is there, in nats.

    Feature i is there with probability p[i], and makes the neuron fire with probability fires[i].
    """
    joint = np.stack([p * (1 - fires), p * fires])
    given = joint / np.maximum(joint.sum(1, keepdims=True), 1e-300)
    return float(-(joint * np.log(np.maximum(given, 1e-300))).sum())


def squared_error(fires: Float64[np.ndarray, " features"], p: Float64[np.ndarray, " features"]) -> float:
    """The same for the squared error of the one-hot vector of features."""
    joint = np.stack([p * (1 - fires), p * fires])
    mass = np.maximum(joint.sum(1, keepdims=True), 1e-300)
    return float(1 - (joint**2 / mass).sum())


def train_neuron(p: Float64[np.ndarray, " features"], *, steps: int = 2_000, starts: int = 16, seed: int = 0):
    """Gradient descent on how the neuron answers to each feature, its readout the best there is at every step; the
    best of several starts. float64 [features], how often each makes it fire."""
    w = 0.3 * np.random.default_rng(seed).normal(size=(starts, len(p)))
    for _ in range(steps):
        fires = 1 / (1 + np.exp(-w))
        given = [x / np.maximum((x * p).sum(1, keepdims=True), 1e-12) for x in (fires, 1 - fires)]
        # a readout that is best already has no gradient of its own, which leaves the neuron's
        w += 3.0 * p * (np.log(np.maximum(given[0], 1e-12)) - np.log(np.maximum(given[1], 1e-12))) * fires * (1 - fires)
    losses = [cross_entropy(each, p) for each in 1 / (1 + np.exp(-w))]
    return (1 / (1 + np.exp(-w)))[int(np.argmin(losses))]


def _one_feature(p: np.ndarray, loss) -> float:
    """The least loss of a neuron that fires on one feature alone."""
    return min(loss(np.eye(len(p))[i], p) for i in range(len(p)))


def _best(p: np.ndarray, loss) -> float:
    return min(loss(np.array(code, float), p) for code in product((0, 1), repeat=len(p)))


def one_neuron(seed: int) -> Gap:
    trained, control = train_neuron(EVEN, seed=seed), train_neuron(ONE_COMMON, seed=seed)
    on = trained > 0.5
    return Gap(
        naive=_one_feature(EVEN, cross_entropy),
        truth=cross_entropy(trained, EVEN),
        control_naive=_one_feature(ONE_COMMON, cross_entropy),
        control_truth=cross_entropy(control, ONE_COMMON),
        beside={
            "features that fire the trained neuron": float(min(on.sum(), (~on).sum())),
            "its loss above ln 2, the best there is": cross_entropy(trained, EVEN) - np.log(2),
            "squared error instead: what sharing gains": _one_feature(EVEN, squared_error) - _best(EVEN, squared_error),
        },
    )


CX_01 = Counterexample(
    id="CX-01",
    belief="Without superposition, every neuron is a feature.",
    model="One binary neuron reads four features of which exactly one is there, each as often; a readout guesses which "
    "(cross-entropy).",
    naive="Nothing is superposed, so the neuron must stand for one feature: its best is 3/4 ln 3 = .824 nats.",
    truth="Trained, it fires on two of the four, .693 nats: polysemantic is what the loss asks for. A squared error "
    "would not care.",
    scale="loss of the code, in nats",
    control="the same neuron where one feature is there 70 % of the time: firing on it alone is best",
    source="Bricken et al. 2023, Towards Monosemanticity (a counterexample by Brian Chen)",
    warns="A feature's examples at all levels of activation, in the atlas: each of the two fills half of them.",
    run=one_neuron,
    least=0.12,
    spared=0.01,
    beside={
        "features that fire the trained neuron": (2, 2),
        "its loss above ln 2, the best there is": (-1e-9, 0.01),
        "squared error instead: what sharing gains": (-1e-9, 1e-9),
    },
)

FEATURES = 96
WIDTHS = (96, 192, 384)


def train_incidental(
    start: Float64[np.ndarray, "n m"], *, steps: int = 1_000, lr: float = 0.1, l1: float = 0.03
) -> Float64[np.ndarray, "n m"]:
    """``y = relu(W W^T x)`` on one-hot inputs, with an L1 penalty on W: each feature's row ends on one neuron, the one
    it began nearest to."""
    w, eye = start.copy(), np.eye(len(start))
    for _ in range(steps):
        y = w @ w.T
        g = np.where(y > 0, y - eye, 0.0)
        w -= lr * (g + g.T) @ w
        w = np.sign(w) * np.maximum(np.abs(w) - lr * l1, 0)
    return w


def on_shared(w: Float64[np.ndarray, "n m"]) -> Bool[np.ndarray, " n"]:
    """Which features lie on a neuron that another lies on too: two of opposite signs do not disturb each other."""
    on = np.abs(w) > 0.5
    return (on & (on.sum(0) > 1)).any(1)


def errors(w: Float64[np.ndarray, "n m"]) -> Float64[np.ndarray, " n"]:
    """Squared error on each feature alone."""
    return np.square(np.maximum(w @ w.T, 0) - np.eye(len(w))).sum(1)


def incidental(seed: int) -> Gap:
    rng = np.random.default_rng(seed)
    trained = [train_incidental(rng.normal(size=(FEATURES, m)) / np.sqrt(m)) for m in WIDTHS]
    neurons = [int(((np.abs(w) > 0.5).sum(0) > 1).sum()) for w in trained]
    own, other = (train_incidental(np.eye(FEATURES) + 1e-3 * rng.normal(size=(FEATURES, FEATURES))) for _ in range(2))
    better = errors(own) < errors(trained[0]) - 0.01
    return Gap(
        naive=float(on_shared(trained[0]).mean()),
        truth=float(better[on_shared(trained[0])].sum() / FEATURES),
        control_naive=float(on_shared(own).mean()),
        control_truth=float((errors(other) < errors(own) - 0.01).mean()),
        beside={
            "slope of the number of shared neurons against the width, log-log": float(
                np.polyfit(np.log(WIDTHS), np.log(np.maximum(neurons, 0.5)), 1)[0]
            )
        },
    )


CX_02 = Counterexample(
    id="CX-02",
    belief="Polysemantic neurons mean that there are too few neurons.",
    model="relu(W W^T x) with a small L1 penalty on W learns 96 one-hot features with 96 neurons or more.",
    naive="Some neurons stand for two features, so these want neurons of their own.",
    truth="They were begun nearest to the same neuron, and stayed: with opposite signs they do not disturb each other. "
    "Started apart, the same network has no shared neuron and no smaller error.",
    scale="share of features that want a neuron of their own",
    control="the same network with each feature begun on a neuron of its own",
    source="Lecomte et al. 2023, arXiv 2312.03096",
    warns="Nothing yet: compare a recording of the same model trained from another seed.",
    run=incidental,
    least=0.2,
    spared=0.01,
    beside={"slope of the number of shared neurons against the width, log-log": (-1.4, -0.6)},
    fast=False,
)
