"""columns: Column, a variable of a program over many inputs: one of some values at each token."""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from jaxtyping import Bool, Int64

Value = Hashable
Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Column:
    """Inputs are filled up to the length of the longest."""

    values: tuple[Any, ...]
    """Those that come, in their order where they have one."""
    codes: Int64[Array, "inputs tokens"]
    """Which of them stands there; -1 after an input's end."""

    @property
    def exists(self) -> Bool[Array, "inputs tokens"]:
        return self.codes >= 0

    def rows(self) -> list[tuple[Value, ...]]:
        """The values, input by input."""
        return [tuple(self.values[code] for code in row if code >= 0) for row in self.codes.tolist()]


def column(values: Sequence[Value], codes: Int64[Array, "inputs tokens"]) -> Column:
    """One whose ``values`` may come twice, or not at all."""
    used = sorted({*np.unique(codes).tolist()} - {-1})
    distinct = ordered({values[code] for code in used})
    place = {value: i for i, value in enumerate(distinct)}
    new = np.full(len(values) + 1, -1)  # the last is that of -1
    for code in used:
        new[code] = place[values[code]]
    return Column(distinct, new[codes])


def column_of(rows: Sequence[Sequence[Value]]) -> Column:
    """One of values as they stand, input by input."""
    values = ordered({value for row in rows for value in row})
    place = {value: i for i, value in enumerate(values)}
    codes = np.full((len(rows), max(map(len, rows), default=0)), -1)
    for i, row in enumerate(rows):
        codes[i, : len(row)] = [place[value] for value in row]
    return Column(values, codes)


def joint(columns: Sequence[Column]) -> Column:
    """Of several columns, one whose values are tuples: those combinations that come."""
    exists = columns[0].exists
    sizes = [max(1, len(each.values)) for each in columns]
    numbers = np.zeros(int(exists.sum()), np.int64)
    if prod(sizes) < np.iinfo(np.int64).max:  # each combination is a number: one column is sorted quicker than several
        for each, size in zip(columns, sizes, strict=True):
            numbers = numbers * size + each.codes[exists]
        used, which = np.unique(numbers, return_inverse=True)
        combinations = np.stack(np.unravel_index(used, sizes), -1)
    else:
        stacked = np.stack([each.codes[exists] for each in columns], -1)
        combinations, which = np.unique(stacked, axis=0, return_inverse=True)
    codes = np.full(exists.shape, -1)
    codes[exists] = which.ravel()
    values = [tuple(each.values[i] for each, i in zip(columns, row, strict=True)) for row in combinations.tolist()]
    return Column(tuple(values), codes)


def ordered(values: Iterable[Value]) -> tuple[Any, ...]:
    """In their own order, numbers and texts apart and None at the end."""
    return tuple(sorted(values, key=lambda value: (value is None, type(value).__name__ == "str", _key(value))))


def _key(value: Any) -> Any:
    return () if value is None else (value,) if not isinstance(value, tuple) else tuple(map(_of_part, value))


def _of_part(value: Any) -> Any:
    return (value is None, isinstance(value, str), 0 if value is None else value)
