"""passages: Passages, pieces cut out of texts as rules see them: where a leaf or a clause holds, and where nobody can
tell, because that depends on what stood before the cut.

What a leaf asks of the token itself is always known, and of one before it as far as that one is shown. What it asks of
the place (the word so far, the line, what is open) is read with several beginnings put before the passage: in the
middle of a word or a line, inside brackets and quotations, further on in a context. What is the same after all of
them does not depend on the beginning; the rest is left open.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int, Shaped

from physalis.corpora.characters import Piece
from physalis.explanations.language import vocabulary
from physalis.explanations.language.leaves import PLACE_KINDS, TOKEN_KINDS, Kind, Leaf
from physalis.explanations.language.rules import Clause, Rule
from physalis.explanations.language.surroundings import Surroundings

_OPEN, _QUOTES, _FURTHER = "([{", "\"'`", (1, 2, 4, 8, 16)
_DEPTH = 64
"""Brackets that are open, as many as scanning remembers: no passage closes them all."""


class Where(NamedTuple):
    """Of each token of some passages: whether something surely holds there, and whether it may."""

    surely: Bool[np.ndarray, "passages length"]
    perhaps: Bool[np.ndarray, "passages length"]
    """Wherever it surely holds, too."""

    def __and__(self, other: "Where") -> "Where":
        return Where(self.surely & other.surely, self.perhaps & other.perhaps)

    def but(self, other: "Where") -> "Where":
        """Where this holds and the other does not."""
        return Where(self.surely & ~other.perhaps, self.perhaps & ~other.surely)


class Passages:
    """Tokens that stood somewhere in a context each, nobody knows how far from its beginning."""

    def __init__(self, tokens: Int[np.ndarray, "passages length"], text: Surroundings) -> None:
        """``tokens`` are of the vocabulary of ``text``, filled up with -1 after the last."""
        self.tokens = tokens
        self._there = tokens >= 0
        self._itself = text.over(np.where(self._there, tokens, 0))
        self._same: dict[Kind, np.ndarray] = {}

    def leaf(self, leaf: Leaf) -> Where:
        """Where a leaf is true."""
        if leaf.kind in PLACE_KINDS:
            (skipped, first), *_ = self._beginnings
            holds, known = self._shaped(first.holds(leaf), skipped), self._known(leaf.kind)
            return Where(holds & known & self._there, (holds | ~known) & self._there)
        if not self._is_known(leaf):
            return Where(np.zeros_like(self._there), self._there)
        holds = self._shaped(self._itself.holds(leaf), 0) & self._there
        surely, perhaps = holds.copy(), holds.copy()
        surely[:, : leaf.back], perhaps[:, : leaf.back] = False, self._there[:, : leaf.back]
        return Where(surely, perhaps)

    def clause(self, clause: Clause) -> Where:
        """Where all of its leaves are."""
        found = Where(self._there, self._there)
        for leaf in clause.leaves:
            found = found & self.leaf(leaf)
        return found

    def decided(self, rule: Rule) -> list[Where]:
        """Of each clause, where it is the first to hold: where it says the code."""
        found, before = [], Where(np.zeros_like(self._there), np.zeros_like(self._there))
        for clause in rule.clauses:
            here = self.clause(clause)
            found.append(here.but(before))
            before = Where(before.surely | here.surely, before.perhaps | here.perhaps)
        return found

    def _is_known(self, leaf: Leaf) -> bool:
        """Whether the vocabulary can tell what the leaf names: of a part of it, some groups' names are not known."""
        if leaf.kind not in TOKEN_KINDS or leaf.kind in vocabulary.table([]):
            return True
        return leaf.value in self._itself.column(leaf.kind, leaf.back).numbers

    def _known(self, kind: Kind) -> Bool[np.ndarray, "passages length"]:
        """Where there is the same of a kind of place, whatever stood before."""
        if kind not in self._same:
            values = []
            for skipped, text in self._beginnings:
                column = text.column(kind)
                values.append(self._shaped(np.array([*column.values, None], object)[column.ids], skipped))
            self._same[kind] = np.all([each == values[0] for each in values], axis=0)
        return self._same[kind]

    def _shaped(self, each: Shaped[np.ndarray, " positions"], skipped: int) -> Shaped[np.ndarray, "passages length"]:
        return each.reshape(len(self.tokens), -1)[:, skipped:]

    @cached_property
    def _beginnings(self) -> list[tuple[int, Surroundings]]:
        """The passages after each beginning, and how many tokens that has."""
        used, here = np.unique(np.where(self._there, self.tokens, 0), return_inverse=True)
        pieces: list[Piece] = [self._itself.pieces[i] for i in used]
        found = []
        for beginning in beginnings():
            ids = np.arange(len(pieces), len(pieces) + len(beginning))
            before = np.broadcast_to(ids, (len(self.tokens), len(beginning)))
            tokens = np.hstack([before, here.reshape(self.tokens.shape)])
            found.append((len(beginning), Surroundings(tokens, [*pieces, *beginning])))
        return found


def beginnings() -> list[Sequence[Piece]]:
    """What may stand before a passage, as tokens: nothing; a word, and one that is over; empty ones, so that only the
    place is another; every quotation inside brackets of every kind."""
    open_ = ["", *(each * _DEPTH for each in _OPEN)]
    return [
        [], ["x"], ["y", " "], *([""] * n for n in _FURTHER),
        *([brackets + quote] for brackets in open_ for quote in ("", *_QUOTES)),
    ]  # fmt: skip
