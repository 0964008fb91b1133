"""TMS-1: how many features five dimensions hold as inputs become sparser; a linear model never holds more than five."""

import numpy as np

from physalis.lab.checks import Check, Finding
from physalis.lab.pages import Axis, Cells, Lines, Page, Panel, Rule, Series, Slider, Stacks, frames
from physalis.lab.toys.superposition.models import (
    ToyModels,
    dimensionality,
    dimensions_per_feature,
    interference,
    represented,
    train_toys,
)

SPARSITIES = np.array([0, 0.5, 0.7, 0.9, 0.97, 0.99, 0.999])
COUNTS = (5, 6, 7, 9, 11, 12, 13)
"""Represented features at each sparsity where importance falls as .7^i, measured in plain numpy (5,000 steps)."""
N, M = 20, 5


def superposition(*, relu: bool = True, importance: float = 0.7, steps: int = 5_000, seed: int = 0) -> ToyModels:
    """One model for each of SPARSITIES, of 20 features in 5 dimensions; feature i matters ``importance ** i``."""
    density = np.repeat(1 - SPARSITIES[:, None], N, 1)
    return train_toys(M, density, importance ** np.arange(N), relu=relu, steps=steps, seed=seed)


def check(seed: int = 0) -> Check:
    """Counts, their order, and the uniform model whose features pair up."""
    toys, linear = superposition(seed=seed), superposition(relu=False, seed=seed)
    uniform = superposition(importance=1.0, seed=seed)
    counts = represented(toys.W).sum(1)
    alone = represented(linear.W)
    paired = dimensionality(uniform.W)[2][represented(uniform.W)[2]]
    d = dimensions_per_feature(toys.W)
    at_zero = float(represented(toys.W)[0, :M].all() and counts[0] == M)
    return Check(
        id="TMS-1",
        claim="As inputs become sparser a ReLU model represents more features than it has dimensions: first none, then "
        "in pairs, then denser; where all features matter alike, pairs at sparsity .7.",
        source="Elhage et al. 2022, Demonstrating Superposition",
        findings=(
            Finding("largest difference of a count from the known one", float(np.abs(counts - COUNTS).max()), high=1),
            Finding("largest fall of the count as inputs become sparser", float(-np.diff(counts).min()), high=0),
            Finding("at sparsity 0 exactly the five most important features are there", at_zero, low=1),
            Finding("dimensions a feature at sparsity .999", float(d[-1]), high=0.45),
            Finding("uniform, sparsity .7: largest |D - 1/2|", float(np.abs(paired - 0.5).max()), high=0.02),
            Finding("uniform, sparsity .7: represented", float(len(paired)), 10, 10),
        ),
        control="the linear model",
        control_findings=(
            Finding("features beyond the first five", float(alone[:, M:].any(1).sum()), low=1),
            Finding("represented at sparsity .999", float(alone[-1].sum()), low=M + 1),
        ),
    )


def explore(seed: int = 0) -> Page:
    """The Gram matrix and the features' lengths at each sparsity, for the ReLU model beside the linear one."""
    kinds = {"ReLU": superposition(seed=seed), "linear": superposition(relu=False, seed=seed)}
    sliders = [
        Slider(name="sparsity", values=[f"{s:g}" for s in SPARSITIES], start=3),
        Slider(name="model", values=list(kinds)),
    ]

    def panels(at: int, kind: int) -> list[Panel]:
        w = list(kinds.values())[kind].W[at]
        length, shared = np.linalg.norm(w, axis=0), interference(w[None])[0]
        return [
            Cells(title="WᵀW: which features share directions", values=(w.T @ w).tolist(), scale="diverging"),
            *(
                Stacks(
                    title=title,
                    bars=[str(i) for i in range(N)],
                    parts=of[:, None].tolist(),
                    value=Axis(label="", low=0),
                )
                for title, of in (
                    ("Length of each feature", length),
                    ("Interference: what others write where it is read", shared),
                )
            ),
        ]

    counts = {name: represented(toys.W).sum(1) for name, toys in kinds.items()}
    return Page(
        id="TMS-1",
        title="More features than dimensions",
        idea="Twenty features of falling importance must pass through five dimensions. If inputs are dense, the best "
        "that can be done is to keep the five most important and forget the others, which is what a linear model "
        "does at any sparsity.\n\nWhere features are seldom there together, a ReLU can clean up the noise that they "
        "leave on each other, and directions are shared: first by two features each, pointing opposite ways, then "
        "by more.",
        original="A column of Gram matrices from dense to sparse: a block of five, then antipodal pairs, then all.",
        source="Elhage et al. 2022, Toy Models of Superposition, Demonstrating Superposition",
        link="https://transformer-circuits.pub/2022/toy_model/index.html",
        sliders=sliders,
        frames=frames(sliders, panels),
        panels=[
            Lines(
                title="Features represented",
                x=Axis(label="density of features, 1 − S", log=True),
                y=Axis(label="features", low=0, high=N),
                series=[
                    Series(name=kind, x=(1 - SPARSITIES).tolist(), y=count.tolist(), faint=kind == "linear")
                    for kind, count in counts.items()
                ],
                rules=[Rule(at=M, label="dimensions")],
                follows="sparsity",
            )
        ],
    )
