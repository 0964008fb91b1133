"""COMP-1: Thorpe's codes for four colours and four shapes: what each lets a linear readout select, counted exactly."""

from functools import cache
from itertools import combinations, product

import numpy as np
from scipy.optimize import linprog

from physalis.lab.checks import Check, Finding
from physalis.lab.pages import Axis, Cells, Lines, Page, Panel, Series, Slider, Words, frames

COLOURS, SHAPES = ("red", "green", "blue", "yellow"), ("circle", "square", "triangle", "star")
STIMULI = tuple(product(range(4), range(4)))
"""(colour, shape)."""
RING = np.eye(4) + np.roll(np.eye(4), 1, axis=1)
"""Four things as pairs of neighbours in a ring of four neurons, each neuron shared by two of them."""

QUESTIONS: dict[str, tuple[tuple[int, int], ...]] = {
    "red": tuple((0, s) for s in range(4)),
    "circle": tuple((c, 0) for c in range(4)),
    "red circle": ((0, 0),),
    "red or circle": tuple((c, s) for c, s in STIMULI if c == 0 or s == 0),
    "red or green, circle or square": tuple((c, s) for c, s in STIMULI if c < 2 and s < 2),
    "red circle or green square": ((0, 0), (1, 1)),
    "each colour in its own shape": tuple((c, c) for c in range(4)),
}
"""Sets of stimuli that a neuron further on might want to answer to."""


def local() -> np.ndarray:
    """A neuron for each of the 16 stimuli."""
    return np.eye(16)


def compositional() -> np.ndarray:
    """A neuron for each colour and one for each shape."""
    return np.array([[*(np.arange(4) == c), *(np.arange(4) == s)] for c, s in STIMULI], float)


def dense() -> np.ndarray:
    """Four neurons, a codeword of its own for each stimulus."""
    return np.array(list(product((0, 1), repeat=4)), float)


def semi_distributed() -> np.ndarray:
    """Two neurons for each colour and two for each shape, each neuron shared by two of them: composition, and
    superposition within it."""
    return np.array([[*RING[c], *RING[s]] for c, s in STIMULI])


CODES = {
    "local": local,
    "compositional": compositional,
    "semi-distributed": semi_distributed,
    "dense": dense,
}


def nested(chosen: np.ndarray) -> bool:
    """Whether sums of a colour's and a shape's weight can select these [4, 4] stimuli: they can exactly where, of any
    two colours, one is chosen with every shape that the other is."""
    rows = [frozenset(np.flatnonzero(row)) for row in chosen]
    return all(a <= b or b <= a for a, b in combinations(rows, 2))


@cache
def threshold_sets() -> set[frozenset[int]]:
    """The sets of four-bit words that a weighted sum above a threshold selects. Weights from -3 to 3 give all 1,882 of
    them (Muroga 1971)."""
    words, found = dense(), set()
    for weights in product(range(-3, 4), repeat=4):
        sums = words @ np.array(weights)
        for level in range(int(sums.min()) - 1, int(sums.max()) + 1):
            found.add(frozenset(np.flatnonzero(sums > level).tolist()))
    return found


def selectable(size: int) -> dict[str, float]:
    """Of all sets of ``size`` stimuli, the share that each code lets a linear readout select."""
    sets = list(combinations(range(16), size))
    grid = np.zeros((len(sets), 16), bool)
    grid[np.arange(len(sets))[:, None], np.array(sets)] = True
    by_sum = sum(nested(row.reshape(4, 4)) for row in grid)
    words = sum(len(each) == size for each in threshold_sets())
    return {"local": 1.0, "compositional": by_sum / len(sets), "dense": words / len(sets)}


def red_without(code: np.ndarray, shape: int) -> np.ndarray:
    """[4, 4]: what a least-squares readout of "red" says of each stimulus, fitted without red in that shape."""
    red = np.array([c == 0 for c, _ in STIMULI], float)
    kept = np.arange(16) != STIMULI.index((0, shape))
    x = np.c_[code, np.ones(16)]
    return (x @ np.linalg.lstsq(x[kept], red[kept], rcond=None)[0]).reshape(4, 4)


def generalises(code: np.ndarray) -> int:
    """For how many of the four shapes a readout of "red", fitted without red in that shape, finds it."""
    return sum(int(red_without(code, shape)[0, shape] > 0.5) for shape in range(4))


def best_readout(code: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """[16]: which stimuli a weighted sum above a threshold selects, with the least total shortfall from a margin of 1
    on the right side. It is ``chosen`` exactly where any weights can select that."""
    side = np.where(chosen, 1.0, -1.0)
    x = side[:, None] * np.c_[code, np.ones(16)]
    width = x.shape[1]
    found = linprog(
        np.r_[np.zeros(width), np.ones(16)], A_ub=-np.c_[x, np.eye(16)], b_ub=-np.ones(16),
        bounds=[(None, None)] * width + [(0, None)] * 16,
    )  # fmt: skip
    return (x @ found.x[:width] > 1e-6) == chosen


def check(seed: int = 0) -> Check:
    """Counted, not sampled: 1,020, 104 and 88 of the sets, where samples gave about .055, 0 and .0575."""
    halves, colours = selectable(8), selectable(4)
    rng = np.random.default_rng(seed)
    dealt = float(np.mean([generalises(compositional()[rng.permutation(16)]) for _ in range(100)]))
    return Check(
        id="COMP-1",
        claim="A local code lets any set of stimuli be selected and generalises to none; a compositional code selects "
        "few sets and generalises to unseen combinations; a dense code does neither.",
        source="Olah 2023, Distributed Representations: Composition & Superposition",
        findings=(
            Finding("threshold functions of four bits", float(len(threshold_sets())), 1882, 1882),
            Finding("halves that the local code selects", halves["local"], 1, 1),
            Finding("halves that the compositional code selects", halves["compositional"], 1020 / 12870, 1020 / 12870),
            Finding("halves that the dense code selects", halves["dense"], 104 / 12870, 104 / 12870),
            Finding("colours that a random dense code selects", colours["dense"], 88 / 1820, 88 / 1820),
            Finding("unseen red shapes found, compositional", float(generalises(compositional())), 4, 4),
            Finding("unseen red shapes found, local", float(generalises(local())), 0, 0),
        ),
        control="the compositional code with its words dealt out at random, a hundred times",
        control_findings=(Finding("unseen red shapes found", dealt, 4, 4),),
    )


def explore(seed: int = 0) -> Page:
    """What each code looks like, which sets a readout selects from it, and what it makes of a colour in a new shape.
    The dense code's words are dealt out at random; counted in order, two neurons would be the colour's."""
    codes = {name: code() for name, code in CODES.items()}
    codes["dense"] = np.random.default_rng(seed).permutation(codes["dense"])
    asked = {name: np.array([stimulus in them for stimulus in STIMULI]) for name, them in QUESTIONS.items()}
    selected = {(c, q): best_readout(codes[c], asked[q]) for c in codes for q in asked}
    sliders = [
        Slider(name="code", values=list(codes), start=1),
        Slider(name="wanted", values=list(asked), start=5),
        Slider(name="never seen in red", values=list(SHAPES)),
    ]

    def panels(at: int, question: int, shape: int) -> list[Panel]:
        name, wanted = list(codes)[at], list(asked)[question]
        code, verdict = codes[name], np.where(asked[wanted], 1, 0) + np.where(selected[name, wanted], 2, 0)
        grid = {"rows": "colour", "columns": "shape", "row_ticks": list(COLOURS), "column_ticks": list(SHAPES)}
        return [
            Cells(
                title="The code: which neurons fire",
                values=code.tolist(),
                scale="sequential",
                rows="stimulus",
                columns="neuron",
                row_ticks=[f"{COLOURS[c]} {SHAPES[s]}" for c, s in STIMULI],
            ),
            Cells(
                title="What one weighted sum and a threshold select",
                values=verdict.reshape(4, 4).tolist(),
                scale="classes",
                classes=["left out", "missed", "selected by mistake", "selected"],
                ground=0,
                **grid,
            ),
            Cells(
                title=f"A readout of red that never saw a red {SHAPES[shape]}: 1 is red",
                values=red_without(code, shape).round(6).tolist(),
                scale="diverging",
                **grid,
            ),
        ]

    sizes = range(1, 16)
    shares = [selectable(size) for size in sizes]
    return Page(
        id="COMP-1",
        title="Four codes for sixteen things",
        idea="Four colours in four shapes are sixteen things to see. With a neuron for each, a reader can pick out "
        "any set of them, but learns nothing about a red star from red circles. With a neuron for each colour "
        "and each shape, red is red in any shape, also in one never seen; the price is that most sets can no longer be "
        "picked out, as the red circles and green squares together cannot.\n\nFour neurons are enough to tell sixteen "
        "things apart, and then almost nothing can be read by a weighted sum. A network must choose: features that "
        "combine freely, or many things that each stand for themselves.",
        original="Four tables of which neurons fire for which coloured shape: local, semi-local, semi-distributed and "
        "highly distributed.",
        source="Olah 2023, Distributed Representations: Composition & Superposition; the codes are Thorpe's (1989)",
        link="https://transformer-circuits.pub/2023/superposition-composition/index.html",
        sliders=sliders,
        frames=frames(sliders, panels),
        panels=[
            Words(
                title="Can it be selected?",
                columns=["wanted", *codes],
                rows=[[q, *("yes" if (selected[c, q] == asked[q]).all() else "no" for c in codes)] for q in asked],
            ),
            Lines(
                title="Of all sets of stimuli, the share that can be selected",
                x=Axis(label="stimuli in the set", low=1, high=15),
                y=Axis(label="share", log=True, high=1),
                series=[
                    Series(name=name, x=list(sizes), y=[share[name] for share in shares])
                    for name in ("local", "compositional", "dense")
                ],
            ),
        ],
    )
