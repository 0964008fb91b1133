"""CX-15: many circuits of one network that each do all of its work."""

import numpy as np
from jaxtyping import Bool, Float64

from physalis.lab.counterexamples.base import Counterexample, Gap

INPUTS = np.array([(0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0)])
XOR, AND = np.array([0, 1, 1, 0]), np.array([0, 0, 0, 1])

Weights = list[Float64[np.ndarray, "*nets _ _"]]
Biases = list[Float64[np.ndarray, "*nets _"]]


def forward(weights: Weights, biases: Biases) -> list[np.ndarray]:
    """Each layer's values on the four inputs, [nets, 4, units], of ReLU networks side by side; the last has none."""
    values = [np.broadcast_to(INPUTS, (*weights[0].shape[:-2], 4, 2))]
    for i, (w, b) in enumerate(zip(weights, biases, strict=True)):
        out = values[-1] @ w + b[..., None, :]
        values.append(out if i == len(weights) - 1 else np.maximum(out, 0))
    return values


def train_nets(
    target: np.ndarray, units: int, *, nets: int = 16, steps: int = 500, lr: float = 0.03, seed: int
) -> tuple[Weights, Biases]:
    """Networks with two hidden layers of so many units, by Adam on the logistic loss: the one of widest margin."""
    rng = np.random.default_rng(seed)
    sizes = (2, units, units, 1)
    weights = [rng.normal(size=(nets, a, b)) / np.sqrt(a / 2) for a, b in zip(sizes, sizes[1:], strict=False)]
    biases = [0.1 * rng.random((nets, b)) for b in sizes[1:]]
    parts = [*weights, *biases]
    first, second = ([np.zeros_like(p) for p in parts] for _ in range(2))
    for step in range(1, steps + 1):
        values = forward(weights, biases)
        g = 1 / (1 + np.exp(-values[-1])) - target[:, None]
        to_weights, to_biases = [], []
        for i in (2, 1, 0):
            to_weights.insert(0, values[i].swapaxes(-1, -2) @ g)
            to_biases.insert(0, g.sum(-2))
            g = g @ weights[i].swapaxes(-1, -2) * (values[i] > 0)
        for p, g_p, m, s in zip(parts, to_weights + to_biases, first, second, strict=True):
            m += 0.1 * (g_p - m)
            s += 0.001 * (g_p**2 - s)
            p -= lr * (m / (1 - 0.9**step)) / (np.sqrt(s / (1 - 0.999**step)) + 1e-8)
    margin = (forward(weights, biases)[-1][..., 0] * (2 * target - 1)).min(1)
    best = int(margin.argmax())
    return [w[best] for w in weights], [b[best] for b in biases]


def perfect(weights: Weights, biases: Biases, target: np.ndarray) -> Bool[np.ndarray, " subsets"]:
    """For each subset of the connections, all others cut, whether the network still answers all four inputs rightly.
    Bit i of a subset's number is connection i."""
    edges = sum(w.size for w in weights)
    kept = (np.arange(2**edges)[:, None] >> np.arange(edges)) & 1
    cut, at = [], 0
    for w in weights:
        cut.append(w * kept[:, at : at + w.size].reshape(-1, *w.shape))
        at += w.size
    out = forward(cut, [np.broadcast_to(b, (len(kept), len(b))) for b in biases])[-1][..., 0]
    return ((out > 0) == target.astype(bool)).all(1)


def minimal(found: Bool[np.ndarray, " subsets"]) -> Bool[np.ndarray, " subsets"]:
    """Those of the subsets found of which no smaller part was found too."""
    below = found.copy()  # whether the subset or a part of it was found
    smaller = np.zeros_like(found)
    numbers = np.arange(len(found))
    for bit in range(len(found).bit_length() - 1):
        has = numbers[(numbers >> bit) & 1 == 1]
        below[has] |= below[has ^ (1 << bit)]
    for bit in range(len(found).bit_length() - 1):
        has = numbers[(numbers >> bit) & 1 == 1]
        smaller[has] |= below[has ^ (1 << bit)]
    return found & ~smaller


def counted(target: np.ndarray, units: int, *, seed: int) -> tuple[float, float]:
    """Over four networks, the mean number of perfect circuits from which nothing can be taken, and of all perfect."""
    found = [perfect(*train_nets(target, units, seed=4 * seed + i), target) for i in range(4)]
    return float(np.mean([minimal(each).sum() for each in found])), float(np.mean([each.sum() for each in found]))


def circuits(seed: int) -> Gap:
    (least, every), (control, _) = counted(XOR, 3, seed=seed), counted(AND, 1, seed=seed)
    return Gap(
        naive=1.0,
        truth=least,
        control_naive=1.0,
        control_truth=control,
        beside={"circuits without an error, minimal or not": every},
    )


CX_15 = Counterexample(
    id="CX-15",
    belief="A circuit that alone does what the model does is the mechanism.",
    model="XOR by two hidden layers of three ReLUs: 18 connections, and all 262,144 ways to keep some of them.",
    naive="A circuit without an error was found, and nothing can be taken from it: it is how the model works.",
    truth="One network holds several such circuits, all perfect and none part of another: from four to eighteen on "
    "average, though one network in four has a single one.",
    scale="circuits without an error from which nothing can be taken, mean of four networks",
    control="AND by one unit in each layer, where nothing is to spare",
    source="Méloux et al. 2025, arXiv 2502.20914",
    warns="verify never calls a graph true because it suffices: what it dropped is turned against it.",
    run=circuits,
    least=1,
    spared=0,
    beside={"circuits without an error, minimal or not": (10, 2**18)},
    fast=False,
)
