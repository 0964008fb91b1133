"""questions: what judges are asked of a feature, and what would be right; functions of codes and text alone.

detection   does it fire in this passage?               purity      the same of passages in which it fires
fuzzing     are the marked tokens those it fires on?    simulation  how strongly, on each token?
intruder    in which one of five passages is it silent, while it fires in the others?
embedding   how near are explanation and passage, in the space of a sentence embedder?
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from physalis.judging.passages import Drawn, Fired, Passages

Ask = Literal["fires", "marked", "levels", "odd"]
"""fires: of each passage, from 0 (no) over .5 (who knows) to 1 (yes).
marked: the same of whether the marked tokens of each are those it fires on.
levels: of each token of one passage, how strongly it fires, on any scale.
odd: of each passage, how unlike the others it is: the largest is the answer."""
Task = Literal["detection", "fuzzing", "simulation", "intruder", "embedding", "purity"]
TASKS: tuple[Task, ...] = ("detection", "fuzzing", "simulation", "intruder", "embedding", "purity")
TOGETHER = 5
"""Passages that a question is about, at most."""


class Shown(NamedTuple):
    """One passage, as a judge sees it."""

    at: Int[np.ndarray, " tokens"]
    """Positions in the text."""
    marked: Bool[np.ndarray, " tokens"]


class Question(NamedTuple):
    """What a judge is asked at once: an answer for each passage, or of ``levels`` for each token of the one passage."""

    ask: Ask
    shown: tuple[Shown, ...]

    @property
    def n_answers(self) -> int:
        return len(self.shown[0].at) if self.ask == "levels" else len(self.shown)


class Key(NamedTuple):
    """What is right, answer by answer. No judge sees it."""

    truth: Float[np.ndarray, " answers"]
    """1 or 0; of ``levels`` the code."""
    decile: Int[np.ndarray, " answers"]
    """Of the passage; -1 where the feature is silent in it."""
    block: Int[np.ndarray, " answers"]
    """Of documents."""
    counts: Bool[np.ndarray, " answers"]
    """Which answers are judged."""


Asked = tuple[Question, Key]


def detection(text: Passages, fired: Fired, drawn: Drawn, rng: np.random.Generator) -> list[Asked]:
    """Passages in any order, some at a time."""
    ids = rng.permutation(np.concatenate([drawn.firing, drawn.silent]))
    return [
        (Question("fires", tuple(_shown(text, int(i)) for i in some)), _key(text, fired, some, fired.decile[some] >= 0))
        for some in _together(ids)
    ]


def fuzzing(text: Passages, fired: Fired, drawn: Drawn, rng: np.random.Generator) -> list[Asked]:
    """Passages in which it fires, every other one with as many silent tokens marked instead."""
    made, first = [], int(rng.integers(2))
    for number, i in enumerate(drawn.firing, start=first):
        fires = fired.codes[text.at[i]] > 0
        silent = np.flatnonzero(~fires & text.kept[text.at[i]])
        if len(silent) < fires.sum():
            continue  # it fires on most tokens: nothing else is left to mark
        right, marked = number % 2 == 0, fires
        if not right:
            marked = np.zeros_like(fires)
            marked[rng.choice(silent, int(fires.sum()), replace=False)] = True
        made.append((int(i), marked, right))
    order = rng.permutation(len(made))
    asked = []
    for some in _together(order):
        ids = np.array([made[j][0] for j in some])
        shown = tuple(Shown(text.at[made[j][0]], made[j][1]) for j in some)
        asked.append((Question("marked", shown), _key(text, fired, ids, np.array([made[j][2] for j in some]))))
    return asked


def simulation(text: Passages, fired: Fired, drawn: Drawn, rng: np.random.Generator) -> list[Asked]:
    """Each passage alone, token by token."""
    asked = []
    for i in rng.permutation(np.concatenate([drawn.firing, drawn.silent])):
        at, n = text.at[i], text.at.shape[1]
        decile, block = np.full(n, fired.decile[i]), np.full(n, text.blocks[i])
        key = Key(fired.codes[at].astype(np.float64), decile, block, text.kept[at])
        asked.append((Question("levels", (_shown(text, int(i)),)), key))
    return asked


def intruder(text: Passages, fired: Fired, drawn: Drawn, rng: np.random.Generator) -> list[Asked]:
    """Four passages of one decile, or of those next to it where there are fewer, and among them one in which it is
    silent."""
    asked = []
    for decile in np.unique(fired.decile[drawn.firing]):
        pool = rng.permutation(np.flatnonzero(fired.decile >= 0))
        nearest = pool[np.argsort(np.abs(fired.decile[pool] - decile), kind="stable")][: TOGETHER - 1]
        if len(nearest) < TOGETHER - 1 or not len(drawn.silent):
            continue
        ids = np.append(nearest, rng.choice(drawn.silent))
        ids = ids[rng.permutation(TOGETHER)]
        key = _key(text, fired, ids, fired.decile[ids] < 0)._replace(decile=np.full(TOGETHER, decile))
        asked.append((Question("odd", tuple(_shown(text, int(i)) for i in ids)), key))
    return asked


def purity(text: Passages, fired: Fired, drawn: Drawn, rng: np.random.Generator) -> list[Asked]:
    """What ``detection`` asks: of the answers those about passages in which it fires are judged."""
    return [
        (question, key._replace(counts=key.counts & (key.truth == 1)))
        for question, key in detection(text, fired, drawn, rng)
    ]


Make = Callable[[Passages, Fired, Drawn, np.random.Generator], list[Asked]]
MADE: dict[Task, Make] = {
    "detection": detection, "fuzzing": fuzzing, "simulation": simulation, "intruder": intruder,
    "embedding": detection, "purity": purity,
}  # fmt: skip
"""What makes the questions of each task. Those of the same rng are the same for detection, embedding and purity."""


def _together(ids: Int[np.ndarray, " n"]) -> list[Int[np.ndarray, " some"]]:
    return [ids[i : i + TOGETHER] for i in range(0, len(ids), TOGETHER)]


def _shown(text: Passages, i: int) -> Shown:
    return Shown(text.at[i], np.zeros(text.at.shape[1], bool))


def _key(text: Passages, fired: Fired, ids: Int[np.ndarray, " n"], right: Bool[np.ndarray, " n"]) -> Key:
    return Key(right.astype(np.float64), fired.decile[ids], text.blocks[ids], np.ones(len(ids), bool))
