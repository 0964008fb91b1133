"""TMS-3: which of three features two dimensions give up, or make share, trained models beside the least loss that
arithmetic finds.

Two dimensions hold three features, so one direction of what comes in is lost: the one that W sends to nothing. Where it
is a feature's own, that feature is dropped; where it is the sum of two, these two lie in opposite directions.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from physalis.lab.checks import Check, Finding
from physalis.lab.pages import Cells, Page, Panel, Slider, Vectors, frames
from physalis.lab.toys.superposition.expected import Least, descend_from, expected, points
from physalis.lab.toys.superposition.models import train_toys

DROPPED, SHARES, OTHERS_SHARE, OTHER_DROPPED, ELSE = range(5)
NAMES = ("the extra one is dropped", "the extra one shares", "the others share", "another is dropped", "none of these")
GRID = 12
AT = points(3)
LOST = np.array(
    [(0, 0, 1), (0, 1, 1), (1, 0, 1), (1, 1, 0), (0, 1, 0), (1, 0, 0),
     (0, 1, -1), (1, 0, -1), (1, -1, 0), (1, 1, 1), (1, 1, -1), (1, -1, 1), (-1, 1, 1)], float
)  # fmt: skip
LOST /= np.linalg.norm(LOST, axis=1, keepdims=True)
MEANS = np.array([DROPPED, SHARES, SHARES, OTHERS_SHARE, OTHER_DROPPED, OTHER_DROPPED, *[ELSE] * 7])
STARTS = np.array([
    [[1, 0, 0], [0, 1, 0]], [[1, 0, 0], [0, 1, -1]], [[1, -1, 0], [0, 0, 1]], [[1, 0, 0], [0, 0, 1]],
    [[0.7, 0.7, 0], [0, 0, 1]], [[1, 0, 0], [0, 0.7, 0.7]], [[1, -0.5, -0.5], [0, 0.87, -0.87]],
])  # fmt: skip
"""The four solutions of the paper, two in which features lie on the same side, and three features at 120 degrees."""


def region(w: Float64[np.ndarray, "models 2 3"]) -> Int64[np.ndarray, " models"]:
    """Which of NAMES each model is: by the combination of features nearest to the direction that it loses."""
    lost = np.cross(w[:, 0], w[:, 1])
    return MEANS[np.abs(lost @ LOST.T).argmax(1)]


def least(r: float, p: float, *, seed: int = 0) -> Least:
    """The best minimum from STARTS, each moved a little so that none lies on a ridge. Not a proof."""
    moved = STARTS + 0.03 * np.random.default_rng(seed).normal(size=STARTS.shape)
    importance, density = np.array([1, 1, r]), np.full(3, p)
    found = [descend_from(start, np.full(3, 0.01), importance, density, AT) for start in moved]
    return min(found, key=lambda each: each.loss)


@dataclass(frozen=True)
class Diagram:
    """Cells by the third feature's importance (first axis) and the density of all (second); the best of each cell."""

    r: Float64[np.ndarray, " grid"]
    p: Float64[np.ndarray, " grid"]
    W: Float64[np.ndarray, "grid grid 2 3"]
    losses: Float64[np.ndarray, "grid grid"]
    """Expected, by arithmetic."""

    @property
    def regions(self) -> Int64[np.ndarray, "grid grid"]:
        return region(self.W.reshape(-1, 2, 3)).reshape(self.losses.shape)


def axes() -> tuple[np.ndarray, np.ndarray]:
    """Importance and density of the cells, both in equal ratios."""
    return np.geomspace(0.1, 10, GRID), np.geomspace(0.01, 1, GRID)


def trained(*, relu: bool = True, seeds: int = 6, steps: int = 2_500, seed: int = 0) -> Diagram:
    """The best of ``seeds`` models in each cell."""
    r, p = axes()
    each = [axis.reshape(-1) for axis in np.meshgrid(r, p, np.arange(seeds), indexing="ij")]
    importance = np.stack([np.ones_like(each[0]), np.ones_like(each[0]), each[0]], 1)
    density = np.repeat(each[1][:, None], 3, 1)
    toys = train_toys(2, density, importance, relu=relu, steps=steps, batch=256, lr=1e-2, seed=seed)
    told = toys.losses[:, -1]
    if relu:
        told = np.array([expected(*four, AT) for four in zip(toys.W, toys.b, importance, density, strict=True)])
    shape = (GRID, GRID, seeds)
    at = told.reshape(shape).argmin(2)[..., None]
    best = np.take_along_axis(toys.W.reshape(*shape, 2, 3), at[..., None, None], 2)[:, :, 0]
    return Diagram(r, p, best, np.take_along_axis(told.reshape(shape), at, 2)[..., 0])


def exact(*, seed: int = 0) -> Diagram:
    """What arithmetic finds in each cell."""
    r, p = axes()
    found = [[least(a, b, seed=seed) for b in p] for a in r]
    return Diagram(
        r,
        p,
        np.array([[one.W for one in row] for row in found]),
        np.array([[one.loss for one in row] for row in found]),
    )


def agreement(one: Diagram, two: Diagram) -> float:
    """Share of cells of the same region."""
    return float((one.regions == two.regions).mean())


def check(seed: int = 0) -> Check:
    """The region of each cell, and no trained model below the least loss."""
    known, toys, linear = exact(seed=seed), trained(seed=seed), trained(relu=False, seeds=2, seed=seed)
    above = toys.losses - known.losses
    return Check(
        id="TMS-3",
        claim="Of three features in two dimensions the third, by its importance and the density, is dropped, shares "
        "with another in opposite directions, has a dimension of its own while the other two share, or displaces "
        "another: four regions with abrupt borders.",
        source="Elhage et al. 2022, Superposition as a Phase Change",
        findings=(
            Finding("share of cells in which trained models are where arithmetic is", agreement(toys, known), low=0.9),
            Finding("by how much a trained model beats the least loss", float(-above.min()), high=1e-4),
            Finding("a trained model's loss above the least, on average", float(above.mean()), high=1e-3),
            Finding("regions of the paper's four that are there", present(toys), low=4),
        ),
        control="the linear model, which never shares",
        control_findings=(
            Finding("share of cells in which it is where arithmetic is", agreement(linear, known), low=0.9),
            Finding("regions of the paper's four that are there", present(linear), low=4),
        ),
    )


def present(diagram: Diagram) -> float:
    """How many of the paper's four regions have a cell."""
    return float(len(set(diagram.regions.ravel().tolist()) & {DROPPED, SHARES, OTHERS_SHARE, OTHER_DROPPED}))


def explore(seed: int = 0) -> Page:
    """Both diagrams, and the three features of the cell that the sliders choose."""
    known, toys = exact(seed=seed), trained(seed=seed)
    sliders = [
        Slider(name="importance of the extra feature", values=[f"{r:.2g}" for r in known.r], start=7),
        Slider(name="density of all", values=[f"{p:.2g}" for p in known.p], start=5),
    ]

    def panels(i: int, j: int) -> list[Panel]:
        return [
            Vectors(
                title=f"{title}: {NAMES[diagram.regions[i, j]]}, loss {diagram.losses[i, j]:.4f}",
                x=diagram.W[i, j, 0].tolist(),
                y=diagram.W[i, j, 1].tolist(),
                group=[0, 0, 1],
                names=["one", "two", "extra"],
                reach=1.3,
            )
            for title, diagram in (("Best trained", toys), ("Least by arithmetic", known))
        ]

    def drawn(title: str, diagram: Diagram) -> Cells:
        return Cells(
            title=title,
            values=diagram.regions[::-1].tolist(),
            scale="classes",
            classes=list(NAMES),
            rows="importance of the extra feature",
            columns="density of all",
            row_ticks=[f"{r:.2g}" for r in known.r[::-1]],
            column_ticks=[f"{p:.2g}" for p in known.p],
        )

    return Page(
        id="TMS-3",
        title="Three features, two dimensions",
        idea="Two dimensions must hold three features, two of importance 1 and an extra one. Something must give, and "
        "there are few ways: drop the extra one, lay it opposite one of the others, or give it a dimension of its own "
        "and let the others share the one that is left.\n\nOver importance and density each way has its region, with "
        "sharp borders: nothing is half in one way and half in the next. The map on the right was never trained: it "
        "is the least loss that arithmetic finds.",
        original="The best of several models and the best of four candidate solutions, as two maps in colour.",
        source="Elhage et al. 2022, Toy Models of Superposition, Superposition as a Phase Change",
        link="https://transformer-circuits.pub/2022/toy_model/index.html",
        sliders=sliders,
        frames=frames(sliders, panels),
        panels=[drawn("Trained models", toys), drawn("Arithmetic", known)],
    )
