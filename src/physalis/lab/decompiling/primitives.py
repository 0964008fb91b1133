"""primitives: name_of, what a variable is called that equals something usual. Names change nothing that is computed."""

from collections.abc import Callable, Collection, Sequence
from typing import Any

from physalis.lab.decompiling.programs.columns import Column, Value, column_of
from physalis.lab.decompiling.workbench import one_to_one

Seen = Sequence[str]
"""The tokens that a position sees."""


def _depth(seen: Seen) -> int:
    return sum({"(": 1, ")": -1}.get(token, 0) for token in seen)


def _after_the_last(seen: Seen, i: int) -> Value:
    return next((seen[j] for j in range(i, 0, -1) if seen[j - 1] == seen[i]), None)


def _opened_at(seen: Seen, i: int) -> Value:
    if seen[i] != ")":
        return None
    return next((j for j in range(i, -1, -1) if _depth(seen[j : i + 1]) == 0), None)


FIRST = 20
"""Inputs on which a primitive is tried before it is on all."""
PRIMITIVES: dict[str, Callable[[Seen, int], Any]] = {
    "length": lambda seen, i: len(seen),
    "previous_token": lambda seen, i: seen[i - 1] if i else None,
    "count": lambda seen, i: seen.count(seen[i]),
    "rank": lambda seen, i: sum((token, j) < (seen[i], i) for j, token in enumerate(seen)),
    "from_end": lambda seen, i: len(seen) - 1 - i,
    "token_and_position": lambda seen, i: (seen[i], i),
    "mirrored_token": lambda seen, i: seen[len(seen) - 1 - i],
    "token_of_rank": lambda seen, i: sorted(seen)[i],
    "token_after_the_last": _after_the_last,
    "next_greater_token": lambda seen, i: min((token for token in seen if token > seen[i]), default=None),
    "greatest_token": lambda seen, i: max(seen),
    "least_token": lambda seen, i: min(seen),
    "depth": lambda seen, i: _depth(seen[: i + 1]),
    "mean_step": lambda seen, i: round(_depth(seen[: i + 1]) / (i + 1), 9),
    "mean_step_and_start": lambda seen, i: round(_depth(seen[: i + 1]) / (i + 2), 9),
    "side_of_zero": lambda seen, i: (_depth(seen[: i + 1]) > 0) - (_depth(seen[: i + 1]) < 0),
    "fell_below_zero": lambda seen, i: any(_depth(seen[: j + 1]) < 0 for j in range(i + 1)),
    "opened_at": _opened_at,
}
"""What a position can be asked for, by its number ``i`` among the tokens that it sees."""


def name_of(new: Column, inputs: Sequence[Seen], *, causal: bool, taken: Collection[str]) -> str | None:
    """The first primitive that is one to one with a column over all ``inputs``; None where none is. Names that are
    ``taken`` are left out."""
    for name, primitive in PRIMITIVES.items():
        if name in taken:
            continue
        for n in (FIRST, len(inputs)):  # most are told apart by a few
            values = column_of(
                [[primitive(each[: i + 1] if causal else each, i) for i in range(len(each))] for each in inputs[:n]]
            )
            here = new.codes[:n]
            if not one_to_one(here[here >= 0], values.codes[values.exists]):
                break
        else:
            return name
    return None
