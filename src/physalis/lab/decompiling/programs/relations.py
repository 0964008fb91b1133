"""relations: Relation, which keys a query asks for: a short predicate, or a list of pairs."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from numbers import Rational
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64

from physalis.lab.decompiling.programs.columns import Array, Value, ordered

FARTHEST = 3
"""Places by which a key may stand from what a query says."""
MOST_CONSTANTS = 16
"""Values of a key, of which one may be all that is asked for."""


@dataclass(frozen=True)
class Relation:
    """``holds(key, query)``, and how it is written."""

    text: str
    length: int
    """Symbols: names and constants."""
    holds: Callable[[Any, Any], bool]

    def table(self, keys: Sequence[Value], queries: Sequence[Value]) -> Bool[Array, "queries keys"]:
        """Of which pairs it holds: of none that cannot be compared."""
        found = np.zeros((len(queries), len(keys)), bool)
        for i, query in enumerate(queries):
            for j, key in enumerate(keys):
                with suppress(TypeError):
                    found[i, j] = self.holds(key, query)
        return found


ALL = Relation("True", 1, lambda key, query: True)
_COMPARED = (
    Relation("key == query", 3, lambda key, query: key == query),
    Relation("key != query", 3, lambda key, query: key != query),
    Relation("key < query", 3, lambda key, query: key < query),
    Relation("key <= query", 3, lambda key, query: key <= query),
    Relation("key > query", 3, lambda key, query: key > query),
    Relation("key >= query", 3, lambda key, query: key >= query),
)
_SIDES = (
    Relation("key < 0", 3, lambda key, query: key < 0),
    Relation("key <= 0", 3, lambda key, query: key <= 0),
    Relation("key > 0", 3, lambda key, query: key > 0),
    Relation("key >= 0", 3, lambda key, query: key >= 0),
)


def short_relations(keys: Sequence[Value], queries: Sequence[Value]) -> Iterator[Relation]:
    """Those that can be told of some values of keys and queries, ``ALL`` not among them."""
    kinds = {_kind(value) for value in (*keys, *queries) if value is not None}
    if len(kinds) == 1:
        yield from _COMPARED
        if kinds == {"number"}:
            yield from (_away(c) for c in range(-FARTHEST, FARTHEST + 1) if c)


def constant_relations(keys: Sequence[Value]) -> Iterator[Relation]:
    """Those that ask for one value, or for all others, or for one side of 0 where there are two."""
    numbers = [key for key in keys if isinstance(key, Rational) and not isinstance(key, bool)]
    if numbers and min(numbers) < 0 < max(numbers):  # pyright: ignore[reportOperatorIssue]
        yield from _SIDES
    if len(keys) <= MOST_CONSTANTS:
        for value in keys:
            yield Relation(f"key == {written(value)}", 3, lambda key, query, value=value: key == value)
            if len(keys) > 2:
                yield Relation(f"key != {written(value)}", 3, lambda key, query, value=value: key != value)


def listed_relation(
    seen: Float64[Array, "queries keys"], keys: Sequence[Value], queries: Sequence[Value]
) -> Relation | None:
    """The pairs that are ``seen`` to belong together more often than not; None where none are."""
    wanted = {
        query: ordered(key for key, share in zip(keys, row, strict=True) if share > 0.5)
        for query, row in zip(queries, seen, strict=True)
    }
    wanted = {query: found for query, found in wanted.items() if found}
    if not wanted:
        return None
    inside = ", ".join(f"{written(query)}: {_tuple(found)}" for query, found in wanted.items())
    sets = {query: frozenset(found) for query, found in wanted.items()}
    length = 3 + sum(1 + len(found) for found in wanted.values())
    return Relation(f"key in {{{inside}}}.get(query, ())", length, lambda key, query: key in sets.get(query, ()))


def written(value: Any) -> str:
    """A value as Python text: fractions as divisions."""
    if isinstance(value, tuple):
        return _tuple([*value])
    return str(value) if isinstance(value, Rational) and not isinstance(value, bool) else repr(value)


def _tuple(values: Sequence[Value]) -> str:
    return f"({', '.join(map(written, values))}{',' if len(values) == 1 else ''})"


def _away(c: int) -> Relation:
    return Relation(
        f"key == query {'-' if c < 0 else '+'} {abs(c)}", 4, lambda key, query: query is not None and key == query + c
    )


def _kind(value: Any) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(map(_kind, value))})"
    return "number" if isinstance(value, Rational) else type(value).__name__
