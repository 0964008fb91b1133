"""functions: Function, what is computed at a position alone, as it is written: a sum, cuts of a number, a table.

``length`` counts symbols: each name and each constant that is written.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Rational
from typing import Any, Protocol, runtime_checkable

from physalis.lab.decompiling.programs.columns import Value, ordered
from physalis.lab.decompiling.programs.relations import written


@runtime_checkable
class Function(Protocol):
    """Of the values of some variables."""

    @property
    def length(self) -> int: ...
    def __call__(self, *values: Any) -> Value: ...
    def text(self, names: Sequence[str]) -> str: ...


@dataclass(frozen=True)
class Constant:
    """The same everywhere."""

    value: Value
    length: int = 1

    def __call__(self, *values: Any) -> Value:
        return self.value

    def text(self, names: Sequence[str]) -> str:
        return written(self.value)


@dataclass(frozen=True)
class Spelled:
    """A value as a token."""

    length: int = 0

    def __call__(self, *values: Any) -> Value:
        return str(values[0])

    def text(self, names: Sequence[str]) -> str:
        return f"str({names[0]})"


@dataclass(frozen=True)
class Sum:
    """Of whole numbers, each with a sign, and of a constant; None where one of them is none."""

    signs: tuple[int, ...]
    constant: int = 0

    @property
    def length(self) -> int:
        return len(self.signs) + (self.constant != 0)

    def __call__(self, *values: Any) -> Any:
        if None in values:
            return None
        return sum(sign * int(value) for sign, value in zip(self.signs, values, strict=True)) + self.constant

    def text(self, names: Sequence[str]) -> str:
        parts = [*zip(self.signs, names, strict=True)]
        parts.sort(key=lambda part: -part[0])
        said = "".join(f" {'+' if sign > 0 else '-'} {name}" for sign, name in parts)
        if self.constant:
            said += f" {'+' if self.constant > 0 else '-'} {abs(self.constant)}"
        return f"-{said[3:]}" if said.startswith(" -") else said[3:]


@dataclass(frozen=True)
class Together:
    """The values side by side."""

    n: int

    @property
    def length(self) -> int:
        return self.n

    def __call__(self, *values: Any) -> Value:
        return values

    def text(self, names: Sequence[str]) -> str:
        return f"({', '.join(names)})"


@dataclass(frozen=True)
class Cut:
    """A place in the order of numbers: below it and above."""

    at: Rational
    belongs: bool
    """Whether ``at`` itself is above."""

    def __call__(self, value: Any) -> bool:
        return value >= self.at if self.belongs else value > self.at

    def text(self, name: str) -> str:
        return f"{name} {'>=' if self.belongs else '>'} {written(self.at)}"


@dataclass(frozen=True)
class Cuts:
    """How many cuts a number is above; or what is said there."""

    cuts: tuple[Cut, ...]
    says: tuple[Value, ...] | None = None
    """One more than cuts."""

    @property
    def length(self) -> int:
        return 2 * len(self.cuts) + len(self.says or ())

    def __call__(self, *values: Any) -> Value:
        if values[0] is None:
            return None
        n = sum(cut(values[0]) for cut in self.cuts)
        return n if self.says is None else self.says[n]

    def text(self, names: Sequence[str]) -> str:
        n = " + ".join(f"({cut.text(names[0])})" for cut in self.cuts)
        return n if self.says is None else f"{written(self.says)}[{n}]"


@dataclass(frozen=True)
class Lookup:
    """A table of some combinations, and what holds of all others."""

    table: Mapping[tuple[Value, ...], Value]
    default: Value

    @property
    def length(self) -> int:
        return 1 + sum(len(key) + 1 for key in self.table)

    def __call__(self, *values: Any) -> Value:
        return self.table.get(values, self.default)

    def text(self, names: Sequence[str]) -> str:
        one = len(names) == 1
        entries = [(key, self.table[key]) for key in ordered(self.table)]
        inside = ", ".join(f"{written(key[0] if one else key)}: {written(value)}" for key, value in entries)
        asked = names[0] if one else f"({', '.join(names)})"
        return f"{{{inside}}}.get({asked}, {written(self.default)})"

    def relabelled(self, inputs: Sequence[Mapping[Value, Value]], output: Mapping[Value, Value]) -> "Lookup":
        """The same with other values in the place of those that it reads and makes, those that no map has staying."""
        table = {
            tuple(change.get(value, value) for change, value in zip(inputs, key, strict=True)): output.get(made, made)
            for key, made in self.table.items()
        }
        return replace(self, table=table, default=output.get(self.default, self.default))


@dataclass(frozen=True)
class Switch:
    """The last of its variables says which of the others is meant, by its number, or what is said instead."""

    cases: Mapping[Value, int | Constant]
    otherwise: int | Constant

    @property
    def length(self) -> int:
        return 2 * len(self.cases) + 1

    def __call__(self, *values: Any) -> Value:
        case = self.cases.get(values[-1], self.otherwise)
        return str(values[case]) if isinstance(case, int) else case.value

    def text(self, names: Sequence[str]) -> str:
        def said(case: int | Constant) -> str:
            return f"str({names[case]})" if isinstance(case, int) else case.text(names)

        inside = ", ".join(f"{written(value)}: {said(case)}" for value, case in self.cases.items())
        return f"{{{inside}}}.get({names[-1]}, {said(self.otherwise)})"
