"""TMS-7: features do not glide into their places, they jump, and the loss falls when they do.

Two sets of three features that come together, in three dimensions. From small weights a model first sees only the two
sums (a plane, as principal components would), then opens the third dimension for some, and ends as an octahedron whose
opposite corners are of different sets.

Not every model ends there. Each set makes three right angles, and one such frame may also stand turned against the
other about the line that both lean on; every feature then has half a dimension, too, but none an exact antipode.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from physalis.lab.checks import Check, Finding
from physalis.lab.pages import Axis, Cells, Dots, Lines, Page, Panel, Rule, Series, Slider, Vectors, frames
from physalis.lab.toys.inputs import correlated
from physalis.lab.toys.superposition.models import ToyModels, dimensionality, train_toys

SEEDS, SNAPSHOTS = 8, 100
MOVES, JUMP = 0.02, 0.1
"""How fast a feature's D changes in a snapshot where it is under way, and by how much it must in all to have jumped."""
NEAR = 2  # snapshots, each 1 % of training


def trained(*, relu: bool = True, seed: int = 0) -> ToyModels:
    """Models that start from small weights, where all directions are still open."""
    inputs = correlated(2, 3, np.full(SEEDS, 0.05))
    return train_toys(3, inputs, relu=relu, spread=0.02, snapshots=SNAPSHOTS, seed=seed)


class Jump(NamedTuple):
    """A feature's D goes from one level to another."""

    feature: int
    at: int
    """The snapshot in which it moved fastest."""
    by: float


def jumps(d: Float64[np.ndarray, "snapshots n"]) -> list[Jump]:
    """Stretches in which a feature's D moves one way without a rest, JUMP in all or further."""
    found = []
    for feature, moves in enumerate(np.diff(d, axis=0).T):
        way = np.where(np.abs(moves) > MOVES, np.sign(moves), 0)
        ends = np.flatnonzero(np.diff(way)) + 1
        for stretch in np.split(np.arange(len(moves)), ends):
            by = float(moves[stretch].sum())
            if way[stretch[0]] and abs(by) >= JUMP:
                found.append(Jump(feature, int(stretch[np.abs(moves[stretch]).argmax()]), by))
    return found


def falls(losses: Float64[np.ndarray, " snapshots"]) -> Int64[np.ndarray, " outliers"]:
    """Snapshots in which the loss falls by a share far above what is usual: beyond 1.5 times the distance of the
    quartiles from the upper one."""
    fall = -np.diff(np.log(losses))
    low, high = np.quantile(fall, [0.25, 0.75])
    return np.flatnonzero(fall > high + 1.5 * (high - low))


def beside(found: list[Jump], outliers: np.ndarray, *, shift: int = 0) -> float:
    """The share of jumps near an outlier; all of them moved by ``shift`` snapshots, what is left over coming round."""
    if not found or not len(outliers):
        return 0.0
    at = (np.array([jump.at for jump in found]) + shift) % (SNAPSHOTS - 1)
    return float((np.abs(at[:, None] - outliers).min(1) <= NEAR).mean())


def paths(toys: ToyModels) -> Float64[np.ndarray, "models snapshots n"]:
    """D of each feature during training."""
    kept = toys.kept
    return dimensionality(kept.reshape(-1, *kept.shape[2:])).reshape(*kept.shape[:2], -1)


def opposite(w: Float64[np.ndarray, "3 6"]) -> float:
    """How many features have their antipode in the other set."""
    unit = w / np.maximum(np.linalg.norm(w, axis=0), 1e-12)
    cosines = unit.T @ unit
    partner = cosines.argmin(1)
    return float(((partner // 3 != np.arange(6) // 3) & (cosines.min(1) < -0.9)).sum())


def check(seed: int = 0) -> Check:
    """Eight models, all of which count."""
    toys, linear = trained(seed=seed), trained(relu=False, seed=seed)
    d, losses = paths(toys), toys.measured_during(samples=50_000)
    found, outliers = [jumps(path) for path in d], [falls(curve) for curve in losses]
    moved = np.random.default_rng(seed).integers(20, 80, SEEDS)
    shifted = [beside(f, o, shift=int(by)) for f, o, by in zip(found, outliers, moved, strict=True)]
    return Check(
        id="TMS-7",
        claim="Two sets of three correlated features end as an octahedron in three dimensions; on the way each one's "
        "share of a dimension jumps between levels, and the loss falls where they jump.",
        source="Elhage et al. 2022, Superposition and Learning Dynamics",
        findings=(
            Finding.over("at the end: largest |D - 1/2|", np.abs(d[:, -1] - 0.5).max(1), high=0.02),
            Finding.over("features whose antipode is of the other set", [opposite(w) for w in toys.W], 6, 6),
            Finding.over("jumps of a feature's D by .1 or more", [len(f) for f in found], low=2),
            Finding.over(
                "share of jumps within 2 % of training of an outlying fall of the loss",
                [beside(f, o) for f, o in zip(found, outliers, strict=True)],
                low=0.95,
            ),
        ),
        control="the linear model; and the same jumps at another time",
        control_findings=(
            Finding.over("linear, at the end: largest |D - 1/2|", np.abs(paths(linear)[:, -1] - 0.5).max(1), high=0.02),
            Finding.over("share of jumps near a fall, all moved by a random time", shifted, low=0.95),
        ),
    )


def explore(seed: int = 0) -> Page:
    """One of the models that ends as an octahedron, snapshot by snapshot."""
    toys = trained(seed=seed)
    losses = toys.measured_during(samples=50_000)
    which = max(range(SEEDS), key=lambda i: (opposite(toys.W[i]), -losses[i, -1]))
    d, w, loss = paths(toys)[which], toys.kept[which], losses[which]
    shown = [*range(0, 40), *range(40, SNAPSHOTS, 5)]
    sums = np.stack([w[-1, :, :3].sum(1), w[-1, :, 3:].sum(1)])
    line = sums[0] - sums[1]
    line /= np.linalg.norm(line)  # the two sets lean to its two ends
    side, up = np.linalg.svd(np.eye(3) - np.outer(line, line))[0].T[:2]
    percent = range(1, SNAPSHOTS + 1)
    found, outliers = jumps(d), falls(loss)
    sliders = [Slider(name="percent of training", values=[str(at + 1) for at in shown], start=11)]
    group, names = [0, 0, 0, 1, 1, 1], [*"abc", *"ABC"]

    def panels(at: int) -> list[Panel]:
        now = w[shown[at]]
        return [
            Vectors(title="Seen along the line that both sets lean on", x=(side @ now).tolist(),
                    y=(up @ now).tolist(), group=group, names=names, reach=1.1),
            Vectors(title="Seen from the side: that line lies across", x=(line @ now).tolist(),
                    y=(up @ now).tolist(), group=group, names=names, reach=1.1),
            Cells(title="WᵀW", values=(now.T @ now).tolist(), scale="diverging", row_ticks=names, column_ticks=names),
        ]  # fmt: skip

    return Page(
        id="TMS-7",
        title="Learning in jumps",
        idea="Six features in two sets; those of a set always come together. There are three dimensions for them. At "
        "first the model knows only the sets: all three of one lie in one direction, as principal components would "
        "have it. There it rests for a while.\n\nThen a feature breaks away, and each time one does the loss drops. "
        "Loss curves that look smooth may be many such steps, too small and too many to be told apart.",
        original="Each feature's dimensionality during training next to the loss, and two sets of three that unfold "
        "into an octahedron.",
        source="Elhage et al. 2022, Toy Models of Superposition, Superposition and Learning Dynamics",
        link="https://transformer-circuits.pub/2022/toy_model/index.html",
        sliders=sliders,
        frames=frames(sliders, panels),
        panels=[
            Lines(
                title="Share of a dimension that each feature has",
                x=Axis(label="percent of training"),
                y=Axis(label="D", low=0, high=1),
                series=[Series(name=name, x=[*percent], y=d[:, f].tolist()) for f, name in enumerate(names)],
                rules=[Rule(at=1 / 3, label="three on a line"), Rule(at=1 / 2, label="octahedron")],
            ),
            Lines(
                title="Loss on the same fresh inputs",
                x=Axis(label="percent of training"),
                y=Axis(label="loss", log=True),
                series=[Series(name="loss", x=[*percent], y=loss.tolist())],
            ),
            Dots(
                title="When features jump, and when the loss falls by far more than usual",
                x=Axis(label="percent of training", low=0, high=SNAPSHOTS),
                y=Axis(label="", low=-0.5, high=1.5, names=["loss falls", "a jump"]),
                series=[
                    Series(name="a feature jumps", x=[jump.at + 2 for jump in found], y=[1] * len(found)),
                    Series(name="the loss falls", x=(outliers + 2).tolist(), y=[0] * len(outliers)),
                ],
            ),
        ],
    )
