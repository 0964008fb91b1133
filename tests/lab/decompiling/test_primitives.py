"""A variable is called what it equals, and nothing else."""

import numpy as np
import pytest

from physalis.lab.decompiling.primitives import PRIMITIVES, name_of
from physalis.lab.decompiling.programs.columns import column_of
from physalis.lab.rasp import dyck1, evaluate, induction, reverse, sort

RANDOM = np.random.default_rng(0)
WORDS = [tuple(RANDOM.choice([*"abcd"], size=n).tolist()) for n in (1, 3, 4, 6, 6, 7, 7)]
BRACKETS = [tuple(RANDOM.choice([*"()"], size=n).tolist()) for n in (3, 6, 8, 8, 8, 8, 8, 8)]


def named(rows, inputs, causal, taken=()):
    return name_of(column_of(rows), inputs, causal=causal, taken=taken)


@pytest.mark.parametrize("task, name", [
    (reverse(n_letters=4), "mirrored_token"), (sort(n_letters=4), "token_of_rank"),
    (induction(n_letters=4), "token_after_the_last"),
], ids=lambda x: getattr(x, "name", x))  # fmt: skip
def test_programs_are_called_what_they_are(task, name):
    rows = [evaluate(task.program, each, causal=task.causal) for each in WORDS]
    assert named(rows, WORDS, task.causal) == name


def test_brackets():
    task = dyck1()
    level, fell = task.program.of
    for part, name in ((level, "side_of_zero"), (fell, "fell_below_zero")):
        assert named([evaluate(part, each) for each in BRACKETS], BRACKETS, True) == name
    rows = [["".join(each[: i + 1]).count("(") * 2 - i - 1 for i in range(len(each))] for each in BRACKETS]
    assert named(rows, BRACKETS, True) == "depth"


def test_names_are_taken_once_and_values_do_not_matter():
    lengths = [[f"n{len(each)}"] * len(each) for each in WORDS]
    assert named(lengths, WORDS, False) == "length"
    assert named(lengths, WORDS, False, taken={"length"}) is None
    assert named([[*map(ord, each)] for each in WORDS], WORDS, False) is None  # the tokens themselves are given


def test_each_primitive_can_be_asked_of_anything():
    for name, primitive in PRIMITIVES.items():
        for each in (*WORDS, *BRACKETS):
            for i in range(len(each)):
                hash(primitive(each, i)), hash(primitive(each[: i + 1], i))
        assert name.isidentifier()
    assert PRIMITIVES["opened_at"]("(())", 3) == 0 and PRIMITIVES["opened_at"]("(()(", 2) == 1
    assert PRIMITIVES["opened_at"]("())", 2) is None and PRIMITIVES["opened_at"]("()", 0) is None
