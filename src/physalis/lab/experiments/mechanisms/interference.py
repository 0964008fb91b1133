"""INT-1: interference weights. Features that share dimensions all have weights to each other; two seeds agree on the
few that do something, and on none of the others."""

from typing import NamedTuple

import numpy as np

from physalis.lab.checks import Check, Finding
from physalis.lab.pages import Axis, Cells, Dots, Lines, Page, Panel, Rule, Series, Slider, frames
from physalis.lab.toys.superposition.bottlenecks import (
    Task,
    average_precision,
    blocks,
    identity,
    losses_without,
    precision,
    target_weighted,
    train_bottleneck,
)
from physalis.lab.toys.superposition.models import train_toys

EPS = 1e-4
"""A weight is real where the mean loss rises by more than this without it; else it is interference."""
SEEDS, STEPS = 5, 2_000
STEPS_SHOWN = (100, 300, 1_000, 3_000)


class Pair(NamedTuple):
    """Two models of one task that differ in their seed; scores are the first's."""

    U: np.ndarray
    """[2, n, n]."""
    real: np.ndarray
    """[2, n, n] of bool."""
    scores: dict[str, np.ndarray]

    def agreement(self, real: bool) -> float:
        """Correlation of the two models' weights, over those that are (or are not) real in both."""
        where = (self.real == real).all(0)
        return float(np.corrcoef(self.U[0][where], self.U[1][where])[0, 1])


def compared(task: Task, made: list[tuple[np.ndarray, np.ndarray]], seed: int, samples: int = 20_000) -> Pair:
    """What is real in two models (U, b) of a task, on the same fresh inputs. Targets are the task's own answers, not
    the models', which carry their interference."""
    x = task.draw(samples, np.random.default_rng(1_000_003 + seed))
    y, (u, b) = task.answers(x), made[0]
    own = np.maximum(x @ u.T + b, 0)
    scores = {
        "|U|": np.abs(u),
        "U": u,
        "target-weighted": target_weighted(u, x, y),
        "weighted by the model's own answers": target_weighted(u, x, own),
    }
    real = np.stack([losses_without(*model, x, y) > EPS for model in made])
    return Pair(np.stack([model[0] for model in made]), real, scores)


def copying(steps: int, seed: int) -> Pair:
    """A hundred features in twenty dimensions and back, U = W^T W."""
    toys = train_toys(20, np.full((2, 100), 0.02), steps=steps, batch=256, seed=seed)
    return compared(identity(100, 0.02), [(w.T @ w, b) for w, b in zip(toys.W, toys.b, strict=True)], seed)


def computing(steps: int, density: float, seed: int) -> Pair:
    """128 features in sixteen dimensions, to ``relu(A x - .1)``."""
    task = blocks(128, 8, 0.1, -0.1, density, np.random.default_rng(seed))
    made = [train_bottleneck(task, 16, steps=steps, seed=2 * seed + k) for k in range(2)]
    return compared(task, [(each.U, each.b) for each in made], seed)


def check(seed: int = 0) -> Check:
    """Agreement and ranking over five tasks of the richer kind. Where features are only copied all real weights are
    alike, so that their correlation says nothing; there they are counted. U with its sign already ranks better than
    |U|, so target-weighted attribution is held against both."""
    copies = [copying(600, seed + k) for k in range(2)]
    pairs = [computing(STEPS, 0.3, seed * SEEDS + k) for k in range(SEEDS)]
    off = [float((pair.real[0] & ~np.eye(100, dtype=bool)).sum()) for pair in copies]
    areas = {
        name: np.array([average_precision(pair.scores[name], pair.real[0]) for pair in pairs])
        for name in pairs[0].scores
    }
    rng = np.random.default_rng(seed)
    strangers = [
        float(np.corrcoef(one.U[0][one.real[0]], two.U[1][one.real[0]])[0, 1])
        for one, two in zip(pairs, pairs[1:] + pairs[:1], strict=True)
    ]
    dealt = [rng.permutation(pair.real[0].reshape(-1)) for pair in pairs]
    by_chance = [
        average_precision(pair.scores["target-weighted"], real) - average_precision(pair.scores["|U|"], real)
        for pair, real in zip(pairs, dealt, strict=True)
    ]
    return Check(
        id="INT-1",
        claim="In superposition most virtual weights are interference: two seeds agree on the weights that matter and "
        "not on the others, and the size of a weight does not tell which it is; attribution weighted by the target "
        "does better.",
        source="Olah, Turner & Conerly 2025, A Toy Model of Interference Weights",
        findings=(
            Finding.over("copying: real weights other than from a feature to itself", off, high=0),
            Finding.over(
                "copying: seeds' correlation on interference", [p.agreement(False) for p in copies], -0.2, 0.2
            ),
            Finding.over("computing: seeds' correlation on real weights", [p.agreement(True) for p in pairs], low=0.9),
            Finding.over(
                "computing: seeds' correlation on interference", [p.agreement(False) for p in pairs], high=0.2
            ),
            Finding.over(
                "computing: real weights that are not above 0", [(p.U[p.real] <= 0).sum() for p in pairs], high=0
            ),
            Finding.over("average precision of target-weighted attribution", areas["target-weighted"], low=0.75),
            Finding.over("by how much it beats |U|", areas["target-weighted"] - areas["|U|"], low=0.2),
            Finding.over("by how much it beats U with its sign", areas["target-weighted"] - areas["U"], low=0.02),
        ),
        control="the seeds of two different tasks, and real weights dealt out at random",
        control_findings=(
            Finding.over("correlation on the first task's real weights", strangers, low=0.9),
            Finding.over("by how much target-weighted attribution beats |U|", by_chance, low=0.2),
        ),
    )


def explore(seed: int = 0) -> Page:
    """Weights of one seed against another's, how large they are, and how well they are told apart."""
    kinds = ("copying 100 features", "computing, density .3", "computing, density .1")
    made = [
        [copying(steps, seed) for steps in STEPS_SHOWN],
        *([computing(steps, density, seed) for steps in STEPS_SHOWN] for density in (0.3, 0.1)),
    ]
    sliders = [
        Slider(name="task", values=list(kinds), start=1, alike=False),
        Slider(name="training steps", values=[f"{steps:,}" for steps in STEPS_SHOWN], start=len(STEPS_SHOWN) - 1),
    ]
    rng = np.random.default_rng(seed)

    def panels(kind: int, at: int) -> list[Panel]:
        pair = made[kind][at]
        u, real = pair.U, pair.real[0]
        groups = {"real": np.argwhere(real), "interference": rng.permutation(np.argwhere(~real))[:800]}
        edges = np.linspace(u[0].min(), u[0].max(), 41)
        middles = ((edges[1:] + edges[:-1]) / 2).tolist()
        counts = {
            name: np.histogram(u[0][where], edges)[0] for name, where in (("real", real), ("interference", ~real))
        }
        kept = np.unique(np.geomspace(1, max(2 * real.sum(), 2), 60).astype(int)) - 1
        curves = {name: precision(score, real) for name, score in pair.scores.items()}
        return [
            Dots(
                title="The same weight in two seeds",
                x=Axis(label="one seed"),
                y=Axis(label="another"),
                series=[
                    Series(name=name, x=u[0][tuple(i.T)].tolist(), y=u[1][tuple(i.T)].tolist(), faint=name != "real")
                    for name, i in groups.items()
                ],
            ),
            Lines(
                title="How many weights are how large",
                x=Axis(label="weight"),
                y=Axis(label="weights, and one", log=True),
                series=[Series(name=name, x=middles, y=(count + 1).tolist()) for name, count in counts.items()],
            ),
            Lines(
                title="Which score finds the real ones",
                x=Axis(label="share of real weights found", low=0, high=1),
                y=Axis(label="share of those found that are real", low=0, high=1),
                series=[
                    Series(name=name, x=recall[kept].tolist(), y=exact[kept].tolist(), faint=name == "|U|")
                    for name, (recall, exact) in curves.items()
                ],
                rules=[Rule(at=float(real.mean()), label="by chance")],
            ),
            Cells(
                title="The first 32 features' weights to each other",
                values=u[0][:32, :32].tolist(),
                scale="diverging",
                rows="to",
                columns="from",
            ),
        ]

    return Page(
        id="INT-1",
        title="Weights that mean nothing",
        idea="Push many features through few dimensions, and each comes to have a weight to every other, whether or "
        "not one has anything to say to the other. Most of these weights are there because nothing forbids them: cut "
        "one, and the model gets better.\n\nTrain again from another seed, and the weights that do something come back "
        "where they were, while the rest is dealt anew. One model alone must be read otherwise: by size a real weight "
        "is lost in the crowd; by what it brings when its target is there, it stands out.",
        original="Scatter of two seeds' virtual weights, a cross-like crowd and a line of real ones; precision-recall "
        "curves of heuristics.",
        source="Olah, Turner & Conerly 2025, A Toy Model of Interference Weights",
        link="https://transformer-circuits.pub/2025/interference-weights/index.html",
        sliders=sliders,
        frames=frames(sliders, panels),
    )
