"""holding: where the parts of a rule hold in the examples of its feature: /api/rules/12/holds.

An example is a piece of a context, cut out: what a part asks of text that stood before is left open (see
``explanations.language.passages``). Asked for when a reader first points at a rule: its page does not wait for it.
"""

import threading
from functools import lru_cache

import numpy as np

from physalis.atlas import Atlas
from physalis.atlas.records import Record
from physalis.errors import BadInput
from physalis.explanations.explained import Explanations
from physalis.explanations.language.passages import Passages, Where
from physalis.explanations.language.surroundings import Surroundings

KEPT = 256
"""Features whose answer is kept."""


class Lit(Record):
    """Tokens of examples: ``surely[group][example]`` are places in its ``tokens``."""

    surely: list[list[list[int]]]
    perhaps: list[list[list[int]]]
    """Where it depends on text before the example."""


class LitClause(Record):
    """Where a clause and its leaves hold."""

    decides: Lit
    """Where all of its leaves hold, and no clause before: there it says the activation."""
    leaves: list[Lit]


class Holds(Record):
    """Where the parts of a feature's rule hold in its examples."""

    feature: int
    clauses: list[LitClause]


class Holding:
    """Runs the rules of some explanations on the examples of an atlas. Safe to share between threads."""

    def __init__(self, found: Explanations, atlas: Atlas) -> None:
        self._found, self._atlas = found, atlas
        self._lock = threading.Lock()
        self._text: Surroundings | None = None
        self.of = lru_cache(KEPT)(self._of)

    def _of(self, feature: int) -> Holds:
        """Of a feature that was explained. Raises BadInput where its rule cannot be read."""
        rule, shown = self._found[feature].program, self._atlas.shown(feature)
        passages = Passages(shown.tokens, self._vocabulary())

        def lit(where: Where) -> Lit:
            sizes = np.bincount([group for group, _ in shown.place], minlength=shown.n_groups).tolist()
            surely, perhaps = ([[[] for _ in range(size)] for size in sizes] for _ in range(2))
            for row, (group, example) in enumerate(shown.place):
                surely[group][example] = np.flatnonzero(where.surely[row]).tolist()
                perhaps[group][example] = np.flatnonzero(where.perhaps[row] & ~where.surely[row]).tolist()
            return Lit(surely=surely, perhaps=perhaps)

        decided = zip(rule.clauses, passages.decided(rule), strict=True)
        return Holds(
            feature=feature,
            clauses=[
                LitClause(decides=lit(where), leaves=[lit(passages.leaf(leaf)) for leaf in clause.leaves])
                for clause, where in decided
            ],
        )

    def _vocabulary(self) -> Surroundings:
        """The rules' own, or, of explanations that kept none, as much of it as the atlas mentions. Its tables take half
        a second for 50,000 tokens, and are made once."""
        with self._lock:
            if self._text is None:
                try:
                    kept = self._found.vocabulary
                    pieces, fields = self._atlas.pieces() if kept is None else kept, self._found.fields
                except (OSError, ValueError) as error:
                    raise BadInput(f"{self._found.folder} cannot be read as a whole: {error}") from error
                missing = [""] * (fields.groups.shape[1] - len(pieces))
                self._text = Surroundings(np.zeros((1, 1), np.int64), [*pieces, *missing], fields)
            return self._text
