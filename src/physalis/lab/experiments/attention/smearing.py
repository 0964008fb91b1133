"""IND-2: one layer of attention can do induction where keys carry a share of the token before."""

import numpy as np
import torch

from physalis.lab.checks import Check, Finding
from physalis.lab.pages import Axis, Cells, Lines, Page, Panel, Series, Slider, frames
from physalis.lab.toys.transformers.repeats import EVERY, Course, course, twice

STEPS = 900
NAMES = "abcdefghijklmnopqrstuvwxyz012345"


def shares(run: Course, two: Course) -> list[float]:
    """In-context learning at the end of training as a share of what two layers reach."""
    return (run.learning[-1] / two.learning[-1]).tolist()


def check(seed: int = 0) -> Check:
    """Three seeds of each kind."""
    two = course(layers=2, steps=STEPS, seed=seed)
    smeared, plain = (course(layers=1, smeared=smeared, steps=STEPS, seed=seed) for smeared in (True, False))
    what = "one layer: in-context learning as a share of two layers'"
    matches = "one layer: prefix matching of the best head"
    return Check(
        id="IND-2",
        claim="Given keys that carry some of the token before, a single layer forms induction heads: what the second "
        "layer was needed for is the look one place back.",
        source="Olsson et al. 2022, In-context Learning and Induction Heads, Argument 2",
        findings=(
            Finding.over(what, shares(smeared, two), low=0.7),
            Finding.over(matches, smeared.best[-1], low=0.5),
        ),
        control="one layer with plain keys",
        control_findings=(
            Finding.over(what, shares(plain, two), low=0.7),
            Finding.over(matches, plain.best[-1], low=0.5),
        ),
    )


def explore(seed: int = 0) -> Page:
    """Patterns of the best head of each kind through training."""
    kinds = {
        "one layer": course(layers=1, steps=STEPS, seeds=1, seed=seed),
        "one layer, smeared keys": course(layers=1, smeared=True, steps=STEPS, seeds=1, seed=seed),
        "two layers": course(layers=2, steps=STEPS, seeds=1, seed=seed),
    }
    runs = list(kinds.values())
    steps = runs[0].training.steps
    shown = [steps.index(s) for s in range(0, STEPS + 1, 5 * EVERY)]
    tokens = twice(1, 1)
    names = [NAMES[int(token)] for token in tokens[0, 0]]
    sliders = [
        Slider(name="model", values=list(kinds), start=1),
        Slider(name="training step", values=[str(steps[at]) for at in shown], start=len(shown) - 1),
    ]

    def panels(which: int, at: int) -> list[Panel]:
        (layer, head) = runs[which].top(0, runs[which].prefix)[0]
        pattern = runs[which].training.kept[shown[at]].trace(tokens).patterns[0, layer, 0, head]
        return [
            Cells(
                title="Where the best head looks", values=pattern.double().numpy().round(3).tolist(),
                scale="sequential", rows="from", columns="to", row_ticks=names, column_ticks=names,
            )
        ]  # fmt: skip

    def carried() -> Series:
        """Of the best smeared head, through training."""
        layer, head = runs[1].top(0, runs[1].prefix)[0]
        smears = [models.smear for models in runs[1].training.kept]
        share: list[float | None] = [
            1 - float(torch.sigmoid(each[0, layer, head])) for each in smears if each is not None
        ]
        return Series(name="best head", x=[float(s) for s in steps], y=share)

    def curves(title: str, label: str, values: list[np.ndarray]) -> Lines:
        return Lines(
            title=title,
            x=Axis(label="training step"),
            y=Axis(label=label),
            series=[
                Series(name=name, x=[float(s) for s in steps], y=each.tolist(), faint=name == "one layer")
                for name, each in zip(kinds, values, strict=True)
            ],
        )

    return Page(
        id="IND-2",
        title="A shortcut to induction",
        idea="Induction needs to know what stood just before each place, which is why it takes two layers: the first "
        "fetches it. This page hands it over for free. Each key is mixed with the key before, by a share that is "
        "learned, and nothing else changes. A single layer then does what it could not, and sooner than two layers "
        "do.\n\nThat is how one tests a story about a mechanism: supply the part that is supposed to be missing, and "
        "see whether the ability comes.",
        original="Loss curves in which one-layer models with smeared keys show the bump that plain ones lack.",
        source="Olsson et al. 2022, In-context Learning and Induction Heads, Argument 2",
        link="https://transformer-circuits.pub/2022/in-context-learning-and-induction-heads/index.html",
        sliders=sliders,
        frames=frames(sliders, panels),
        panels=[
            curves("In-context learning", "nats by which a repetition is easier", [r.learning[:, 0] for r in runs]),
            curves("Prefix matching of the best head", "attention", [run.best[:, 0] for run in runs]),
            Lines(
                title="Share of the key before that a key carries",
                x=Axis(label="training step"),
                y=Axis(label="share", low=0, high=1),
                series=[carried()],
            ),
        ],
    )
