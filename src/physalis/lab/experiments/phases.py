"""TMS-2: where two features in one dimension stop sharing it, trained models beside the exact optimum."""

import numpy as np

from physalis.lab.checks import Check, Finding
from physalis.lab.toys.phases import PhaseDiagram, boundary, closed_form, optimum, phase_diagram

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
