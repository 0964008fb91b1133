"""TMS-6: features that come together lie at right angles, features that exclude each other lie opposite."""

import numpy as np

from physalis.lab.checks import Check, Finding
from physalis.lab.pages import Axis, Cells, Lines, Page, Panel, Rule, Series, Slider, Vectors, frames
from physalis.lab.toys.inputs import Inputs, anticorrelated, correlated, independent
from physalis.lab.toys.superposition.models import ToyModels, train_toys

SEEDS = 32


def best(inputs: Inputs, *, steps: int = 6_000, batch: int = 1_024, seed: int = 0) -> np.ndarray:
    """W [2, n] of the model with the least loss on fresh inputs: two dimensions have many local minima."""
    toys: ToyModels = train_toys(2, inputs, steps=steps, batch=batch, lr=5e-3, seed=seed)
    return toys.W[toys.measured().argmin()]


def angles_within(w: np.ndarray, each: int = 2) -> np.ndarray:
    """Degrees between the first two features of each set."""
    unit = w / np.maximum(np.linalg.norm(w, axis=0), 1e-12)
    dots = [float(unit[:, s] @ unit[:, s + 1]) for s in range(0, w.shape[1], each)]
    return np.degrees(np.arccos(np.clip(dots, -1, 1)))


def check(seed: int = 0) -> Check:
    """Best of 32 models each."""
    often, seldom = np.full(SEEDS, 0.05), np.full(SEEDS, 0.01)
    together = angles_within(best(correlated(2, 2, often), seed=seed))
    apart = angles_within(best(anticorrelated(2, 2, often), seed=seed))
    three = best(correlated(3, 2, seldom), seed=seed)
    sides = angles_within(three)
    dense = best(correlated(3, 2, np.full(SEEDS, 0.7)), seed=seed)
    alone = angles_within(best(independent(np.repeat(often[:, None], 4, 1)), seed=seed))
    return Check(
        id="TMS-6",
        claim="Two pairs of correlated features put each pair at right angles, two anticorrelated ones opposite; three "
        "correlated pairs make a hexagon with partners side by side, and collapse to one direction each when dense.",
        source="Elhage et al. 2022, Correlated and Anticorrelated Features",
        findings=(
            Finding("correlated pairs: largest distance from 90 degrees", float(np.abs(together - 90).max()), high=6),
            Finding("anticorrelated pairs: largest distance from 180 degrees", float((180 - apart).max()), high=6),
            Finding("three pairs, .01: largest distance from 63 degrees", float(np.abs(sides - 63).max()), high=8),
            Finding("three pairs, density .01: shortest feature", float(np.linalg.norm(three, axis=0).min()), low=0.7),
            Finding("three pairs, density .7: widest angle within a pair", float(angles_within(dense).max()), high=6),
        ),
        control="independent features, read as pairs",
        control_findings=(
            Finding("correlated pairs: largest distance from 90 degrees", float(np.abs(alone - 90).max()), high=6),
            Finding("anticorrelated pairs: largest distance from 180 degrees", float((180 - alone).max()), high=6),
        ),
    )


DENSITIES = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 0.9)
KINDS = {
    "three correlated pairs": lambda density: correlated(3, 2, density),
    "two correlated pairs": lambda density: correlated(2, 2, density),
    "two anticorrelated pairs": lambda density: anticorrelated(2, 2, density),
    "four independent": lambda density: independent(np.repeat(density[:, None], 4, 1)),
}


def explore(seed: int = 0) -> Page:
    """The best of 32 models for each kind and density."""
    found = [
        [best(inputs(np.full(SEEDS, density)), steps=3_000, batch=512, seed=seed) for density in DENSITIES]
        for inputs in KINDS.values()
    ]
    sliders = [
        Slider(name="inputs", values=list(KINDS)),
        Slider(name="density of a set", values=[f"{density:g}" for density in DENSITIES]),
    ]

    def panels(kind: int, at: int) -> list[Panel]:
        w = found[kind][at]
        names = [f"{letter}{i}" for letter in "abc"[: w.shape[1] // 2] for i in (1, 2)]
        group = [f // 2 for f in range(w.shape[1])] if list(KINDS)[kind] != "four independent" else []
        return [
            Vectors(title="Features in the plane", x=w[0].tolist(), y=w[1].tolist(), group=group, names=names,
                    reach=1.4),
            Cells(title="WᵀW", values=(w.T @ w).tolist(), scale="diverging", row_ticks=names, column_ticks=names),
        ]  # fmt: skip

    def angles(kind: int) -> Series:
        y = np.array([angles_within(w).mean() for w in found[kind]])
        return Series(
            name=list(KINDS)[kind], x=list(DENSITIES), y=y.tolist(), faint=list(KINDS)[kind] == "four independent"
        )

    return Page(
        id="TMS-6",
        title="Who stands next to whom",
        idea="In a plane there is no room for all features to keep apart, so who shares with whom matters. Features "
        "that come together would disturb each other whenever they are there, so they stand at right angles, or side "
        "by side; features that never meet can safely lie opposite.\n\nThree pairs show it best. Seldom there, they "
        "make a hexagon with partners as neighbours. Ever more often, and one pair after another gives up being two: "
        "its features fall into one direction, their principal component.",
        original="Solutions for correlated and anticorrelated sets as vectors in the plane, and hexagons whose pairs "
        "collapse as density rises.",
        source="Elhage et al. 2022, Toy Models of Superposition, Correlated and Anticorrelated Features",
        link="https://transformer-circuits.pub/2022/toy_model/index.html",
        sliders=sliders,
        frames=frames(sliders, panels),
        panels=[
            Lines(
                title="Angle between partners, on average over the pairs",
                x=Axis(label="density of a set", log=True),
                y=Axis(label="degrees", low=0, high=180),
                series=[angles(kind) for kind in range(len(KINDS))],
                rules=[Rule(at=90, label="right angle"), Rule(at=60, label="hexagon's neighbours")],
            )
        ],
    )
