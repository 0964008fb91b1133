"""CX-13: one feature of two dimensions, which a dictionary reports as however many it has room for."""

import numpy as np
import torch
from jaxtyping import Float32

from physalis.lab.counterexamples.base import Counterexample, Gap
from physalis.lab.fitting import Rows, fit_dictionary

D, SAMPLES, NOISE = 16, 60_000, 0.01
WIDTHS = (4, 8, 16)
SAME = 0.99
"""The cosine above which two directions count as one."""


def circle(n: int, *, seed: int) -> Float32[np.ndarray, "n d"]:
    """Points all round a circle: a day of the week, an hour."""
    rng = np.random.default_rng(seed)
    angle = rng.random(n) * 2 * np.pi
    return _placed(np.stack([np.cos(angle), np.sin(angle)], 1), rng)


def cross(n: int, *, seed: int) -> Float32[np.ndarray, "n d"]:
    """The four half axes of the same plane: four features of one dimension, of which one is there at a time."""
    rng = np.random.default_rng(seed)
    ways = np.array([(1, 0), (0, 1), (-1, 0), (0, -1)])
    return _placed(ways[rng.integers(4, size=n)] * rng.uniform(0.5, 1.5, (n, 1)), rng)


def _placed(flat: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    plane = np.linalg.qr(rng.normal(size=(D, 2)))[0].T
    return (flat @ plane + NOISE * rng.normal(size=(len(flat), D))).astype(np.float32)


def distinct(directions: np.ndarray) -> int:
    """How many directions there are, those within a few degrees of each other counted once."""
    kept: list[np.ndarray] = []
    for each in directions / np.maximum(np.linalg.norm(directions, axis=1, keepdims=True), 1e-12):
        if all(each @ other < SAME for other in kept) and each.any():
            kept.append(each)
    return len(kept)


def found(x: Float32[np.ndarray, "n d"], width: int, *, seed: int) -> int:
    """Distinct directions of the features that fire, in a dictionary of which one fires at a time."""
    dictionary = fit_dictionary(Rows(x), "topk", n_features=width, k=1, epochs=6, seed=seed)
    with torch.no_grad():
        codes = dictionary.encode(torch.from_numpy(x[:10_000]))
    fires = np.bincount(codes.ids[codes.values > 0].numpy(), minlength=width) > 10
    return distinct(dictionary.W_dec.numpy()[fires])  # pyright: ignore[reportCallIssue]


def dimensions(x: Float32[np.ndarray, "n d"]) -> int:
    """Dimensions with more variance than the noise."""
    return int((np.linalg.eigvalsh(np.cov(x.T)) > 10 * NOISE**2).sum())


def tiled(seed: int) -> Gap:
    round_, straight = circle(SAMPLES, seed=seed), cross(SAMPLES, seed=seed)
    counts, control = ([found(x, width, seed=seed) for width in WIDTHS] for x in (round_, straight))
    steps = np.log(WIDTHS)
    return Gap(
        naive=float(np.polyfit(steps, np.log(counts), 1)[0]),
        truth=0.0,
        control_naive=float(np.polyfit(steps, np.log(control), 1)[0]),
        control_truth=0.0,
        beside={
            "directions found with 16 features": float(counts[-1]),
            "dimensions that the data vary in": float(dimensions(round_)),
            "directions found with 16 features in the control": float(control[-1]),
        },
    )


CX_13 = Counterexample(
    id="CX-13",
    belief="Features are one-dimensional, and a wider dictionary finds more of them.",
    model="Points on a circle in R^16, as days of the week or hours lie, and TopK dictionaries of 4, 8 and 16 "
    "features, one firing at a time.",
    naive="The wider, the more features are found, every one with an arc of its own to explain it: about 4, 8 and 11.",
    truth="There is one feature, of two dimensions; how many arcs it is cut into is the dictionary's own number.",
    scale="growth of the number of directions found with the width, log-log: 0 is a number that belongs to the data",
    control="the four half axes of the same plane, which are features of one dimension",
    source="Engels et al. 2024, arXiv 2405.14860",
    warns="Neighbours in the atlas's map, and counts that grow with the width in `physalis sweep`.",
    run=tiled,
    least=0.5,
    spared=0.25,
    beside={
        "directions found with 16 features": (8, 16),
        "dimensions that the data vary in": (2, 2),
        "directions found with 16 features in the control": (4, 5),
    },
    fast=False,
)
