"""TMS-2: where two features in one dimension stop sharing it, trained models beside the exact optimum."""

import numpy as np

from physalis.lab.checks import Check, Finding
from physalis.lab.pages import Axis, Cells, Lines, Page, Panel, Series, Slider, Vectors, frames
from physalis.lab.toys.superposition.phases import (
    NAMES,
    PhaseDiagram,
    boundary,
    closed_form,
    optimum,
    phase,
    phase_diagram,
)

AT = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


def errors(diagram: PhaseDiagram, exact: np.ndarray) -> np.ndarray:
    """Distance of the trained boundary from the exact one at AT, in density."""
    return np.abs(np.interp(np.log(AT), np.log(diagram.r), diagram.boundary) - exact)


def check(seed: int = 0) -> Check:
    """The boundary at seven importances, and no trained model below the optimum."""
    diagram = phase_diagram(seed=seed)
    exact = np.array([boundary(r) for r in AT])
    cells = [(i, j) for i in range(1, 24, 5) for j in range(2, 24, 3)]
    below = max(optimum(diagram.r[i], diagram.p[j])[0] - diagram.losses[i, j].min() for i, j in cells)
    shuffled = np.random.default_rng(seed).permutation(diagram.boundary)
    wrong = np.abs(np.interp(np.log(AT), np.log(diagram.r), shuffled) - exact)
    apart, drop = float(errors(diagram, exact).mean()), float(np.abs(closed_form(np.array(AT)) - exact).mean())
    return Check(
        id="TMS-2",
        claim="Two features in one dimension pass abruptly from sharing it in opposite directions to one alone, at a "
        "density that arithmetic gives.",
        source="Elhage et al. 2022, Superposition as a Phase Change; McGrath's comment there",
        findings=(
            Finding("mean distance of the trained boundary from the optimum's", apart, high=0.04),
            Finding("by how much a trained model beats the optimum", below, high=1e-4),
            Finding("closed form without bias, mean distance from the optimum's", drop, high=0.1),
        ),
        control="the same boundary at shuffled importances",
        control_findings=(Finding("mean distance from the optimum's boundary", float(wrong.mean()), high=0.04),),
    )


def explore(seed: int = 0) -> Page:
    """The trained diagram with both boundaries over it, and the seeds of the importance that the slider chooses."""
    diagram = phase_diagram(seed=seed)
    r, p, grid = diagram.r, diagram.p, len(diagram.r)
    exact, simple = np.array([boundary(float(each)) for each in r]), closed_form(r)

    def border(name: str, density: np.ndarray, *, faint: bool = False) -> Series:
        column = np.interp(np.log(density), np.log(p), np.arange(grid))
        return Series(
            name=name, x=column.tolist(), y=[*range(grid - 1, -1, -1)], faint=faint
        )  # the most important at the top

    sliders = [
        Slider(name="importance of the second feature", values=[f"{each:.2g}" for each in r], start=grid // 2),
        Slider(name="density of both", values=[f"{each:.2g}" for each in p[1::2]], start=7),
    ]

    def panels(i: int, j: int) -> list[Panel]:
        w, losses = diagram.W[i, 2 * j + 1], diagram.losses[i, 2 * j + 1]
        ended = phase(w)
        return [
            Vectors(
                title=f"Weights of ten models: the best is {NAMES[ended[losses.argmin()]]!r}",
                x=w[:, 0].tolist(),
                y=w[:, 1].tolist(),
                weight=np.clip(losses.min() / np.maximum(losses, 1e-12), 0, 1).tolist(),
                reach=1.2,
            ),
            Lines(
                title="Losses of the ten over density, from best to worst, and the least",
                x=Axis(label="density of both", log=True),
                y=Axis(label="expected loss", low=0),
                series=[
                    Series(
                        name="best trained",
                        x=p[1::2].tolist(),
                        y=diagram.losses[i, 1::2].min(1).tolist(),
                        low=diagram.losses[i, 1::2].min(1).tolist(),
                        high=diagram.losses[i, 1::2].max(1).tolist(),
                    ),
                    Series(name="least by arithmetic", x=p[1::2].tolist(), y=least[i].tolist(), faint=True),
                ],
            ),
        ]

    least = np.array([[optimum(float(a), float(c))[0] for c in p[1::2]] for a in r])
    return Page(
        id="TMS-2",
        title="Two features on a line",
        idea="One dimension, two features. The model can keep the more important one, or lay both on the line in "
        "opposite directions and accept that they disturb each other when both are there.\n\nWhich is better turns "
        "over at a sharp border, and the border can be computed. Near its tip, where both matter alike and are nearly "
        "always there, lies a fourth phase which the paper does not name: both on the same side, confused on "
        "purpose.",
        original="A map over importance and density in three colours: not represented, superposed, alone.",
        source="Elhage et al. 2022, Toy Models of Superposition, Superposition as a Phase Change; McGrath's comment",
        link="https://transformer-circuits.pub/2022/toy_model/index.html",
        sliders=sliders,
        frames=frames(sliders, panels),
        panels=[
            Cells(
                title="What the best of ten models does",
                values=diagram.best[::-1].tolist(),
                scale="classes",
                classes=list(NAMES),
                ground=0,
                rows="importance of the second feature",
                columns="density of both",
                row_ticks=[f"{each:.2g}" for each in r[::-1]],
                column_ticks=[f"{each:.2g}" for each in p],
                lines=[
                    border("exact border", exact),
                    border("without bias and scale", simple, faint=True),
                ],
            )
        ],
    )
