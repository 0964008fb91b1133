"""domains: Domains, the values that each s-op of a program can have, over a vocabulary and a longest input."""

from collections.abc import Sequence
from fractions import Fraction
from itertools import product
from math import prod

from physalis.errors import BadInput
from physalis.lab.rasp.language import Aggregate, Elementwise, Indices, Share, SOp, Tokens, Value, number

MOST = 4096
"""Values, or combinations of values, that a program may have at one place: each is a coordinate or a neuron."""


class Domains:
    """Values by s-op, inferred from what it is computed from: some of them may never come."""

    def __init__(self, vocabulary: Sequence[str], context: int) -> None:
        """``context`` is the longest input, in tokens."""
        self.vocabulary, self.context = tuple(vocabulary), context
        self._known: dict[SOp, tuple[Value, ...]] = {}

    def of(self, sop: SOp) -> tuple[Value, ...]:
        """In an order that depends on nothing but the program; numbers grow. Raises BadInput for more than ``MOST``,
        and for a function that one of them ends in an error."""
        if sop not in self._known:
            found = tuple(dict.fromkeys(self._inferred(sop)))
            self._small(sop, len(found))
            self._known[sop] = tuple(sorted(found)) if sop.is_numeric else found  # pyright: ignore[reportArgumentType]
        return self._known[sop]

    def table(self, sop: Elementwise) -> dict[tuple[Value, ...], Value]:
        """What it makes of each combination of values. Raises BadInput likewise."""
        domains = [self.of(each) for each in sop.of]
        self._small(sop, prod(map(len, domains)))
        return {values: _applied(sop, values) for values in product(*domains)}

    def _inferred(self, sop: SOp) -> Sequence[Value]:
        match sop:
            case Tokens():
                return self.vocabulary
            case Indices():
                return range(self.context)
            case Elementwise():
                return list(self.table(sop).values())
            case Share():
                return [Fraction(1, 1 + width) for width in range(self.context + 1)]
            case Aggregate():
                return [*self.of(sop.of), sop.default] if self._carries(sop) else self._means(sop)
        raise AssertionError(sop)

    def _carries(self, sop: Aggregate) -> bool:
        return not sop.is_numeric or sop.selector.last

    def _means(self, sop: Aggregate) -> list[Value]:
        values = [number(each, sop.name) for each in self.of(sop.of)]
        sums, means = {Fraction(0)}, {number(sop.default, sop.name)}
        for n in range(1, self.context + 1):
            sums = {total + each for total in sums for each in values}
            means |= {total / n for total in sums}
            self._small(sop, max(len(means), len(sums)))
        return [*means]

    def _small(self, sop: SOp, n: int) -> None:
        if n > MOST:
            raise BadInput(
                f"{sop.name!r} has {n:,} values or combinations of them, and a compiled model has at most {MOST:,}. "
                f"Take fewer tokens than {len(self.vocabulary)}, a context below {self.context}, or let a function "
                "before it tell fewer values apart."
            )


def _applied(sop: Elementwise, values: tuple[Value, ...]) -> Value:
    try:
        value = sop.fn(*values)
        hash(value)
    except Exception as error:  # a function is its author's, and may raise what it likes
        raise BadInput(
            f"The function of {sop.name!r} ends in {type(error).__name__} ({error}) on {values}. It has to answer "
            "every combination of values of what it reads, also those that never come: return None there."
        ) from error
    return number(value, sop.name) if sop.is_numeric else value
