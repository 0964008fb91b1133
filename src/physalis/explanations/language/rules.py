"""rules: Rule, a small program that reads text and says a feature's code on every token.

A rule is a list of clauses, of which the first that holds says the code; where none holds, it is 0. It is one line of
text, which ``Rule.parse`` reads again:

    "def" = 4.2 or like "map" and "(" before and not inside "\\"" = 1.3
"""

import re
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int

from physalis.errors import BadInput
from physalis.explanations.language.leaves import PATTERN, Leaf, leaf_of
from physalis.explanations.language.surroundings import Surroundings

_LEVEL = re.compile(r" = (?P<level>\d+(?:\.\d+)?(?:e[+-]\d+)?)")


@dataclass(frozen=True, slots=True)
class Clause:
    """Leaves that are all true, and the code that is to be expected there."""

    leaves: tuple[Leaf, ...]
    level: float
    """Mean code of the tokens that the clause is the first to hold on, those on which the feature is silent with 0:
    the constant that is off by the least squared error."""

    def __str__(self) -> str:
        return f"{' and '.join(map(str, self.leaves))} = {self.level:.3g}"


@dataclass(frozen=True, slots=True)
class Rule:
    """Clauses, of which the first that holds counts."""

    clauses: tuple[Clause, ...] = ()

    @property
    def size(self) -> int:
        """Leaves: how much there is to read, and a measure of the feature."""
        return sum(len(clause.leaves) for clause in self.clauses)

    def __str__(self) -> str:
        """One line; ``never`` where there is no clause."""
        return " or ".join(map(str, self.clauses)) or "never"

    @classmethod
    def parse(cls, line: str) -> "Rule":
        """Read what ``str`` wrote, spaces around it aside. Raises BadInput that says where it is no rule."""
        text, at, clauses, leaves = line.strip(), 0, [], []
        if text == "never":
            return cls()
        while True:
            found = PATTERN.match(text, at)
            if found is None:
                raise _no_rule(text, at, 'a leaf such as "self", lexeme "map" or kind "digits" before')
            try:
                leaves.append(leaf_of(found))
            except ValueError as error:
                raise _no_rule(text, at, str(error)) from None
            at = found.end()
            if text.startswith(" and ", at):
                at += len(" and ")
                continue
            level = _LEVEL.match(text, at)
            if level is None:
                raise _no_rule(text, at, "` and ` with another leaf, or ` = ` with a code")
            clauses.append(Clause(tuple(leaves), float(level["level"])))
            leaves, at = [], level.end()
            if at == len(text):
                return cls(tuple(clauses))
            if not text.startswith(" or ", at):
                raise _no_rule(text, at, "` or ` with another clause, or the end")
            at += len(" or ")

    def in_words(self) -> str:
        """A sentence for readers who do not know the language."""
        if not self.clauses:
            return "Nothing was found to tell where it fires."
        said = [", ".join(leaf.in_words() for leaf in clause.leaves) for clause in self.clauses]
        return f"Fires on {'; or on '.join(said)}."

    def holding(self, text: Surroundings) -> Int[np.ndarray, " positions"]:
        """The number of the first clause that holds on each position of a text, -1 where none does."""
        found = np.full(text.n, -1, np.int32)
        for number, clause in enumerate(self.clauses):
            holds = found < 0
            for leaf in clause.leaves:
                holds &= text.holds(leaf)
            found[holds] = number
        return found

    def predict(self, text: Surroundings) -> Float32[np.ndarray, " positions"]:
        """The code on each position of a text: the level of the first clause that holds, 0 where none does. A clause
        whose level is 0 silences those after it."""
        levels = np.array([*(clause.level for clause in self.clauses), 0], np.float32)
        return levels[self.holding(text)]


def _no_rule(text: str, at: int, wanted: str) -> BadInput:
    here = text[at : at + 30] + ("..." if len(text) > at + 30 else "")
    return BadInput(f"This is no rule from character {at + 1} on, {here!r}: expected {wanted}.")
