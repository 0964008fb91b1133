"""fitting: fit_function, the shortest function that says what an MLP writes, or what the model answers.

``Observed`` is what it has to say: of each combination of values of some variables, what was seen with it.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import product
from numbers import Rational
from typing import Any, NamedTuple

from physalis.lab.decompiling.programs.columns import Value
from physalis.lab.decompiling.programs.functions import (
    Constant,
    Cut,
    Cuts,
    Function,
    Lookup,
    Spelled,
    Sum,
    Switch,
    Together,
)

Observed = Mapping[tuple[Value, ...], Value]
LARGEST_SUM = 12
"""The largest constant of a sum."""


class Fitted(NamedTuple):
    """A function, and the new names that it asks for values of its variables that had none of their own."""

    function: Function
    labels: dict[int, dict[Value, Value]]
    """By the number of the variable."""


def fit_symbols(observed: Observed) -> Function:
    """The shortest function whose values are one to one with the symbols of ``observed``: they have no names yet."""
    fitting = [each for each in _of_symbols(observed) if _is_one_to_one(each, observed)]
    return min([*fitting, _table(observed)], key=lambda each: (each.length, abs(getattr(each, "constant", 0))))


def fit_answers(observed: Observed, free: Sequence[bool]) -> Fitted:
    """The shortest function whose values are those of ``observed``, texts. ``free`` says of each variable whether its
    values have no names yet: they may be given some."""
    found = [
        Fitted(each, {})
        for each in (_table(observed), *_spelled(observed))
        if all(each(*values) == said for values, said in observed.items())
    ]
    found += [*_switches(observed, free)]
    return min(found, key=lambda each: each.function.length)


def _of_symbols(observed: Observed) -> Iterator[Function]:
    n = len(next(iter(observed)))
    domains = [{values[i] for values in observed} for i in range(n)]
    if n > 1:
        yield Together(n)
        if all(_is_whole(domain) for domain in domains):
            for signs in product((1, -1), repeat=n):
                if signs[0] == 1 or signs.count(1) == 1:
                    least = min((Sum(signs)(*values) for values in observed if None not in values), default=0)
                    yield Sum(signs, -least)
    elif (cuts := _cuts(observed)) is not None:
        yield Cuts(tuple(cut for cut, _ in cuts[1:]))


def _spelled(observed: Observed) -> Iterator[Function]:
    n = len(next(iter(observed)))
    if n == 1:
        if (cuts := _cuts(observed)) is not None:
            yield Cuts(tuple(cut for cut, _ in cuts[1:]), tuple(said for _, said in cuts))


def _is_one_to_one(function: Function, observed: Observed) -> bool:
    there: dict[Value, Value] = {}
    back: dict[Value, Value] = {}
    made = [(function(*values), said) for values, said in observed.items()]
    return all(there.setdefault(new, said) == said and back.setdefault(said, new) == new for new, said in made)


def _is_whole(domain: set[Value]) -> bool:
    return all(value is None or isinstance(value, int) for value in domain)


def _cuts(observed: Observed) -> list[tuple[Any, Value]] | None:
    """Where, along the numbers that come, something else is said, and what; the first has no cut before it. None where
    they are no numbers."""
    if not all(isinstance(value, Rational) for (value,) in observed):
        return None
    numbers = sorted(value for (value,) in observed)  # pyright: ignore
    found: list[tuple[Any, Value]] = [(None, observed[(numbers[0],)])]
    for low, high in zip(numbers, numbers[1:], strict=False):
        if (said := observed[(high,)]) != observed[(low,)]:
            simple = min((low, high), key=lambda x: (Fraction(x).denominator, abs(x)))
            found.append((Cut(simple, simple == high), said))
    return found if len(found) <= len(numbers) // 2 + 1 else None


def _table(observed: Observed) -> Function:
    default = Counter(observed.values()).most_common(1)[0][0]
    table = {values: said for values, said in observed.items() if said != default}
    return Lookup(table, default) if table else Constant(default)


def _switches(observed: Observed, free: Sequence[bool]) -> Iterator[Fitted]:
    """By each variable, that is put last: callers give them in that order."""
    n = len(next(iter(observed)))
    labels: dict[int, dict[Value, Value]] = {}
    if n == 1:
        if _copies(observed, 0, free[0], labels):
            yield Fitted(Spelled(), labels)
        return
    by_case: dict[Value, dict[tuple[Value, ...], Value]] = {}
    for values, said in observed.items():
        by_case.setdefault(values[-1], {})[values[:-1]] = said
    cases: dict[Value, int | Constant] = {}
    for value, rows in by_case.items():
        if len(set(rows.values())) == 1:
            cases[value] = Constant(next(iter(rows.values())))
            continue
        which = next((i for i in range(n - 1) if _copies(rows, i, free[i], labels)), None)
        if which is None:
            return
        cases[value] = which
    otherwise = Counter(cases.values()).most_common(1)[0][0]
    if len({*cases.values()}) > 1:
        yield Fitted(Switch({value: case for value, case in cases.items() if case != otherwise}, otherwise), labels)


def _copies(rows: Mapping[tuple[Value, ...], Value], i: int, free: bool, labels: dict[int, dict[Value, Value]]) -> bool:
    """Whether the i-th value is what is said, or can be called so."""
    if all(str(values[i]) == said for values, said in rows.items()):
        return True
    if not free:
        return False
    names = dict(labels.get(i, {}))
    for values, said in rows.items():
        if values[i] is None and said == "None":
            continue
        if values[i] is None or names.setdefault(values[i], said) != said:
            return False
    if len(set(names.values())) < len(names):
        return False
    labels[i] = names
    return True
