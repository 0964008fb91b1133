"""prelude: the functions that a program read from a model is written in, over plain lists.

A printed program runs as it stands after ``from physalis.lab.decompiling.programs.prelude import *``. The words are
those of RASP (Weiss, Goldberg and Yahav 2021, arXiv 2106.06981); a selector is, for each position, the positions it
looks at.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from fractions import Fraction
from math import cos, pi
from typing import Any, NamedTuple

__all__ = [
    "aggregate", "cos", "counts", "earliest", "elementwise", "exists", "greatest", "latest", "least", "mean",
    "mean_with_start", "numeric", "pi", "positions", "select", "select_past", "selector_width",
]  # fmt: skip


class Selector(NamedTuple):
    """The keys, and which positions each position looks at."""

    keys: Sequence[Any]
    chosen: list[list[int]]


def positions(tokens: Sequence[Any]) -> list[int]:
    """0 at the first, 1 at the second, and so on."""
    return [*range(len(tokens))]


def select(keys: Sequence[Any], queries: Sequence[Any], predicate: Callable[[Any, Any], bool]) -> Selector:
    """The positions whose key ``predicate(key, query)`` holds of; never of what cannot be compared."""
    return Selector(keys, [[j for j, key in enumerate(keys) if _holds(predicate, key, query)] for query in queries])


def select_past(keys: Sequence[Any], queries: Sequence[Any], predicate: Callable[[Any, Any], bool]) -> Selector:
    """Likewise, of those up to the position that looks."""
    every = select(keys, queries, predicate)
    return Selector(keys, [[j for j in found if j <= i] for i, found in enumerate(every.chosen)])


def latest(selector: Selector) -> Selector:
    """Of what each position looks at, the last."""
    return _one(selector, lambda j: j)


def earliest(selector: Selector) -> Selector:
    """The first."""
    return _one(selector, lambda j: -j)


def greatest(selector: Selector) -> Selector:
    """The one of the greatest key, of equal ones the last."""
    return _one(selector, lambda j: (_worth(selector.keys[j]), j))


def least(selector: Selector) -> Selector:
    """The one of the least key, of equal ones the last."""
    lowest = [min((_worth(selector.keys[j]) for j in row), default=None) for row in selector.chosen]
    found = [
        [j for j in row if _worth(selector.keys[j]) == low][-1:]
        for low, row in zip(lowest, selector.chosen, strict=True)
    ]
    return Selector(selector.keys, found)


def aggregate(selector: Selector, values: Sequence[Any]) -> list[Any]:
    """What stands at the selected positions (where they differ, what stands at most of them); None where there are
    none."""
    found = [[values[j] for j in row] for row in selector.chosen]
    return [max(sorted(set(row)), key=row.count) if row else None for row in found]


def selector_width(selector: Selector) -> list[int]:
    """How many positions are selected."""
    return [len(row) for row in selector.chosen]


def exists(selector: Selector) -> list[bool]:
    """Whether any is."""
    return [bool(row) for row in selector.chosen]


def counts(selector: Selector, kinds: Sequence[Any], values: Sequence[Any]) -> list[tuple[int, ...]]:
    """How often each of ``kinds`` stands at the selected positions."""
    found = [[values[j] for j in row] for row in selector.chosen]
    return [tuple(row.count(kind) for kind in kinds) for row in found]


def numeric(numbers: Mapping[Hashable, Any], values: Sequence[Any]) -> list[Fraction]:
    """The number of each value, 0 of one that has none."""
    return [Fraction(numbers.get(value, 0)) for value in values]


def mean(selector: Selector, numbers: Sequence[Fraction]) -> list[Fraction]:
    """Of the numbers at the selected positions; 0 where there are none."""
    return [sum((numbers[j] for j in row), Fraction(0)) / max(1, len(row)) for row in selector.chosen]


def mean_with_start(selector: Selector, numbers: Sequence[Fraction]) -> list[Fraction]:
    """Likewise, where what inputs begin with counts as one more that is 0."""
    return [sum((numbers[j] for j in row), Fraction(0)) / (1 + len(row)) for row in selector.chosen]


def elementwise(function: Callable[..., Any], *columns: Sequence[Any]) -> list[Any]:
    """``function`` of the values at each position."""
    return [function(*values) for values in zip(*columns, strict=True)]


def _holds(predicate: Callable[[Any, Any], bool], key: Any, query: Any) -> bool:
    try:
        return bool(predicate(key, query))
    except TypeError:
        return False


def _one(selector: Selector, worth: Callable[[int], Any]) -> Selector:
    return Selector(selector.keys, [[max(row, key=worth)] if row else [] for row in selector.chosen])


def _worth(key: Any) -> tuple[bool, Any]:
    """None comes last."""
    return key is None, 0 if key is None else key
