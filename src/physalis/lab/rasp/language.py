"""language: a small RASP: sequences as values, and an interpreter that says what a program answers.

A program is a sequence operator (s-op) made of others, down to ``tokens`` and ``indices`` (Weiss, Goldberg and Yahav
2021, arXiv 2106.06981). It has one value at each position of an input.

1. ``elementwise`` and ``numeric`` compute at each position alone.
2. ``select`` says which positions each position looks at, by a predicate of a key there and a query here;
   ``latest`` keeps the last of them. Where a program is causal, no position sees a later one.
3. ``aggregate`` carries a category from there, or the mean of numbers; ``selector_width`` counts what is selected.

Categories are any hashable values; numbers are exact fractions, and a program that compares them compares exactly.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from numbers import Rational

from physalis.errors import BadInput

Value = Hashable
Predicate = Callable[..., bool]
"""Of a key and a query."""


@dataclass(frozen=True, eq=False, kw_only=True)
class SOp:
    """A value at each position. Each is itself alone: two that compute the same are computed twice."""

    name: str
    """What the compiled model's variable is called; the second of one name gets a number."""

    @property
    def reads(self) -> "tuple[SOp, ...]":
        """What it is computed from."""
        return ()

    @property
    def is_numeric(self) -> bool:
        return False


@dataclass(frozen=True, eq=False, kw_only=True)
class Tokens(SOp):
    """The input."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Indices(SOp):
    """0 at the first token, 1 at the second, and so on."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Elementwise(SOp):
    """A category computed from values at the same position."""

    fn: Callable[..., Value]
    of: tuple[SOp, ...]

    @property
    def reads(self) -> tuple[SOp, ...]:
        return self.of


@dataclass(frozen=True, eq=False, kw_only=True)
class Numeric(Elementwise):
    """Likewise, a number."""

    @property
    def is_numeric(self) -> bool:
        return True


@dataclass(frozen=True, eq=False, kw_only=True)
class Selector:
    """Which positions each position looks at: those whose key the predicate holds of, with the query here."""

    keys: SOp
    queries: SOp
    predicate: Predicate
    last: bool = False
    """Whether only the last of them is kept."""

    def chosen(self, keys: Sequence[Value], query: Value) -> list[int]:
        """Positions of those of ``keys`` that are selected."""
        found = [j for j, key in enumerate(keys) if self.predicate(key, query)]
        return found[-1:] if self.last else found


@dataclass(frozen=True, eq=False, kw_only=True)
class Aggregate(SOp):
    """What stands at the positions that are selected: their one category, or the mean of their numbers."""

    selector: Selector
    of: SOp
    default: Value
    """Where nothing is selected."""

    @property
    def reads(self) -> tuple[SOp, ...]:
        places = (indices,) if self.selector.last else ()
        return self.selector.queries, self.selector.keys, *places, self.of

    @property
    def is_numeric(self) -> bool:
        return self.of.is_numeric


@dataclass(frozen=True, eq=False, kw_only=True)
class Share(SOp):
    """1 / (1 + w) where w positions are selected: what one place gets that all attend to beside them."""

    selector: Selector

    @property
    def reads(self) -> tuple[SOp, ...]:
        return self.selector.queries, self.selector.keys

    @property
    def is_numeric(self) -> bool:
        return True


tokens = Tokens(name="tokens")
indices = Indices(name="indices")


def elementwise(fn: Callable[..., Value], *of: SOp, name: str = "elementwise") -> Elementwise:
    """The category ``fn(values of each)`` at each position. Of a number it takes one alone. Raises BadInput for
    nothing to read, and for a number among several."""
    return Elementwise(name=name, fn=fn, of=_readable(of, name))


def numeric(fn: Callable[..., Value], *of: SOp, name: str = "numeric") -> Numeric:
    """Likewise, a number: to take a mean of, or to compare. Integers, fractions and floats are taken as they are."""
    return Numeric(name=name, fn=fn, of=_readable(of, name))


def select(keys: SOp, queries: SOp, predicate: Predicate) -> Selector:
    """The positions whose key ``predicate(key, query)`` holds of. Raises BadInput for numbers."""
    for each in (keys, queries):
        if each.is_numeric:
            raise BadInput(
                f"A selector compares categories, and {each.name!r} is a number. Make categories of it with "
                "elementwise first."
            )
    return Selector(keys=keys, queries=queries, predicate=predicate)


def latest(selector: Selector) -> Selector:
    """Of the positions that a selector selects, the last."""
    return replace(selector, last=True)


def aggregate(selector: Selector, of: SOp, *, default: Value = None, name: str = "aggregate") -> Aggregate:
    """What ``of`` is at the selected positions, and ``default`` where there are none: of numbers their mean (and 0
    where no default is given). Of categories it is defined where all that are selected have one. Raises BadInput for
    a default that is no number, of numbers."""
    if of.is_numeric:
        default = number(0 if default is None else default, name)
    return Aggregate(name=name, selector=selector, of=of, default=default)


def selector_width(selector: Selector, *, name: str = "width") -> Elementwise:
    """How many positions are selected. Raises BadInput for one that keeps only the last."""
    if selector.last:
        raise BadInput(
            "A width counts all that is selected; this selector keeps only the last. Count it before latest."
        )
    share = Share(name=f"share of {name}", selector=selector)
    return elementwise(lambda x: int(1 / x) - 1, share, name=name)


def number(value: Value, name: str) -> Fraction:
    """``value`` as an exact number. Raises BadInput if it is none; ``name`` says whose."""
    if isinstance(value, Rational | float) and value == value and abs(value) != float("inf"):
        return Fraction(value)
    raise BadInput(f"{name!r} is numeric, and {value!r} is no number. Return one, or compute it with elementwise.")


def evaluate(program: SOp, tokens: Sequence[str], *, causal: bool = True) -> tuple[Value, ...]:
    """What a program answers at each position of an input: the truth that a compiled model is held against.

    Raises BadInput where an aggregate selects positions of several categories."""
    return _Reading(tokens, causal).of(program)


class _Reading:
    """The values of s-ops over one input, each computed once."""

    def __init__(self, tokens: Sequence[str], causal: bool) -> None:
        self.tokens, self.causal = tuple(tokens), causal
        self._known: dict[SOp, tuple[Value, ...]] = {}

    def of(self, sop: SOp) -> tuple[Value, ...]:
        if sop not in self._known:
            self._known[sop] = self._computed(sop)
        return self._known[sop]

    def _computed(self, sop: SOp) -> tuple[Value, ...]:
        match sop:
            case Tokens():
                return self.tokens
            case Indices():
                return tuple(range(len(self.tokens)))
            case Elementwise():
                values = [sop.fn(*each) for each in zip(*map(self.of, sop.of), strict=True)]
                return tuple(number(each, sop.name) for each in values) if sop.is_numeric else tuple(values)
            case Share():
                return tuple(Fraction(1, 1 + len(each)) for each in self._selected(sop.selector))
            case Aggregate():
                of = self.of(sop.of)
                return tuple(_gathered(sop, [of[j] for j in each]) for each in self._selected(sop.selector))
        raise AssertionError(sop)

    def _selected(self, selector: Selector) -> list[list[int]]:
        keys, queries = self.of(selector.keys), self.of(selector.queries)
        return [selector.chosen(keys[: i + 1] if self.causal else keys, query) for i, query in enumerate(queries)]


def _gathered(sop: Aggregate, values: list[Value]) -> Value:
    if not values:
        return sop.default
    if sop.is_numeric:
        return sum((number(each, sop.name) for each in values), Fraction(0)) / len(values)
    if len(set(values)) > 1:
        raise BadInput(
            f"{sop.name!r} selects positions of several categories, {sorted(set(values), key=repr)}. Narrow its "
            "selector (latest keeps one position), or give it numbers to take the mean of."
        )
    return values[0]


def _readable(of: tuple[SOp, ...], name: str) -> tuple[SOp, ...]:
    numbers = [each.name for each in of if each.is_numeric]
    if not of or len(of) > 1 and numbers:
        raise BadInput(
            f"{name!r} reads {[each.name for each in of]}: it takes one s-op or more, and a number only alone"
            f"{f'; {numbers[0]!r} is one. Make categories of it with elementwise first.' if numbers else '.'}"
        )
    return of
