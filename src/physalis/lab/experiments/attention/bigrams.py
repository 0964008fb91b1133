"""FRAME-2: a transformer without layers is a table of bigrams, as good as its width allows."""

import pydoc_data.topics
import re
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Int

from physalis.lab.checks import Check, Finding
from physalis.lab.pages import Axis, Cells, Lines, Page, Panel, Rule, Series, Slider, Words, frames
from physalis.lab.toys.transformers.attention import Tokens, Transformers, train, transformers
from physalis.lab.toys.transformers.paths import bigrams

LETTERS = " abcdefghijklmnopqrstuvwxyz"
WIDTHS = (1, 2, 4, 8, 16, 32)


def text() -> Int[np.ndarray, " n"]:
    """The letters of the manual that Python carries with it: English that is on every machine."""
    manual = " ".join(pydoc_data.topics.topics.values()).lower()
    return np.array([LETTERS.index(letter) for letter in re.sub("[^a-z]+", " ", manual)])


def counts(tokens: Int[np.ndarray, " n"]) -> Float[np.ndarray, "v v"]:
    """How often each letter (column) follows each (row)."""
    table = np.zeros((len(LETTERS), len(LETTERS)))
    np.add.at(table, (tokens[:-1], tokens[1:]), 1)
    return table


def predicted(models: Transformers) -> Float[np.ndarray, "i v v"]:
    """Probability of the next letter (column) after each (row)."""
    return bigrams(models).softmax(-1).numpy().astype(float)


def divergence(table: Float[np.ndarray, "v v"], said: Float[np.ndarray, "v v"]) -> float:
    """KL in nats from the text's next letter to the one said, averaged over the text."""
    share = table / table.sum()
    given = table / np.maximum(table.sum(1, keepdims=True), 1)
    seen = table > 0
    return float((share[seen] * np.log(given[seen] / np.maximum(said[seen], 1e-12))).sum())


def windows(tokens: Int[np.ndarray, " n"], seed: int) -> Callable[[int], Tokens]:
    """Batches of pieces of the text, the same for every step's number and seed."""
    cut = torch.tensor(tokens[: len(tokens) // 64 * 64].reshape(-1, 64))

    def batch(step: int) -> Tokens:
        generator = torch.Generator().manual_seed(1_000_003 * seed + step)
        return cut[torch.randint(len(cut), (1, 64), generator=generator)]

    return batch


def trained(width: int, tokens: Int[np.ndarray, " n"], *, steps: int = 300, seed: int = 0) -> Transformers:
    """Embedding and unembedding, nothing between."""
    start = transformers(instances=1, vocab=len(LETTERS), length=64, layers=0, width=width, seed=seed)
    return train(start, windows(tokens, seed), steps=steps, lr=0.02).models


def check(seed: int = 0) -> Check:
    """Three seeds on the letters of Python's manual."""
    tokens = text()
    table = counts(tokens)
    rng = np.random.default_rng(seed)
    seeds = range(3 * seed, 3 * seed + 3)
    what = "KL from the text's next letter to the model's, nats"

    def away(width: int, tokens: Int[np.ndarray, " n"]) -> list[float]:
        return [divergence(table, predicted(trained(width, tokens, seed=s))[0]) for s in seeds]

    return Check(
        id="FRAME-2",
        claim="A transformer without layers learns the log-likelihoods of bigrams.",
        source="Elhage et al. 2021, Zero-Layer Transformers",
        findings=(
            Finding.over(what, away(32, tokens), high=0.02),
            Finding.over("the same at width 2, which cannot hold the table", away(2, tokens), low=0.05),
        ),
        control="the same model trained on the text's letters shuffled, held against the text",
        control_findings=(Finding.over(what, away(32, rng.permutation(tokens)), high=0.02),),
    )


def explore(seed: int = 0) -> Page:
    """The table of each width beside the text's, and what it would write."""
    tokens = text()
    table = counts(tokens)
    given = table / table.sum(1, keepdims=True)
    said = [predicted(trained(width, tokens, seed=seed))[0] for width in WIDTHS]
    ticks = ["␣", *LETTERS[1:]]
    sliders = [Slider(name="width", values=[str(width) for width in WIDTHS], start=1)]

    def cells(title: str, shown: Float[np.ndarray, "v v"]) -> Cells:
        """Square roots, so that rare letters are seen beside common ones."""
        return Cells(
            title=title, values=np.sqrt(shown).tolist(), scale="sequential",
            rows="letter", columns="next letter", row_ticks=ticks, column_ticks=ticks,
        )  # fmt: skip

    def panels(at: int) -> list[Panel]:
        rng = np.random.default_rng(seed)
        letters = [0]
        for _ in range(240):
            letters.append(int(rng.choice(len(LETTERS), p=said[at][letters[-1]] / said[at][letters[-1]].sum())))
        rows = ["".join(LETTERS[k] for k in letters[i : i + 80]) for i in range(0, 240, 80)]
        return [
            cells("What the model says comes next (square root of probability)", said[at]),
            Words(title="What it writes", columns=["letters"], rows=[[row] for row in rows]),
        ]

    return Page(
        id="FRAME-2",
        title="A transformer without layers",
        idea="Take everything out of a transformer but the table that turns letters into vectors and the one that "
        "turns vectors into predictions. What is left can know one thing: what tends to follow each letter. Trained on "
        "the manual of Python it learns just that table, squeezed through as many dimensions as it is given.\n\n"
        "In larger models this direct path is still there, and the rest of the network adds to it. With one dimension "
        "the model sets most vowels apart and knows little else; watch q find its u as dimensions are added.",
        original="The paper has no figure for it: the product of unembedding and embedding, read as a bigram table.",
        source="Elhage et al. 2021, A Mathematical Framework for Transformer Circuits, Zero-Layer Transformers",
        link="https://transformer-circuits.pub/2021/framework/index.html",
        sliders=sliders,
        frames=frames(sliders, panels),
        panels=[
            cells("What the text says comes next", given),
            Lines(
                title="Distance from the text's bigrams",
                x=Axis(label="width", log=True),
                y=Axis(label="KL, nats", low=0),
                series=[Series(name="model", x=list(map(float, WIDTHS)), y=[divergence(table, each) for each in said])],
                rules=[Rule(at=0.02, label="what counts as the same")],
            ),
        ],
    )
