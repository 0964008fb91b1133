"""Columns hold values in their order, and combinations of several."""

import numpy as np

from physalis.lab.decompiling.programs.columns import Column, column, column_of, joint, ordered

ROWS = [("b", "a", "b"), ("c",), ("a", "a")]


def test_values_come_back_as_they_stood():
    made = column_of(ROWS)
    assert made.values == ("a", "b", "c") and made.rows() == ROWS
    assert made.codes.shape == (3, 3) and made.exists.sum() == 6 and (made.codes[1, 1:] == -1).all()


def test_values_that_are_alike_or_never_come_are_one_or_none():
    made = column(["x", "y", "x", "never"], np.array([[0, 1, 2], [2, 2, -1]]))
    assert made.values == ("x", "y") and made.rows() == [("x", "y", "x"), ("x", "x")]


def test_combinations_are_those_that_come():
    first, second = column_of(ROWS), column_of([(0, 1, 0), (0,), (1, 0)])
    both = joint([first, second])
    assert both.rows() == [tuple(zip(*each, strict=True)) for each in zip(ROWS, second.rows(), strict=True)]
    assert set(both.values) == {("b", 0), ("a", 1), ("c", 0), ("a", 0)}


def test_combinations_of_very_many_values_are_the_same():
    """There are more than a machine's integer can number."""
    random = np.random.default_rng(0)
    many = [Column(tuple(range(10**5)), random.integers(0, 10**5, (2, 3))) for _ in range(5)]
    assert joint(many).rows() == [tuple(map(tuple, row)) for row in np.stack([c.codes for c in many], -1).tolist()]


def test_none_is_last_and_kinds_stay_apart():
    assert ordered({None, 2, 1}) == (1, 2, None)
    assert ordered({("b", 1), ("a", None), ("a", 2)}) == (("a", 2), ("a", None), ("b", 1))
    assert ordered({None, "b", "a"}) == ("a", "b", None)
