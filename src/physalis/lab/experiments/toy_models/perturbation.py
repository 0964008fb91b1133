"""TMS-5: a pentagon of five features gives one up, all at once, when that one becomes much sparser than the rest.

Both shapes are minima over a wide range of densities, and training finds either, so it is the least loss of each that
must be compared, where they cross. Arithmetic says where: at .42 times the others' density where that is .1, which is
the 2.5 times sparser of the paper, and at .27 times where it is .05.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from physalis.lab.checks import Check, Finding
from physalis.lab.pages import Axis, Dots, Lines, Page, Panel, Rule, Series, Slider, Vectors, frames
from physalis.lab.toys.superposition.expected import Least, descend_from, expected, points
from physalis.lab.toys.superposition.models import represented, train_toys

RATIOS = np.array([0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6])
"""Density of the first feature over that of the others."""
OTHERS = (0.1, 0.05)
SEEDS = 32
PENTAGON, PAIRS, NEITHER = range(3)
AT = points(5)
REACH = 1.3


def shape(w: Float64[np.ndarray, "models 2 5"]) -> Int64[np.ndarray, " models"]:
    """PENTAGON where all five are represented, PAIRS where four are, each with another opposite to it."""
    there = represented(w)
    unit = np.where(there[:, None], w, 0) / np.maximum(np.linalg.norm(w, axis=1), 1e-12)[:, None]
    facing = np.einsum("iaf,iag->ifg", unit, unit).min(2) < -0.9
    pairs = (there.sum(1) == 4) & (facing == there).all(1)
    return np.where(there.all(1), PENTAGON, np.where(pairs, PAIRS, NEITHER))


def crossing(losses: Float64[np.ndarray, "ratios 2"]) -> float:
    """The ratio where the least losses of pentagons and of pairs are the same, a straight line between two ratios at
    which both were found; 0 where they never are."""
    there = np.isfinite(losses).all(1)
    ratios, lead = RATIOS[there], losses[there, PENTAGON] - losses[there, PAIRS]
    last = np.flatnonzero((lead[:-1] > 0) & (lead[1:] <= 0))
    if not len(last):
        return 0.0
    i = last[-1]
    return float(ratios[i] + (ratios[i + 1] - ratios[i]) * lead[i] / (lead[i] - lead[i + 1]))


@dataclass(frozen=True)
class Trained:
    """Models with one feature sparser than the others."""

    W: Float64[np.ndarray, "ratios seeds 2 5"]
    losses: Float64[np.ndarray, "ratios seeds"]
    """Expected, by arithmetic."""
    shapes: Int64[np.ndarray, "ratios seeds"]

    @property
    def best(self) -> Float64[np.ndarray, "ratios 2"]:
        """The least loss among pentagons, and among pairs; infinite where there are none."""
        among = [np.where(self.shapes == kind, self.losses, np.inf).min(1) for kind in (PENTAGON, PAIRS)]
        return np.stack(among, 1)


def densities(other: float) -> Float64[np.ndarray, "ratios 5"]:
    """The first feature's falls, the others' stay."""
    density = np.full((len(RATIOS), 5), other)
    density[:, 0] *= RATIOS
    return density


def trained(other: float, *, seed: int = 0) -> Trained:
    """SEEDS models at each ratio."""
    density = np.repeat(densities(other), SEEDS, 0)
    toys = train_toys(2, density, steps=2_500, batch=256, lr=1e-2, seed=seed)
    losses = np.array([expected(w, b, np.ones(5), p, AT) for w, b, p in zip(toys.W, toys.b, density, strict=True)])
    each = (len(RATIOS), SEEDS)
    return Trained(toys.W.reshape(*each, 2, 5), losses.reshape(each), shape(toys.W).reshape(each))


def exact(density: Float64[np.ndarray, "ratios 5"]) -> list[tuple[Least, Least]]:
    """The minimum below a pentagon and that below two pairs at each row of densities."""
    around = np.arange(5) * 2 * np.pi / 5
    pentagon = 1.1 * np.stack([np.cos(around), np.sin(around)])
    pairs = np.array([[0, 1, 0, -1, 0], [0, 0, 1, 0, -1.0]])
    below = [
        [descend_from(start, np.full(5, bias), np.ones(5), p, AT) for start, bias in ((pentagon, -0.1), (pairs, 0.0))]
        for p in density
    ]
    return [(one, two) for one, two in below]


def losses_of(found: list[tuple[Least, Least]]) -> Float64[np.ndarray, "ratios 2"]:
    return np.array([[one.loss, two.loss] for one, two in found])


def check(seed: int = 0) -> Check:
    """Best of 32 models of each shape at eight ratios, beside the minima that arithmetic finds."""
    known = [exact(densities(other)) for other in OTHERS]
    here = [crossing(trained(other, seed=seed).best) for other in OTHERS]
    there = [crossing(losses_of(found)) for found in known]
    together = np.repeat(OTHERS[0] * RATIOS[:, None], 5, 1)
    near = known[0][int(np.abs(RATIOS - there[0]).argmin())]
    lengths = [float(np.linalg.norm(found.W[:, 0])) for found in near]
    return Check(
        id="TMS-5",
        claim="As one of five features becomes sparser its pentagon bends; when it is about 2.5 times sparser two "
        "opposite pairs without it become better: two losses cross, and nothing in between is best.",
        source="Elhage et al. 2022, Perturbing a Single Feature",
        findings=(
            Finding("others at .1: ratio of densities where the trained losses cross", here[0], 0.3, 0.5),
            Finding("others at .1: distance from where arithmetic's cross", abs(here[0] - there[0]), high=0.04),
            Finding("others at .05: distance from where arithmetic's cross", abs(here[1] - there[1]), high=0.04),
            Finding("length that the sparser feature loses at the crossing", lengths[0] - lengths[1], low=0.8),
        ),
        control="all five features made sparser together, by arithmetic",
        control_findings=(Finding("ratio where the losses cross", crossing(losses_of(exact(together))), 0.3, 0.5),),
    )


def plane(title: str, found: Least) -> Vectors:
    names = ["sparser", *"bcde"]
    x, y = found.W.tolist()
    return Vectors(title=title, x=x, y=y, group=[1, 0, 0, 0, 0], names=names, reach=REACH)


def explore(seed: int = 0) -> Page:
    """Both minima at each ratio, and where 32 trained models ended."""
    known = [exact(densities(other)) for other in OTHERS]
    ended = [trained(other, seed=seed) for other in OTHERS]
    sliders = [
        Slider(name="density of the others", values=[f"{other:g}" for other in OTHERS]),
        Slider(name="ratio of densities", values=[f"{ratio:g}" for ratio in RATIOS], start=4),
    ]

    def panels(which: int, at: int) -> list[Panel]:
        pentagon, pairs = known[which][at]
        better = "pentagon" if pentagon.loss < pairs.loss else "pairs"
        return [
            plane(f"Pentagon, loss {pentagon.loss:.5f}{', the better' * (better == 'pentagon')}", pentagon),
            plane(f"Two pairs, loss {pairs.loss:.5f}{', the better' * (better == 'pairs')}", pairs),
            Dots(
                title="Where 32 trained models ended, at each ratio",
                x=Axis(label="ratio of densities"),
                y=Axis(label="expected loss"),
                series=[
                    Series(
                        name=name,
                        x=np.repeat(RATIOS[:, None], SEEDS, 1)[ended[which].shapes == kind].tolist(),
                        y=ended[which].losses[ended[which].shapes == kind].tolist(),
                        faint=kind == NEITHER,
                    )
                    for kind, name in ((PENTAGON, "pentagon"), (PAIRS, "two pairs"), (NEITHER, "other"))
                ],
            ),
        ]

    return Page(
        id="TMS-5",
        title="One feature too few",
        idea="Five equal features in a plane stand in a pentagon. Make one of them rarer, and the pentagon bends: its "
        "neighbours lean away from it, and it grows a little longer.\n\nThen, at one point, it is gone. Two pairs of "
        "opposite features were a minimum all along; now they cost less, and nothing lies between the two shapes. "
        "Physicists call it a phase change of first order, as when water freezes.",
        original="The solutions' weights from a pentagon to two digons as one feature's density varies, above the two "
        "losses, which cross.",
        source="Elhage et al. 2022, Toy Models of Superposition, The Geometry of Superposition",
        link="https://transformer-circuits.pub/2022/toy_model/index.html",
        sliders=sliders,
        frames=frames(sliders, panels),
        panels=[
            Lines(
                title="Loss of the pentagon over that of two pairs",
                x=Axis(label="ratio of densities"),
                y=Axis(label="pentagon over pairs"),
                series=[
                    Series(name=f"others at {other:g}", x=RATIOS.tolist(), y=(two[:, 0] / two[:, 1]).tolist())
                    for other, two in zip(OTHERS, map(losses_of, known), strict=True)
                ],
                rules=[Rule(at=1, label="the same")],
            )
        ],
    )
