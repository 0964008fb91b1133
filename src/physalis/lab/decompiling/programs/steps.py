"""steps: Attend and Apply, the steps of a program that was read from a model: what a head does, and what an MLP does.

Each computes a column from earlier ones, and knows how it is written. The functions that the text names are those of
``prelude``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import lcm
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float64

from physalis.lab.decompiling.programs.columns import Array, Column, Value, column, joint
from physalis.lab.decompiling.programs.functions import Function
from physalis.lab.decompiling.programs.relations import Relation, written

Choice = Literal["all", "latest", "earliest", "least", "greatest"]
"""Of the positions that a relation allows: all of them, or the one that is latest or has the least key, and so on."""
Carries = Literal["value", "width", "exists", "mean", "counts"]
"""What comes of it: what stands there, how many there are, whether there is one, a mean of numbers, or how many of each
value."""


@dataclass(frozen=True)
class Selection:
    """Which positions a head looks at."""

    keys: str
    queries: str
    relation: Relation
    choice: Choice
    with_start: bool
    """Whether it looks at what inputs begin with as at all that is selected, and not only where nothing is."""

    @property
    def length(self) -> int:
        return 3 + self.relation.length + 2 * (self.choice != "all")

    def chosen(
        self, columns: Mapping[str, Column], visible: Bool[Array, "inputs tokens tokens"]
    ) -> Bool[Array, "inputs tokens tokens"]:
        """From each position (row) to others, of those that are ``visible``."""
        keys, queries = columns[self.keys], columns[self.queries]
        table = self.relation.table(keys.values, queries.values)
        found = visible & table[queries.codes[:, :, None], keys.codes[:, None, :]]
        if self.choice == "all":
            return found
        places = np.arange(found.shape[-1])[None]
        # values stand in their order, and of equal ones the latest is taken
        rank = {
            "latest": places, "earliest": -places, "least": places - len(places[0]) * keys.codes,
            "greatest": places + len(places[0]) * keys.codes,
        }[self.choice]  # fmt: skip
        worth = np.where(found, rank[:, None, :], np.iinfo(np.int64).min)
        return found & (np.arange(found.shape[-1]) == worth.argmax(-1)[..., None])

    def pattern(self, chosen: Bool[Array, "inputs tokens tokens"]) -> Float64[Array, "inputs tokens places"]:
        """The attention that is meant: even over what is chosen; first the share of what inputs begin with."""
        n = chosen.sum(-1, keepdims=True)
        start = np.ones_like(n) if self.with_start else n == 0
        together = np.concatenate([start, chosen], -1)
        return together / together.sum(-1, keepdims=True)

    def text(self, causal: bool) -> str:
        select = "select_past" if causal else "select"
        made = f"{select}({self.keys}, {self.queries}, lambda key, query: {self.relation.text})"
        return made if self.choice == "all" else f"{self.choice}({made})"


@dataclass(frozen=True)
class Attend:
    """What a head does."""

    name: str
    component: str
    selection: Selection
    carries: Carries
    of: str | None
    """The variable that is carried, None of a width."""
    numbers: Mapping[Value, Fraction] = field(default_factory=dict)
    """Of a mean what each value counts; of counts which values are counted, in their order."""

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.selection.keys, self.selection.queries, *([] if self.of is None else [self.of]))

    @property
    def length(self) -> int:
        return 1 + self.selection.length + (self.of is not None) + 2 * len(self.numbers)

    def column(self, columns: Mapping[str, Column], visible: Bool[Array, "inputs tokens tokens"]) -> Column:
        """What it is at each position."""
        chosen = self.selection.chosen(columns, visible)
        n = chosen.sum(-1)
        exists = columns[self.selection.queries].exists
        if self.of is None:
            raw = n if self.carries == "width" else n > 0
            values = [*range(n.max() + 1)] if self.carries == "width" else [False, True]
            return column(values, np.where(exists, raw, -1).astype(np.int64))
        of = columns[self.of]
        counts = np.stack([(chosen & (of.codes == i)[:, None, :]).sum(-1) for i in range(len(of.values))], -1)
        if self.carries == "value":
            codes = np.where(n > 0, counts.argmax(-1), len(of.values))
            return column([*of.values, None], np.where(exists, codes, -1))
        return self._counted(counts, n + self.selection.with_start, exists, of.values)

    def _counted(self, counts: Array, among: Array, exists: Array, values: tuple[Value, ...]) -> Column:
        if self.carries == "counts":
            made = np.zeros((int(exists.sum()), len(self.numbers)), np.int64)
            for i, value in enumerate(self.numbers):
                if value in values:
                    made[:, i] = counts[exists][:, values.index(value)]
        else:
            numbers = [self.numbers.get(value, Fraction(0)) for value in values]
            whole = lcm(*(number.denominator for number in numbers))  # sums of whole numbers are exact and quick
            sums = (counts @ np.array([int(number * whole) for number in numbers]))[exists]
            over = np.maximum(1, among)[exists] * whole
            made = np.stack([sums, over], -1) // np.gcd(sums, over)[:, None]
        rows, which = np.unique(made, axis=0, return_inverse=True)
        codes = np.full(exists.shape, -1)
        codes[exists] = which.ravel()
        if self.carries == "counts":
            return Column(tuple(map(tuple, rows.tolist())), codes)
        return column([_plain(Fraction(*row)) for row in rows.tolist()], codes)

    def text(self, causal: bool) -> str:
        selected = self.selection.text(causal)
        match self.carries:
            case "value":
                return f"aggregate({selected}, {self.of})"
            case "width":
                return f"selector_width({selected})"
            case "exists":
                return f"exists({selected})"
            case "counts":
                return f"counts({selected}, {written(tuple(self.numbers))}, {self.of})"
        numbers = ", ".join(f"{written(value)}: {written(_plain(n))}" for value, n in self.numbers.items())
        what = "mean_with_start" if self.selection.with_start else "mean"
        return f"{what}({selected}, numeric({{{numbers}}}, {self.of}))"

    def renamed(self, names: Mapping[str, str]) -> "Attend":
        """With other names of variables."""
        selection = replace(self.selection, keys=names[self.selection.keys], queries=names[self.selection.queries])
        of = None if self.of is None else names[self.of]
        return replace(self, name=names[self.name], selection=selection, of=of)


@dataclass(frozen=True)
class Apply:
    """What an MLP does: a function of variables at the same position."""

    name: str
    component: str
    function: Function
    of: tuple[str, ...]

    @property
    def reads(self) -> tuple[str, ...]:
        return self.of

    @property
    def length(self) -> int:
        return 1 + len(self.of) + self.function.length

    def column(self, columns: Mapping[str, Column], visible: Any = None) -> Column:
        """What it is at each position."""
        together = joint([columns[name] for name in self.of])
        return column([self.function(*values) for values in together.values], together.codes)

    def text(self, causal: bool) -> str:
        inside = self.function.text(self.of)
        return f"elementwise(lambda {', '.join(self.of)}: {inside}, {', '.join(self.of)})"

    def renamed(self, names: Mapping[str, str]) -> "Apply":
        """With other names of variables."""
        return replace(self, name=names[self.name], of=tuple(names[each] for each in self.of))


Step = Attend | Apply


def _plain(x: Fraction) -> int | Fraction:
    return int(x) if x.denominator == 1 else x
