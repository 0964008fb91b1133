"""DD-2: double descent. Few points are stored as points, many as features; between the two a model does worse on fresh
points than one that has hardly learned anything.

Settings are the smallest at which this was seen: 1,000 features at sparsity .99 (Hobbhahn's), 4,000 steps at rate 3e-3
in place of 50,000 at 1e-3, four draws of the points. The peak is as high as in Jermyn's replication (test losses well
above 2), not the paper's 1 %; only its existence, its place between the ends and the switch of regimes are claimed.
"""

import numpy as np

from physalis.lab.checks import Check, Finding
from physalis.lab.pages import Axis, Lines, Page, Panel, Rule, Series, Slider, Vectors, frames
from physalis.lab.toys.memorization import sample_dimensionality
from physalis.lab.toys.regimes import DENSITY, Regimes, train_regimes

COUNTS = (10, 30, 100, 300, 1_000, 3_000)
SWITCH = 10
"""How often each feature must be seen before it is worth a direction, within a factor of 3 (Jermyn)."""
REPRESENTED = 0.25
FEWEST = 0.3
"""Sightings of a feature from which on its dimensionality tells a feature from a point: ten points (.1) have a fifth of
a dimension each, and a feature that is nearly all of its point had up to .34."""


def check(seed: int = 0) -> Check:
    """Six numbers of points, four draws of each; the control shuffles losses among the numbers."""
    made = train_regimes(COUNTS, 2, seed=seed)
    seen, best = np.array(COUNTS) * DENSITY, made.best_feature
    rare, often = best[(seen * 3 < SWITCH) & (seen >= FEWEST)].max(0), best[seen >= SWITCH * 3].min(0)
    corners = [sample_dimensionality(h) * len(h) / 2 for h in made.models[0].hidden]
    mixed = np.random.default_rng(seed).permutation(made.test.ravel()).reshape(made.test.shape)
    shuffled = Regimes(made.counts, made.models, mixed)
    what = "standard errors by which the worst number of points between is above both ends, test loss"
    return Check(
        id="DD-2",
        claim="As training points become more, models go from storing points to storing features, and between the two "
        "the loss on fresh points rises above both ends.",
        source="Henighan et al. 2023, Superposition, Memorization, and Double Descent, and Jermyn's comment",
        findings=(
            Finding(what, made.significance, low=3),
            Finding("test loss there", float(made.test[made.peak].mean()), low=1.05),
            Finding.over(
                "best D of a feature at 30, 100 and 300 points, seen three times or less", rare, high=REPRESENTED
            ),
            Finding.over("best D of a feature at 3,000 points, seen thirty times", often, low=REPRESENTED),
            Finding.over(
                "D of the middle one of ten points, in units of 2/T", [np.median(d) for d in corners], 0.7, 1.5
            ),
            Finding.over("test loss of the most points, less than of no answer", made.test[-1], high=1),
        ),
        control="the same losses, dealt out at random among the numbers of points; and models of few points, asked for "
        "features",
        control_findings=(
            Finding(what, shuffled.significance, low=3),
            Finding.over(
                "best D of a feature at 30, 100 and 300 points, seen three times or less", rare, low=REPRESENTED
            ),
        ),
    )


def explore(seed: int = 0) -> Page:
    """Points and features in the plane for each number of points, and the losses over all of them."""
    counts = (5, 10, 30, 100, 200, 300, 500, 700, 1_000, 3_000)
    made = train_regimes(counts, 2, seed=seed)
    sliders = [Slider(name="training points", values=[f"{count:,}" for count in counts], start=1)]

    def panels(at: int) -> list[Panel]:
        w, h = made.models[at].W[0], made.models[at].hidden[0][:300]
        long = np.argsort(-np.linalg.norm(w, axis=0))[:100]
        return [
            Vectors(title="Where training points lie (300 of them at most)", x=h[:, 0].tolist(), y=h[:, 1].tolist()),
            Vectors(title="Where the hundred longest features lie", x=w[0, long].tolist(), y=w[1, long].tolist()),
        ]

    axis = Axis(label="training points", log=True)
    points = [np.median([np.median(sample_dimensionality(h)) for h in each.hidden]) for each in made.models]
    return Page(
        id="DD-2",
        title="Double descent, seen from inside",
        idea="Give a model few points and it stores the points. Give it many and it stores what they are made of: five "
        "features, in a pentagon. Both are orderly, and neither answers anything foolish to a point it never saw.\n\n"
        "Between them, from a hundred points on, there are too many to store and too few to tell features from "
        "accidents. The model tries to store them all the same, its weights grow long, and on fresh points it does "
        "worse than by saying nothing. Then, where each feature has been seen about ten times, it gives up its "
        "points within a factor of two or three of their number, and the loss falls for good.",
        original="Three rows over the number of training points: features, training points, and between them the test "
        "loss with its bump where one picture turns into the other.",
        source="Henighan et al. 2023, Superposition, Memorization, and Double Descent",
        link="https://transformer-circuits.pub/2023/toy-double-descent/index.html",
        sliders=sliders,
        frames=frames(sliders, panels),
        panels=[
            Lines(
                title="Loss of a point",
                x=axis,
                y=Axis(label="squared error", log=True, low=0.1),
                series=[
                    Series(
                        name="fresh points",
                        x=list(counts),
                        y=made.test.mean(1).tolist(),
                        low=made.test.min(1).tolist(),
                        high=made.test.max(1).tolist(),
                    ),
                    Series(name="training points", x=list(counts), y=made.train.mean(1).tolist(), faint=True),
                ],
                rules=[Rule(at=1, label="no answer")],
            ),
            Lines(
                title="Share of a dimension",
                x=axis,
                y=Axis(label="dimensionality", low=0, high=0.5),
                series=[
                    Series(name="middle point", x=list(counts), y=[float(d) for d in points]),
                    Series(name="best feature", x=list(counts), y=made.best_feature.mean(1).tolist()),
                    Series(name="2/T", x=list(counts), y=[2 / count for count in counts], faint=True),
                ],
                rules=[Rule(at=0.4, label="pentagon")],
            ),
        ],
    )
