"""DD-4: among many points a model stores features, but one point that is repeated often enough is stored as a point.

How often is enough grows with the number T of points over the number N of features, since a feature that is stored is
worth about T/N points. Jermyn found .4 T/N. Here (1,000 features at sparsity .99, two dimensions, 3,000 steps at rate
3e-3) it was about T/N: of 3,000 points not twice, three times in one of two draws, four times in both. Checked is twice
T/N.
"""

import numpy as np
from jaxtyping import Float

from physalis.lab.checks import Check, Finding
from physalis.lab.pages import Axis, Lines, Page, Panel, Rule, Series, Slider, Vectors, frames
from physalis.lab.toys.memorization import Memorizers, draw_points, memorize, sample_dimensionality
from physalis.lab.toys.regimes import DENSITY, N

STEPS, RATE = 3_000, 3e-3


def repeated(count: int, times: int, *, draws: int = 3, seed: int = 0) -> Memorizers:
    """Models of ``count`` points, the first of which comes ``times`` times."""
    seeds = np.random.SeedSequence([seed, count]).generate_state(draws + 1)
    points = np.stack([draw_points(count, N, DENSITY, seed=int(each)) for each in seeds[1:]])
    again = np.repeat(points[:, :1], times - 1, axis=1)
    return memorize(np.concatenate([points, again], axis=1), 2, steps=STEPS, lr=RATE, seed=int(seeds[0]))


def above(hidden: Float[np.ndarray, "T 2"], times: int) -> float:
    """The share of different points that have a higher dimensionality than the repeated one."""
    d = sample_dimensionality(hidden[: len(hidden) - times + 1])
    return float((d > d[0]).mean())


def check(seed: int = 0) -> Check:
    """A point of 1,500 that comes three times and one of 3,000 that comes six times, three draws each; then once."""
    findings, once = [], []
    for count in (1_500, 3_000):
        times = 2 * count // N
        what = f"share of {count:,} points with a higher D than the one repeated"
        for many, to in ((times, findings), (1, once)):
            models = repeated(count, many, seed=seed)
            name = f"{what} {many} times" if many > 1 else f"{what}, which comes once"
            to.append(Finding.over(name, [above(h, many) for h in models.hidden], high=0.001))
            if many > 1:
                lengths = [float(np.linalg.norm(h[0])) for h in models.hidden]
                to.append(Finding.over(f"length of the repeated point, of {count:,}", lengths, low=0.8))
    return Check(
        id="DD-4",
        claim="A point repeated often enough is memorised among points that are not: it has a direction to itself, "
        "like a feature.",
        source="Henighan et al. 2023, Superposition, Memorization, and Double Descent, comment by Jermyn",
        findings=tuple(findings),
        control="the same point, there once",
        control_findings=tuple(once),
    )


def explore(seed: int = 0) -> Page:
    """Features and the repeated point in the plane, for more and more repetitions."""
    count, repetitions = 3_000, (1, 2, 3, 4, 5, 6, 8, 12)
    made = [repeated(count, times, draws=2, seed=seed) for times in repetitions]
    sliders = [Slider(name="repetitions", values=[str(times) for times in repetitions], start=4)]

    def panels(at: int) -> list[Panel]:
        w, h = made[at].W[0], made[at].hidden[0]
        long, few = np.argsort(-np.linalg.norm(w, axis=0))[:60], h[1:151]
        return [
            Vectors(
                title="The repeated point (1) among others (0)",
                x=[*few[:, 0].tolist(), float(h[0, 0])],
                y=[*few[:, 1].tolist(), float(h[0, 1])],
                group=[0] * len(few) + [1],
                reach=1.2,
            ),
            Vectors(
                title="The longest features; those of the repeated point are 1",
                x=w[0, long].tolist(),
                y=w[1, long].tolist(),
                group=(made[at].points[0, 0, long] > 0).astype(int).tolist(),
                names=[f"feature {f}" for f in long],
                reach=1.2,
            ),
        ]

    lengths = np.array([np.linalg.norm(each.hidden[:, 0], axis=1) for each in made])
    usual = np.array([np.median(np.linalg.norm(each.hidden[:, 1:count], axis=2)) for each in made])
    return Page(
        id="DD-4",
        title="The one that came back",
        idea="Three thousand points are too many to remember, so the model keeps five features in a pentagon and "
        "gives each point the little that those say of it. Now let one point come again. Twice changes nothing. But "
        "a feature is worth only as much as the points that have it, here about three, and a point that comes more "
        "often than that is the better bargain: it gets a direction of its own, and a feature must go.\n\nThis is how "
        "a text that a model has met a few times too often ends up known by heart, in a model that generalises.",
        original="A map of which repeated points are memorised, over the size of the data and the number of repeats: "
        "the border is a straight line.",
        source="Henighan et al. 2023, Superposition, Memorization, and Double Descent, comment by Jermyn",
        link="https://transformer-circuits.pub/2023/toy-double-descent/index.html",
        sliders=sliders,
        frames=frames(sliders, panels),
        panels=[
            Lines(
                title="How far out the repeated point lies",
                x=Axis(label="repetitions"),
                y=Axis(label="length", low=0),
                series=[
                    Series(
                        name="repeated point",
                        x=list(repetitions),
                        y=lengths.mean(1).tolist(),
                        low=lengths.min(1).tolist(),
                        high=lengths.max(1).tolist(),
                    ),
                    Series(name="other points", x=list(repetitions), y=usual.tolist(), faint=True),
                ],
                rules=[Rule(at=1, label="remembered")],
            )
        ],
    )
