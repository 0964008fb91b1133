"""Of a head it is said where it looks and what it carries: by the variables that it reads, and no others."""

from itertools import product

import numpy as np
import pytest

from physalis.lab.decompiling.passes import Passes
from physalis.lab.decompiling.reading_heads import read_head
from physalis.lab.decompiling.workbench import MATTERS_NOT, Workbench
from physalis.lab.rasp import (
    aggregate,
    compile_program,
    elementwise,
    indices,
    latest,
    numeric,
    select,
    selector_width,
    tokens,
)
from physalis.site import Site

LETTERS, LONGEST = ("a", "b", "c", "d"), 6
RANDOM = np.random.default_rng(0)
WORDS = [tuple(RANDOM.choice(LETTERS, size=n).tolist()) for n in RANDOM.integers(1, LONGEST + 1, 1500)]
WORDS = [*dict.fromkeys(WORDS)]


def less(key, query):
    return key < query


def same(key, query):
    return key == query


PROGRAMS = {
    "aggregate(latest(select_past(token, token, lambda key, query: key < query)), token)":
        (aggregate(latest(select(tokens, tokens, less)), tokens), True),
    "aggregate(select(position, position, lambda key, query: key == query + 1), token)":
        (aggregate(select(indices, indices, lambda key, query: key == query + 1), tokens), False),
    "selector_width(select(token, token, lambda key, query: key < query))":
        (selector_width(select(tokens, tokens, less)), False),
    "selector_width(select_past(token, token, lambda key, query: key == 'c'))":
        (elementwise(lambda w: w > 0, selector_width(select(tokens, tokens, lambda key, query: key == "c"))), True),
    "exists(select_past(token, token, lambda key, query: key == 'c'))":
        (aggregate(select(tokens, tokens, lambda key, query: key == "c"), tokens), True),
    "aggregate(latest(select_past(token, token, lambda key, query: True)), token)":
        (aggregate(latest(select(tokens, tokens, lambda key, query: True)), tokens), True),
    "mean(select_past(token, token, lambda key, query: True), numeric({'a': 1, 'b': -1, 'c': -1, 'd': -1}, token))":
        (elementwise(lambda x: x > 0.4, aggregate(select(tokens, tokens, lambda key, query: True),
         numeric(lambda token: token == "a", tokens))), True),
}  # fmt: skip


def bench(model_of) -> Workbench:
    passes = Passes(model_of.model, [model_of.encode([each])[0].tolist() for each in WORDS], slice(1, None))
    learns = np.arange(len(WORDS)) % 3 < 2
    return Workbench(passes, WORDS, learns, causal=model_of.causal, tolerance=0.01, parts=2)


@pytest.mark.parametrize("text", PROGRAMS)
def test_what_a_head_does_is_said(text):
    program, causal = PROGRAMS[text]
    made = bench(compile_program(program, vocabulary=LETTERS, context=LONGEST, causal=causal))
    layer = int(text.startswith("mean"))  # of numbers that an MLP makes of the tokens
    site = Site("z", layer)
    z = made.passes.read([site], {})[site]
    value, why = read_head(made, layer, 0, z)
    assert why is None and made.lost(site, value) <= 0.01
    if text.startswith("aggregate(latest(select_past(token, token, lambda key, query: True"):
        assert made.steps == [] and value.shape == z.shape  # it looks at itself, and says the token again
        return
    (step,) = made.steps
    assert step.text(causal) == text and step.component == f"L{layer}.H0"
    assert made.said == {f"L{layer}.H0": "v1"} and made.notes["v1"].endswith("of its attention")


def test_a_head_that_nothing_reads_does_not_matter():
    idle = aggregate(select(tokens, tokens, same), tokens, name="idle")
    answer = elementwise(lambda token: token == "a", tokens)
    made = bench(compile_program(answer, vocabulary=LETTERS, context=LONGEST, causal=False, beside=[idle]))
    z = made.passes.read([Site("z", 0)], {})[Site("z", 0)]
    value, why = read_head(made, 0, 0, z)
    assert why is None and made.steps == [] and made.said == {"L0.H0": MATTERS_NOT}
    assert made.lost(Site("z", 0), value) == 0.0


def test_a_head_that_looks_by_chance_is_not_understood():
    """By a relation that no short text has, and of more pairs than are listed."""
    random = np.random.default_rng(5)
    table = {each: bool(random.integers(2)) for each in product(LETTERS, LETTERS, range(6), range(6))}
    both = elementwise(lambda token, i: (token, i), tokens, indices, name="both")
    odd = select(both, both, lambda key, query: table[key[0], query[0], key[1], query[1]])
    made = bench(compile_program(selector_width(odd), vocabulary=LETTERS, context=LONGEST, causal=False))
    site = Site("z", 1)
    _, why = read_head(made, 1, 0, made.passes.read([site], {})[site])
    assert why == "Where L1.H0 looks is said by no relation of token, position that was tried"
    assert made.steps == [] and made.said == {}
