"""surroundings: Surroundings, a text as rules see it: of every position what stands there, before and around it.

Each thing that a leaf can ask is a column of numbers, one a position, so that a leaf is one comparison and learning is
counting. Columns reach back to the beginning of the context, which is all that the model saw.
"""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Int

from physalis.corpora.characters import Piece
from physalis.explanations.language import vocabulary
from physalis.explanations.language.fields import Fields
from physalis.explanations.language.leaves import FARTHEST, PLACE_KINDS, TOKEN_KINDS, Kind, Leaf
from physalis.explanations.language.scanning import scan

NOTHING = -1
"""In a column: there is nothing of the kind here."""


class Column:
    """What one kind of leaf asks, ``back`` positions before: a number at each position, and what each is called."""

    def __init__(self, kind: Kind, back: int, ids: Int[np.ndarray, " positions"], values: Sequence[str]) -> None:
        self.kind: Kind = kind
        self.back, self.ids, self.values = back, ids, values

    def leaf(self, id: int, negated: bool = False) -> Leaf:
        """What it is to have this number."""
        return Leaf(self.kind, self.values[id], self.back, negated)

    @cached_property
    def numbers(self) -> dict[str, int]:
        return {value: number for number, value in enumerate(self.values)}


class Surroundings:
    """Contexts of tokens, and all that rules ask of them."""

    def __init__(
        self, tokens: Int[np.ndarray, "contexts length"], pieces: Sequence[Piece], fields: Fields | None = None
    ) -> None:
        """``pieces`` are the vocabulary's, of every id in ``tokens``. Without ``fields``
        no leaf of them is ever true."""
        self.tokens = np.ascontiguousarray(tokens, dtype=np.int64)
        self.pieces, self.fields = pieces, fields
        self._made: dict[tuple[Kind, int], Column] = {}

    def over(self, tokens: Int[np.ndarray, "contexts length"]) -> "Surroundings":
        """Other contexts of the same vocabulary, whose tables are not made again."""
        made = Surroundings(tokens, self.pieces, self.fields)
        made._vocabulary = self._vocabulary
        return made

    @property
    def n(self) -> int:
        """Positions, all contexts together: ``context_index * length + position``, as in a recording."""
        return self.tokens.size

    @cached_property
    def columns(self) -> list[Column]:
        """All of them, those of the token itself first."""
        found = [self.column(kind, back) for back in range(FARTHEST + 1) for kind in TOKEN_KINDS]
        return [*found, *map(self.column, PLACE_KINDS)]

    def holds(self, leaf: Leaf) -> Bool[np.ndarray, " positions"]:
        """Where a leaf is true."""
        column = self.column(leaf.kind, leaf.back)
        true = column.ids == column.numbers.get(leaf.value, NOTHING - 1)
        return ~true if leaf.negated else true

    def column(self, kind: Kind, back: int = 0) -> Column:
        """What one kind of leaf asks; made when it is first asked for."""
        if (kind, back) not in self._made:
            places = kind in PLACE_KINDS
            self._made[kind, back] = self._of_places(kind) if places else self._of_tokens(kind, back)
        return self._made[kind, back]

    @cached_property
    def _vocabulary(self) -> dict[str, tuple[np.ndarray, list[str]]]:
        """Of each kind the number of every token of the vocabulary, and what the numbers are called."""
        found = {}
        for kind, named in vocabulary.table(self.pieces).items():
            values = sorted(set(named) - {""})
            numbers = {value: number for number, value in enumerate(values)}
            found[kind] = np.array([numbers.get(each, NOTHING) for each in named], np.int32), values
        for kind in TOKEN_KINDS[len(found) :]:
            nothing = np.full(len(self.pieces), NOTHING, np.int32)
            found[kind] = (nothing, []) if self.fields is None else self.fields.numbers(kind, self.pieces)
        return found

    def _of_tokens(self, kind: Kind, back: int) -> Column:
        of, values = self._vocabulary[kind]
        ids = np.full(self.tokens.shape, NOTHING, np.int32)
        ids[:, back:] = of[self.tokens[:, : max(0, self.tokens.shape[1] - back)]]
        return Column(kind, back, ids.ravel(), values)

    def _of_places(self, kind: Kind) -> Column:
        ids, values = self._scanned[kind]
        return Column(kind, 0, ids, values)

    @cached_property
    def _scanned(self) -> dict[Kind, tuple[np.ndarray, list[str]]]:
        return scan(self.tokens, vocabulary.table(self.pieces)["symbol"])
