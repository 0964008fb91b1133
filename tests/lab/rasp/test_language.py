"""The interpreter says what a person computes by hand, and a program that means nothing is refused with a sentence."""

from fractions import Fraction

import pytest

from physalis.errors import BadInput
from physalis.lab.rasp import (
    aggregate,
    elementwise,
    evaluate,
    indices,
    latest,
    numeric,
    select,
    selector_width,
    tokens,
)

SAME = select(tokens, tokens, lambda key, query: key == query)
ALL = select(tokens, tokens, lambda key, query: True)
BEFORE = select(indices, indices, lambda key, query: key < query)


def test_what_stands_alone_is_computed_alone():
    assert evaluate(tokens, "abc") == ("a", "b", "c") and evaluate(indices, "abc") == (0, 1, 2)
    assert evaluate(elementwise(lambda token, i: f"{token}{i}", tokens, indices), "abb") == ("a0", "b1", "b2")


def test_no_position_of_a_causal_program_sees_a_later_one():
    count = selector_width(SAME)
    assert evaluate(count, "abaa") == (1, 1, 2, 3)
    assert evaluate(count, "abaa", causal=False) == (3, 1, 3, 3)


def test_numbers_are_exact():
    third = aggregate(ALL, numeric(lambda token: token == "a", tokens))
    assert evaluate(third, "abb", causal=False) == (Fraction(1, 3),) * 3
    assert evaluate(elementwise(lambda x: x == Fraction(1, 3), third), "abb") == (False, False, True)
    assert evaluate(numeric(lambda x: 3 * x, third), "ab", causal=False) == (Fraction(3, 2),) * 2


def test_where_nothing_is_selected_the_default_stands():
    assert evaluate(aggregate(latest(BEFORE), tokens), "abc") == (None, "a", "b")
    assert evaluate(aggregate(latest(BEFORE), tokens, default="z"), "abc") == ("z", "a", "b")
    assert evaluate(aggregate(BEFORE, numeric(lambda i: i + 1, indices)), "abc") == (0, 1, Fraction(3, 2))
    assert evaluate(selector_width(BEFORE), "abc") == (0, 1, 2)


def test_the_latest_is_the_last_that_is_selected():
    seen = latest(select(tokens, tokens, lambda key, query: key == "a"))
    assert evaluate(aggregate(seen, indices), "babca") == (None, 1, 1, 1, 4)
    assert evaluate(aggregate(seen, indices), "babca", causal=False) == (4,) * 5


def test_categories_that_differ_have_no_mean():
    with pytest.raises(BadInput, match=r"'aggregate' selects positions of several categories, \['a', 'b'\]. Narrow"):
        evaluate(aggregate(ALL, tokens), "ab")


def test_programs_that_mean_nothing_are_refused():
    half = numeric(lambda i: i / 2, indices, name="half")
    with pytest.raises(BadInput, match="compares categories, and 'half' is a number. Make categories"):
        select(half, tokens, lambda key, query: True)
    with pytest.raises(BadInput, match=r"'both' reads \['tokens', 'half'\].* only alone; 'half' is one"):
        elementwise(lambda a, b: a, tokens, half, name="both")
    with pytest.raises(BadInput, match=r"'none' reads \[\]: it takes one"):
        elementwise(lambda: 1, name="none")
    with pytest.raises(BadInput, match="keeps only the last. Count it before latest"):
        selector_width(latest(ALL))
    with pytest.raises(BadInput, match="'height' is numeric, and 'a' is no number"):
        evaluate(numeric(lambda token: token, tokens, name="height"), "a")
    with pytest.raises(BadInput, match="is numeric, and nan is no number"):
        evaluate(numeric(lambda token: float("nan"), tokens), "a")
    with pytest.raises(BadInput, match="'mean' is numeric, and 'x' is no number"):
        aggregate(ALL, half, default="x", name="mean")
