"""IND-1: two layers of attention learn, all at once, to look up what came after the current token last time."""

import numpy as np

from physalis.lab.checks import Check, Finding
from physalis.lab.pages import Axis, Cells, Dots, Lines, Page, Panel, Rule, Series, Slider, frames
from physalis.lab.toys.transformers.attention import Head
from physalis.lab.toys.transformers.paths import copying, ov_eigenvalues, prefix_matching
from physalis.lab.toys.transformers.repeats import EVERY, LENGTH, Course, course, halves, twice

STEPS = 900
NAMES = "abcdefghijklmnopqrstuvwxyz012345"


def misses_window(run: Course, seed: int) -> float:
    """By what share of training the steepest rise of in-context learning lies outside the steps in which the best
    head's prefix matching goes from .25 to .5; 1 where it never gets there. Rises are taken over three measurements.

    Published is a window from .1, but here any head that spreads its attention over the last period matches .13 to .24,
    in one layer as in two.
    """
    best, learning = run.best[:, seed], run.learning[:, seed]
    if best.max() < 0.5:
        return 1.0
    end = int(np.argmax(best >= 0.5))
    low = np.flatnonzero(best[:end] < 0.25)
    begin = int(low[-1]) if len(low) else 0
    steepest = int(np.argmax(learning[3:] - learning[:-3])) + 1.5
    return max(begin - steepest, steepest - end, 0.0) / (len(best) - 1)


def restored(run: Course, seed: int, heads: list[Head]) -> float:
    """Share of in-context learning that ablating heads undoes."""
    models, tokens = run.training.models.instance(seed), twice(1, 64, seed=1)
    fresh, again = halves(models, tokens)
    without = halves(models, tokens, heads)[1]
    return float((without - again)[0] / (fresh - again)[0])


def matching_without(run: Course, seed: int, heads: list[Head]) -> float:
    """Prefix matching of the best head where ``heads`` are ablated."""
    models, tokens = run.training.models.instance(seed), twice(1, 64, seed=1)
    return float(prefix_matching(models.trace(tokens, ablated=heads).patterns, tokens).max())


def copied(run: Course) -> list[float]:
    """Copying score of each seed's best prefix-matching head."""
    raised = copying(run.training.models, twice(run.best.shape[1], 32, seed=1))
    return [float(raised[(seed, *run.top(seed, run.prefix)[0])]) for seed in range(len(raised))]


def findings(run: Course) -> list[Finding]:
    """What a model with induction heads shows."""
    seeds = range(run.best.shape[1])
    return [
        Finding.over("prefix matching of the best head", run.best[-1], low=0.6),
        Finding.over(
            "loss on repeated tokens as a share of that on fresh ones", run.again[-1] / run.fresh[-1], high=0.3
        ),
        Finding.over(
            "distance of the steepest rise of in-context learning from the window in which prefix matching goes from "
            ".25 to .5, as a share of training",
            [misses_window(run, seed) for seed in seeds],
            high=0.1,
        ),
    ]


def check(seed: int = 0) -> Check:
    """Three seeds, 32 tokens, sequences of 32."""
    two, one = course(layers=2, steps=STEPS, seed=seed), course(layers=1, steps=STEPS, seed=seed)
    seeds = range(two.best.shape[1])
    induction = [two.top(s, two.prefix, 2) for s in seeds]
    before = [two.top(s, two.previous) for s in seeds]
    return Check(
        id="IND-1",
        claim="Two layers of attention form induction heads in one abrupt phase in which in-context learning appears; "
        "one layer never does.",
        source="Olsson et al. 2022, In-context Learning and Induction Heads, Arguments 1 and 3",
        findings=(
            *findings(two),
            Finding.over("nats by which the best head raises the tokens it attends to", copied(two), low=0.1),
            Finding.over(
                "share of in-context learning undone by ablating the two best prefix-matching heads",
                [restored(two, s, heads) for s, heads in zip(seeds, induction, strict=True)],
                low=0.7,
            ),
            Finding.over(
                "prefix matching left where the previous-token head is ablated",
                [matching_without(two, s, heads) for s, heads in zip(seeds, before, strict=True)],
                high=0.2,
            ),
            Finding.over("one layer: prefix matching of the best head", one.best[-1], high=0.15),
        ),
        control="one layer",
        control_findings=tuple(findings(one)),
    )


def explore(seed: int = 0) -> Page:
    """Patterns on letters that come twice, through training, beside the curves."""
    runs = [course(layers=layers, steps=STEPS, seeds=1, seed=seed) for layers in (2, 1)]
    steps = runs[0].training.steps
    shown = [steps.index(s) for s in range(0, STEPS + 1, 3 * EVERY)]
    tokens = twice(1, 32)
    names = [NAMES[int(token)] for token in tokens[0, 0]]
    sliders = [
        Slider(name="layers", values=["2", "1"]),
        Slider(name="training step", values=[str(steps[at]) for at in shown], start=len(shown) - 1),
    ]

    def panels(which: int, at: int) -> list[Panel]:
        run = runs[which]
        models = run.training.kept[shown[at]]
        trace = models.trace(tokens)
        (matches,), (before,) = run.top(0, run.prefix), run.top(0, run.previous)

        def pattern(title: str, head: Head) -> Cells:
            values = trace.patterns[0, head[0], 0, head[1]].double().numpy().round(3)
            return Cells(
                title=f"{title} (layer {head[0] + 1}, head {head[1] + 1})", values=values.tolist(), scale="sequential",
                rows="from", columns="to", row_ticks=names, column_ticks=names,
            )  # fmt: skip

        eigenvalues = ov_eigenvalues(models, matches)[0]
        losses = models.losses(tokens)[0].double().mean(0)
        return [
            pattern("Where the best prefix-matching head looks", matches),
            pattern("Where the head looks that most follows the position before", before),
            Lines(
                title="How surprised the model is at each place, over 32 sequences",
                x=Axis(label="place in the sequence"),
                y=Axis(label="loss, nats", low=0, high=8),
                series=[Series(name="loss", x=[float(at) for at in range(2, LENGTH + 1)], y=losses.tolist())],
                rules=[Rule(at=float(np.log(len(NAMES))), label="guessing")],
            ),
            Dots(
                title="Eigenvalues of what the prefix-matching head does to tokens: to the right, copying",
                x=Axis(label="real"),
                y=Axis(label="imaginary"),
                series=[Series(name="eigenvalues", x=eigenvalues.real.tolist(), y=eigenvalues.imag.tolist())],
                rules=[Rule(at=0, label="")],
            ),
        ]

    def curve(name: str, values: np.ndarray, faint: bool) -> Series:
        return Series(name=name, x=[float(s) for s in steps], y=values.tolist(), faint=faint)

    kinds = list(zip(("two layers", "one layer"), runs, (False, True), strict=True))
    return Page(
        id="IND-1",
        title="The moment of induction",
        idea="Sixteen letters in random order, then the same sixteen again. Nothing but memory can predict the second "
        "half: find the current letter's last occurrence, and say what came after it. Two heads do it together. One in "
        "the first layer notes at each place which letter stood just before; one in the second looks for the place "
        "whose note is the current letter, and copies what stands there. A single layer cannot.\n\n"
        "Move the slider: for hundreds of steps there is next to nothing, then within a few dozen a stripe appears "
        "in the pattern, sixteen places back and one on, and the loss on the second half falls off a cliff.",
        original="Prefix matching, in-context learning and loss of many models over training, with one abrupt change.",
        source="Olsson et al. 2022, In-context Learning and Induction Heads",
        link="https://transformer-circuits.pub/2022/in-context-learning-and-induction-heads/index.html",
        sliders=sliders,
        frames=frames(sliders, panels),
        panels=[
            Lines(
                title="Attention of the best head to what followed last time",
                x=Axis(label="training step"),
                y=Axis(label="prefix matching", low=0, high=1),
                series=[curve(name, run.best[:, 0], faint) for name, run, faint in kinds],
            ),
            Lines(
                title="In-context learning: how much easier a repetition is",
                x=Axis(label="training step"),
                y=Axis(label="nats"),
                series=[curve(name, run.learning[:, 0], faint) for name, run, faint in kinds],
            ),
        ],
    )
