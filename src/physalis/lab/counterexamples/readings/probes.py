"""What a linear probe finds that is not used, and what is used that it does not find: CX-05 and CX-14."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64

from physalis.lab.counterexamples.base import Counterexample, Gap
from physalis.lab.experiments.mechanisms import codes

TOKENS, LENGTH, DECAY = 8, 5, 0.1
BITS, HIDDEN = 8, 32


def least_squares(
    x: Float64[np.ndarray, "n d"], y: Float64[np.ndarray, "n classes"]
) -> Float64[np.ndarray, "d1 classes"]:
    """A linear readout with a bias, its last row."""
    return np.linalg.lstsq(np.c_[x, np.ones(len(x))], y, rcond=None)[0]


def accuracy(x: Float64[np.ndarray, "n d"], y: Int64[np.ndarray, " n"]) -> float:
    """Of a linear readout of classes, fitted on the first half and judged on the other."""
    half = len(x) // 2
    w = least_squares(x[:half], np.eye(y.max() + 1)[y[:half]])
    return float(((np.c_[x[half:], np.ones(len(x) - half)] @ w).argmax(1) == y[half:]).mean())


class Net(NamedTuple):
    """One hidden layer of ReLUs and a yes or no."""

    w: Float64[np.ndarray, "inputs hidden"]
    b: Float64[np.ndarray, " hidden"]
    v: Float64[np.ndarray, " hidden"]

    def hidden(self, x: Float64[np.ndarray, "n inputs"]) -> Float64[np.ndarray, "n hidden"]:
        return np.maximum(x @ self.w + self.b, 0)


def train_net(x: np.ndarray, y: Bool[np.ndarray, " n"], *, steps: int = 400, lr: float = 0.02, seed: int = 0) -> Net:
    """Logistic loss, full batches, Adam."""
    rng = np.random.default_rng(seed)
    n_in = x.shape[1]
    parts = [rng.normal(size=(n_in, HIDDEN)) / np.sqrt(n_in), np.zeros(HIDDEN), rng.normal(size=HIDDEN) / HIDDEN]
    first, second = ([np.zeros_like(p) for p in parts] for _ in range(2))
    for step in range(1, steps + 1):
        net = Net(*parts)
        h = net.hidden(x)
        g = (1 / (1 + np.exp(-h @ net.v)) - y) / len(x)
        back = np.outer(g, net.v) * (h > 0)
        for p, g_p, m, s in zip(parts, (x.T @ back, back.sum(0), h.T @ g), first, second, strict=True):
            m += 0.1 * (g_p - m)
            s += 0.001 * (g_p**2 - s)
            p -= lr * (m / (1 - 0.9**step)) / (np.sqrt(s / (1 - 0.999**step)) + 1e-8)
    return Net(*parts)


def erased(h: Float64[np.ndarray, "n d"], y: Bool[np.ndarray, " n"]) -> Float64[np.ndarray, "n d"]:
    """``h`` without the direction between the means of the two classes: along it, all are as the mean is."""
    u = h[y].mean(0) - h[~y].mean(0)
    u /= np.linalg.norm(u)
    return h - np.outer((h - h.mean(0)) @ u, u)


def used(net: Net, x: np.ndarray, target: np.ndarray, bit: np.ndarray) -> float:
    """How much of what the net knows beyond chance goes with the direction of a bit: 1 is all of it."""
    h = net.hidden(x)
    before, after = (float(((each @ net.v > 0) == target).mean()) for each in (h, erased(h, bit)))
    return (before - after) / (before - 0.5)


def decodable(seed: int) -> Gap:
    rng = np.random.default_rng(seed)
    signs = rng.choice([-1.0, 1.0], size=(2_000, BITS))
    x = signs + 0.1 * rng.normal(size=signs.shape)
    target, other = signs[:, 0] > 0, signs[:, 1] > 0
    net = train_net(x, target, seed=seed)
    h = net.hidden(x)
    untrained = np.maximum(x[:, :2] @ rng.normal(size=(2, 200)) + rng.normal(size=200), 0)
    xor = (target ^ other).astype(int)
    red = np.array([colour == 0 for colour, _ in codes.STIMULI])
    fitted = np.c_[codes.local(), np.ones(16)] @ least_squares(codes.local(), red[:, None].astype(float))
    return Gap(
        naive=2 * accuracy(h, other.astype(int)) - 1,
        truth=used(net, x, target, other),
        control_naive=2 * accuracy(h, target.astype(int)) - 1,
        control_truth=used(net, x, target, target),
        beside={
            "red found in a local code by a readout fitted on all shapes": float((fitted[red, 0] > 0.5).mean()),
            "unseen red shapes that it finds, of four": float(codes.generalises(codes.local())),
            "XOR of two bits read from 200 untrained units": accuracy(untrained, xor),
            "XOR of two bits read from the bits": accuracy(x[:, :2], xor),
        },
    )


CX_05 = Counterexample(
    id="CX-05",
    belief="What a linear probe reads with high accuracy is a feature that the model has and uses.",
    model="32 ReLUs trained to tell one of eight bits; a probe reads another of them from the hidden layer.",
    naive="The probe is right on inputs it has not seen, so the model represents the bit and uses it.",
    truth="Erase the direction between the bit's classes and the model answers as well as before: the bit lingers from "
    "the random start. 200 untrained units give XOR to a probe, which the bits do not; a code of one unit a stimulus "
    "gives it any set, and no unseen member of any.",
    scale="probe accuracy above chance (naive); share of the model's accuracy that goes with the direction (truth)",
    control="the bit that the model was trained to tell",
    source="Olah 2023, Distributed Representations; Elazar et al. 2021; Hewitt and Liang 2019",
    warns="Nothing yet for probes; for features, `physalis evaluate` splices them into the model (ce_increase).",
    run=decodable,
    least=0.8,
    spared=0.2,
    beside={
        "red found in a local code by a readout fitted on all shapes": (1, 1),
        "unseen red shapes that it finds, of four": (0, 0),
        "XOR of two bits read from 200 untrained units": (0.95, 1),
        "XOR of two bits read from the bits": (0, 0.8),  # a plane can be right about three corners of four
    },
)


def onions(
    tokens: Int64[np.ndarray, "n length"], basis: Float64[np.ndarray, "directions d"], *, apart: bool
) -> Float64[np.ndarray, "n d"]:
    """``sum over j of .1^j e_(token j)``: each position a tenth as long as the one before, along the same directions;
    ``apart``, along directions of its own."""
    size = DECAY ** np.arange(LENGTH)
    at = tokens + (TOKENS * np.arange(LENGTH) if apart else 0)
    return (size[:, None] * basis[at]).sum(1)


def peel(h: Float64[np.ndarray, "n d"], basis: Float64[np.ndarray, "tokens d"]) -> Int64[np.ndarray, "n length"]:
    """Read the longest layer, take it off, and read the next."""
    left, found = h.copy(), []
    for position in range(LENGTH):
        found.append((left @ basis.T).argmax(1))
        left -= DECAY**position * basis[found[-1]]
    return np.stack(found, 1)


def onion(seed: int) -> Gap:
    rng = np.random.default_rng(seed)
    tokens = rng.integers(TOKENS, size=(8_000, LENGTH))
    basis = np.linalg.qr(rng.normal(size=(TOKENS * LENGTH, TOKENS * LENGTH)))[0]
    same, apart = (onions(tokens, basis, apart=each) for each in (False, True))
    own = np.stack([(apart @ each.T).argmax(1) for each in basis.reshape(LENGTH, TOKENS, -1)], 1)
    return Gap(
        naive=float(np.mean([accuracy(same, tokens[:, j]) for j in range(1, LENGTH)])),
        truth=float((peel(same, basis[:TOKENS])[:, 1:] == tokens[:, 1:]).mean()),
        control_naive=float(np.mean([accuracy(apart, tokens[:, j]) for j in range(1, LENGTH)])),
        control_truth=float((own[:, 1:] == tokens[:, 1:]).mean()),
        beside={"linear readout of the first token": accuracy(same, tokens[:, 0])},
    )


CX_14 = Counterexample(
    id="CX-14",
    belief="Features are directions: where a linear probe finds nothing, there is nothing.",
    model="A sum of five tokens' vectors, each a tenth as long as the one before, along the same eight directions: an "
    "onion, as GRUs trained to copy make them.",
    naive="A linear readout of every token after the first is at chance, an eighth: they are not there.",
    truth="Read the longest, take it off, read the next: every token is there. Its size says where it stood.",
    scale="accuracy on the second to fifth token",
    control="the same sizes, each position with directions of its own",
    source="Csordás et al. 2024, arXiv 2408.10920",
    warns="Nothing yet: a dictionary shares the belief.",
    run=onion,
    least=0.8,
    spared=0.02,
    beside={"linear readout of the first token": (0.99, 1)},
)
