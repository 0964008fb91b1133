"""TMS-10: absolute values computed by ReLU neurons, exactly where there are enough and in superposition where there are
not: neurons of one feature beside neurons of many, and the means by which many are kept apart."""

from typing import NamedTuple

import numpy as np

from physalis.lab.checks import Check, Finding
from physalis.lab.pages import Axis, Cells, Lines, Page, Panel, Series, Slider, Stacks, Words, frames
from physalis.lab.toys.neurons import NeuronModels, train_absolutes

N, M = 100, 40
IMPORTANCE = 0.8 ** np.arange(N)
SEEDS = 3
DENSITIES = (0.3, 0.1, 0.05, 0.03, 0.01)
DENSE, BETWEEN, SPARSE = DENSITIES[0], DENSITIES[2], DENSITIES[4]
PURE, MIXED = 0.9, 0.6
"""A neuron whose first feature has more than PURE of its work is of that one; with less than MIXED it is of many."""
HEARD = 0.1
"""Least work of a neuron for a feature that counts in a motif; a feature that it has to itself takes about 1."""
CARED = 30
"""Features beyond these matter a thousandth of the first: what is written on them says nothing."""


def work(models: NeuronModels, i: int) -> np.ndarray:
    """[m, n]: ``|W_in W_out|``, how much of a feature's absolute value each neuron brings by itself. A neuron's scale,
    which is free, drops out."""
    return np.abs(models.W_in[i] * models.W_out[i])


def first_share(models: NeuronModels, i: int) -> np.ndarray:
    """[m]: how much of each neuron's work goes to its first feature."""
    each = work(models, i)
    return each.max(1) / each.sum(1)


class Motif(NamedTuple):
    """A neuron that serves one half of each of two features by unequal weights: it reads the first much more, the
    second much less, and writes the other way round, so that each comes out right by itself. When the first is there,
    the second is told far too much."""

    neuron: int
    first: int
    second: int
    read: float
    """How much more of the first it reads than of the second."""
    written: float
    """How much more it writes to the second."""
    wrong: float
    """What it writes to the second when the first is 1."""
    told: float
    """What the second's answer is then, after all other neurons and its bias."""
    inhibitor: int
    """The one that takes most."""


def motifs(w_in: np.ndarray, w_out: np.ndarray, b: np.ndarray) -> list[Motif]:
    """Every neuron and two features that it reads with opposite signs, the first at least twice as much, and writes to
    with the second ahead."""
    found = []
    for a in range(len(w_in)):
        heard = np.flatnonzero((np.abs(w_in[a]) * w_out[a])[:CARED] > HEARD)
        for i in heard:
            for j in heard:
                read, written = -w_in[a, i] / w_in[a, j], w_out[a, j] / w_out[a, i]
                if i == j or read < 2 or written < 1.3:
                    continue
                by = np.maximum(w_in[:, i] * np.sign(w_in[a, i]), 0) * w_out[:, j]
                told = max(by.sum() + b[j], 0.0)
                found.append(Motif(a, int(i), int(j), read, written, by[a], told, int(by.argmin())))
    return found


def small(m: int, seeds: int, seed: int) -> NeuronModels:
    """Three features that are always there, in m neurons."""
    return train_absolutes(m, np.ones((seeds, 3)), np.ones(3), steps=3_000, batch=64, lr=1e-2, seed=seed)


def large(densities: np.ndarray, seed: int) -> NeuronModels:
    return train_absolutes(
        M, np.repeat(densities[:, None], N, 1), IMPORTANCE, steps=4_000, batch=256, lr=5e-3, seed=seed
    )


def halves(models: NeuronModels, i: int) -> float:
    """How far a model is from a neuron for each side of each feature, whose weights in and out multiply to 1: the
    largest difference of ``W_in W_out`` from that, at best 0."""
    product = models.W_in[i] * models.W_out[i]
    sides = np.concatenate([np.where(models.W_in[i] > 0, product, 0), np.where(models.W_in[i] < 0, -product, 0)], 1)
    return float(np.abs(np.sort(sides, 0)[-1] - 1).max() + np.abs(np.sort(sides, 1)[:, :-1]).max())


def check(seed: int = 0) -> Check:
    """Three features in six neurons, the best of six models, and a hundred features in forty, three models a density.

    The density at which neurons of one feature stand beside neurons of many is .05 here; at .01, which was proposed,
    none of one feature is left. Motifs are compared with those of the same neurons with outputs dealt out at random.
    """
    few, too_few = small(6, 6, seed), small(3, 6, seed)
    best = int(few.losses.argmin())
    at = np.repeat(np.array([DENSE, BETWEEN, SPARSE]), SEEDS)
    models = large(at, seed)
    share = np.array([first_share(models, i) for i in range(len(at))]).reshape(3, SEEDS, M)
    pure, mixed = (share > PURE).sum(2), (share < MIXED).sum(2)
    sparse = range(2 * SEEDS, 3 * SEEDS)
    order = np.random.default_rng(seed).permutation(M)
    found = [motifs(models.W_in[i], models.W_out[i], models.b[i]) for i in sparse]
    dealt = [motifs(models.W_in[i], models.W_out[i][order], models.b[i]) for i in sparse]
    ranks = [
        float(np.median(top[s < MIXED]) - np.median(top[s > PURE]))
        for top, s in zip([work(models, i).argmax(1) for i in range(SEEDS, 2 * SEEDS)], share[1], strict=True)
    ]
    return Check(
        id="TMS-10",
        claim="With two neurons a feature absolute values are computed exactly. With fewer, and sparse inputs, neurons "
        "of one feature, the important ones, stand beside neurons of many; some of these serve two features by unequal "
        "weights, and others take back what they then tell the wrong one.",
        source="Elhage et al. 2022, Computing in Superposition",
        findings=(
            Finding("three features in six neurons: loss", float(few.losses[best]), high=1e-4),
            Finding("the same: distance from a neuron for each side of each feature", halves(few, best), high=0.05),
            Finding.over("density .05: neurons of one feature", pure[1], low=1),
            Finding.over("density .05: neurons of many", mixed[1], low=1),
            Finding.over("density .05: by how many ranks of importance those of many come later", ranks, low=1),
            Finding.over("density .3: neurons of many", mixed[0], high=2),
            Finding.over("density .01: neurons of one feature", pure[2], high=2),
            Finding.over(
                "density .01: pairs of features that a neuron serves by unequal weights",
                [len(f) for f in found],
                low=10,
            ),
            Finding.over("the same: ratio read over ratio written", map(balance, found), 0.7, 1.5),
            Finding.over("the same: share whose wrong answer other neurons silence", map(silenced, found), low=0.9),
        ),
        control="three features in three neurons; neurons with outputs dealt out at random",
        control_findings=(
            Finding("three features in three neurons: loss", float(too_few.losses.min()), high=1e-4),
            Finding.over("pairs of features that a neuron serves by unequal weights", [len(f) for f in dealt], low=10),
            Finding.over("share whose wrong answer other neurons silence", map(silenced, dealt), low=0.9),
        ),
    )


def balance(found: list[Motif]) -> float:
    """Median over motifs; 1 where what is read too much is written too little."""
    return float(np.median([each.read / each.written for each in found])) if found else 0.0


def silenced(found: list[Motif]) -> float:
    """Share of motifs of whose wrong answer less than a tenth is left; 0 where there are none."""
    return float(np.mean([each.told < 0.1 * each.wrong for each in found])) if found else 0.0


def explore(seed: int = 0) -> Page:
    """Neurons by what they work for, at each density, and one motif with its inhibitor."""
    models = large(np.array(DENSITIES), seed)
    few = small(6, 6, seed)
    best = int(few.losses.argmin())
    shown = 16
    share = [np.sort(first_share(models, i))[::-1] for i in range(len(DENSITIES))]
    sliders = [Slider(name="density of features", values=[f"{p:g}" for p in DENSITIES], start=2)]

    def panels(at: int) -> list[Panel]:
        each = work(models, at)
        order = np.lexsort((each.argmax(1), -np.round(each.max(1) / each.sum(1), 1)))
        parts = np.concatenate([each[order, :shown], each[order, shown:].sum(1, keepdims=True)], 1)
        return [
            Stacks(
                title="What each neuron works for",
                bars=[str(i + 1) for i in range(M)],
                parts=(parts / parts.sum(1, keepdims=True)).round(3).tolist(),
                names=[*(f"feature {i + 1}" for i in range(shown)), "less important ones"],
                value=Axis(label="share of its work", low=0, high=1),
            ),
            *motif_panels(at),
        ]

    def motif_panels(at: int) -> list[Panel]:
        """The silenced motif with the largest wrong answer, from -1 to 1 along its first feature."""
        w_in, w_out = models.W_in[at], models.W_out[at]
        kept = [each for each in motifs(w_in, w_out, models.b[at]) if each.told < 0.1 * each.wrong]
        if not kept:
            return [Words(title="Neurons of unequal weights", columns=["at this density"], rows=[["none"]])]
        one = max(kept, key=lambda each: each.wrong)
        t = np.linspace(-1, 1, 41)
        x = np.zeros((len(t), N))
        x[:, one.first] = t
        h = np.maximum(x @ w_in.T, 0)
        alone = h[:, one.neuron] * w_out[one.neuron, one.second]
        names = {one.first: "first", one.second: "second"}
        rows = [
            [
                role,
                *(f"{w_in[a, f]:+.2f}" for f in names),
                *(f"{w_out[a, f]:+.2f}" for f in names),
            ]
            for role, a in (("shared", one.neuron), ("inhibitor", one.inhibitor))
        ]
        return [
            Words(
                title=f"A neuron shared by features {one.first + 1} and {one.second + 1}, unequally",
                columns=["neuron", "reads first", "reads second", "writes first", "writes second"],
                rows=rows,
            ),
            Lines(
                title=f"What the second is told while only the first, feature {one.first + 1}, is there",
                x=Axis(label="value of the first"),
                y=Axis(label="told to the second"),
                series=[
                    Series(name="by the shared neuron", x=t.tolist(), y=alone.tolist()),
                    Series(
                        name="by the inhibitor",
                        x=t.tolist(),
                        y=(h[:, one.inhibitor] * w_out[one.inhibitor, one.second]).tolist(),
                    ),
                    Series(name="by all neurons", x=t.tolist(), y=(h @ w_out[:, one.second]).tolist(), faint=True),
                ],
            ),
        ]

    return Page(
        id="TMS-10",
        title="Computing more than there are neurons for",
        idea="To take an absolute value costs two ReLU neurons, one for each side of zero. Six do it for three "
        "features without error. But a hundred features, the later ones less and less important, in forty neurons?"
        "\n\nWhere inputs are dense, each neuron works for one feature, and most features get none. Sparse inputs let "
        "neurons be shared. Some are shared by a trick: a neuron reads one feature loudly and answers it softly, and "
        "does the opposite for another. The loud one then shouts into the other's answer, and a third neuron is there "
        "to silence just that.",
        original="Neurons as stacks of weights at falling density, and a pair of features in asymmetric superposition "
        "with its inhibition neuron.",
        source="Elhage et al. 2022, Toy Models of Superposition, Computing in Superposition",
        link="https://transformer-circuits.pub/2022/toy_model/index.html",
        sliders=sliders,
        frames=frames(sliders, panels),
        panels=[
            Lines(
                title="How far neurons are of one feature",
                x=Axis(label="neuron, by share"),
                y=Axis(label="share of work for the first feature", low=0, high=1),
                series=[
                    Series(name=f"density {p:g}", x=list(range(1, M + 1)), y=s.tolist())
                    for p, s in zip(DENSITIES, share, strict=True)
                ],
            ),
            Cells(
                title="Three features in six neurons: weights in, and out",
                values=np.concatenate([few.W_in[best], few.W_out[best]], 1).tolist(),
                scale="diverging",
                rows="neuron",
                columns="feature",
                column_ticks=["in 1", "in 2", "in 3", "out 1", "out 2", "out 3"],
            ),
        ],
    )
