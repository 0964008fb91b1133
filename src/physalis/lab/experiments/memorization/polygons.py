"""DD-1: a model trained on few points stores the points, as the corners of a regular polygon; its features are a mess.

Three differences from the paper, each measured. Of 1,000 features, points of which no two share one: those of radius
``1 / sqrt(1 - cos(2 pi / T))`` are the shortest weights without loss for such points only. A decay of .3 at rate 3e-3
in place of .01 at 1e-3: any weights longer than the shortest are without loss too, and with the paper's pull 20,000
steps end up to .08 away from 2/T. And T from 4 on, since three points touch each other no more from 90 degrees on: all
triangles without a sharp corner are without loss, and what is found is any of them.
"""

import numpy as np
from jaxtyping import Float

from physalis.lab.checks import Check, Finding
from physalis.lab.pages import Axis, Lines, Page, Panel, Rule, Series, Slider, Vectors, frames
from physalis.lab.toys.memorization import Memorizers, draw_points, loss_on, memorize, sample_dimensionality
from physalis.lab.toys.superposition.models import dimensionality

N, DENSITY, STARTS = 1_000, 0.01, 8
POINTS = (4, 5, 8)
STEPS, RATE, DECAY = 10_000, 3e-3, 0.3


def separate(count: int, *, seed: int) -> Float[np.ndarray, "count n"]:
    """Points of which no two have a feature in common: of many drawn, the first that fit."""
    kept: list[np.ndarray] = []
    for point in draw_points(50 * count, N, DENSITY, seed=seed):
        if not any((point * other).any() for other in kept):
            kept.append(point)
    return np.stack(kept[:count])


def polygon(count: int, *, steps: int = STEPS, snapshots: int = 1, seed: int = 0) -> Memorizers:
    """Eight starts on the same points."""
    points = np.repeat(separate(count, seed=seed)[None], STARTS, 0)
    return memorize(points, 2, steps=steps, lr=RATE, decay=DECAY, snapshots=snapshots, seed=seed)


def best(models: Memorizers) -> int:
    """The start with the lowest training loss, in 64 bits: what training adds up in 32 is 0 to 7 digits."""
    losses = [
        loss_on(w.astype(float), b.astype(float), x.astype(float))
        for w, b, x in zip(models.W, models.b, models.points, strict=True)
    ]
    return int(np.argmin(losses))


def radius(count: int) -> float:
    """How far out the corners lie: just so far that a point's own output is right, ``|h|^2 - s = 1``, where the bias
    shuts it for the point's neighbours, ``|h|^2 cos(2 pi / T) - s = 0``."""
    return float(1 / np.sqrt(1 - np.cos(2 * np.pi / count)))


def angles(hidden: Float[np.ndarray, "T 2"]) -> Float[np.ndarray, " T"]:
    """Degrees from each point to the next around the origin."""
    around = np.sort(np.arctan2(hidden[:, 1], hidden[:, 0]))
    return np.degrees(np.diff(np.r_[around, around[0] + 2 * np.pi]))


def away(hidden: Float[np.ndarray, "T 2"]) -> tuple[float, float]:
    """The largest ``|D - 2/T|`` of a point, and the largest error of a radius as a share of what it should be."""
    count = len(hidden)
    d, length = sample_dimensionality(hidden), np.linalg.norm(hidden, axis=1)
    return float(np.abs(d - 2 / count).max()), float(np.abs(length / radius(count) - 1).max())


def check(seed: int = 0) -> Check:
    """Three sets of points for each number of them, of each the best of eight starts."""
    seeds, findings, blank = range(seed, seed + 3), [], []
    for count in POINTS:
        made = [polygon(count, seed=s) for s in seeds]
        found = [away(models.hidden[best(models)]) for models in made]
        # two steps at no rate leave the weights as they were drawn
        begun = [away(memorize(models.points, 2, steps=2, lr=0.0).hidden[0])[0] for models in made]
        what = f"largest |D - 2/T| of a point, T = {count}"
        findings += [
            Finding.over(what, [d for d, _ in found], high=0.02),
            Finding.over(f"largest error of a point's radius, T = {count}", [r for _, r in found], high=0.05),
        ]
        blank.append(Finding.over(what, begun, high=0.02))
    sharpest = []
    for s in seeds:
        models = polygon(3, seed=s)
        sharpest.append(angles(models.hidden[best(models)]).min())
    findings.append(Finding.over("degrees between the closest two of three points", sharpest, low=88))
    return Check(
        id="DD-1",
        claim="A model trained on few points stores the points as a regular polygon: each has 2/T of a dimension.",
        source="Henighan et al. 2023, Superposition, Memorization, and Double Descent",
        findings=tuple(findings),
        control="the same points in models that were not trained",
        control_findings=tuple(blank),
    )


def explore(seed: int = 0) -> Page:
    """Points and features in the plane as they are learned, for 3 to 8 points."""
    counts, snapshots = (3, 4, 5, 6, 7, 8), 40
    shown = (0, 1, 2, 3, 5, 8, 12, 20, 39)
    kept = []
    for count in counts:
        models = polygon(count, snapshots=snapshots, seed=seed)
        kept.append((models.points[0], models.kept[best(models)]))
    sliders = [
        Slider(name="training points", values=[str(count) for count in counts], start=2),
        Slider(name="step", values=[f"{(at + 1) * STEPS // snapshots:,}" for at in shown], start=len(shown) - 1),
    ]

    def panels(at: int, step: int) -> list[Panel]:
        points, w = kept[at][0], kept[at][1][shown[step]]
        h, there = points @ w.T, np.flatnonzero(points.any(0))
        return [
            Vectors(
                title="Where the training points lie",
                x=h[:, 0].tolist(),
                y=h[:, 1].tolist(),
                group=list(range(len(h))),
                names=[f"point {t}" for t in range(len(h))],
                linked=True,
                reach=2.0,
            ),
            Vectors(
                title="Where their features lie",
                x=w[0, there].tolist(),
                y=w[1, there].tolist(),
                group=points[:, there].argmax(0).tolist(),
                names=[f"feature {f}" for f in there],
                reach=2.0,
            ),
        ]

    steps: list[float | None] = [float((i + 1) * STEPS // snapshots) for i in range(snapshots)]
    of_points, ends, of_features = [], [], []
    for count, (points, weights) in zip(counts, kept, strict=True):
        d: list[float | None] = [float(np.median(sample_dimensionality(points @ w.T))) for w in weights]
        of_points.append(Series(name=f"{count} points", x=steps, y=d))
        ends.append(d[-1])
        of_features.append(float(dimensionality(weights[-1:].astype(float)).max()))
    return Page(
        id="DD-1",
        title="A polygon of data points",
        idea="Show a model the same five inputs again and again. It has two dimensions and could keep five features in "
        "them, but five features are no use for remembering five inputs. So it keeps the inputs instead: each training "
        "point gets a direction of its own, and together they make a pentagon, eight points an octagon.\n\nLook at the "
        "features meanwhile. Those of one point lie in one line, each as long as the point says, and tell nothing. "
        "Whoever looks for features in an overfitted model finds a mess; the order is in the data.",
        original="Above, features of models trained on more and more points; below, the points themselves, which are "
        "regular polygons while there are few.",
        source="Henighan et al. 2023, Superposition, Memorization, and Double Descent",
        link="https://transformer-circuits.pub/2023/toy-double-descent/index.html",
        sliders=sliders,
        frames=frames(sliders, panels),
        panels=[
            Lines(
                title="Share of a dimension that a point has to itself",
                x=Axis(label="step"),
                y=Axis(label="median over points", low=0),
                series=of_points,
                rules=[Rule(at=2 / count, label=f"2/{count}") for count in counts],
            ),
            Lines(
                title="Whose dimensions? The best point's share, and the best feature's",
                x=Axis(label="training points"),
                y=Axis(label="share of a dimension", low=0),
                series=[
                    Series(name="points", x=list(counts), y=ends),
                    Series(name="best feature", x=list(counts), y=of_features),
                ],
            ),
        ],
    )
