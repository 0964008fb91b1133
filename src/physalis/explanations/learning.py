"""learning: from where a feature fires to the rule that says so, by counting.

Clauses are added one at a time to what the rule does not yet fire on: the leaf, alone or with others, whose F1 gains
most for its price (separate and conquer: Fürnkranz 1999). All silent tokens are negatives, so the same token where the
feature is silent is among them. A clause that later ones made needless is taken back (as Cohen's RIPPER, 1995, does),
and the rule grows on. Nothing is kept from growing to be pruned on: the price that every leaf must earn leaves out what
is chance as well, and at as many leaves rules of all the text tell more than those of nine tenths.
"""

from dataclasses import dataclass
from math import log
from typing import NamedTuple, no_type_check

import numpy as np
from jaxtyping import Bool, Float32, Int
from numba import njit

from physalis.errors import BadInput
from physalis.explanations.language.leaves import Leaf
from physalis.explanations.language.rules import Clause, Rule
from physalis.explanations.language.surroundings import Column, Surroundings

BEAM = 8
"""Leaves that are tried with others: so many that gain most alone, and so many that tell most of where it fires (FOIL's
gain, Quinlan 1990): what is seldom right alone may be so with another."""
DEEPEST = 4
"""Leaves of a clause, at most."""
FEWEST = 4
"""Firings that a clause must gain."""
SURE = 12.0
"""A clause is the best of many thousands. So chance must be less than exp(-12) likely to be right as often as it is
(Chernoff's bound on a binomial)."""
ROUNDING = 1e-12
"""Of two sums in F1: a clause goes for more than that."""


@dataclass(frozen=True, slots=True)
class Economy:
    """What a rule may cost."""

    price: float = 0.006
    """F1 that a leaf must gain."""
    leaves: int = 64
    """Leaves of a rule, at most."""

    def __post_init__(self) -> None:
        if not 0 < self.price < float("inf") or self.leaves < 1:
            raise BadInput(
                f"A leaf costs more than 0 and a rule has at least one; received price={self.price} and "
                f"leaves={self.leaves}."
            )


class Corpus(NamedTuple):
    """A text ready for counting: what learning of any feature starts from, made once."""

    columns: list[Column]
    ids: Int[np.ndarray, "positions columns"]
    """The number of each position in each column, all columns' numbers in one row; -1 for nothing."""
    starts: Int[np.ndarray, " columns"]
    """Where a column's numbers begin."""
    grows: Int[np.ndarray, " grown"]
    """Positions to grow on, rising."""
    fits: Int[np.ndarray, " fitted"]
    """Positions that clauses get their activations of, rising."""
    counts: Int[np.ndarray, " numbers"]
    """How many of ``grows`` have each number."""
    members: Int[np.ndarray, " entries"]
    """The positions in ``grows`` with each number, one number after another."""
    ends: Int[np.ndarray, " numbers+1"]

    @classmethod
    def of(cls, text: Surroundings, grows: Int[np.ndarray, " grown"], fits: Int[np.ndarray, " fitted"]) -> "Corpus":
        """Memory grows with positions and columns, 16 bytes for each of both."""
        columns = text.columns
        starts = np.cumsum([0, *(len(column.values) for column in columns)])
        ids = np.stack([column.ids for column in columns], 1)
        ids = np.where(ids < 0, -1, ids + starts[:-1].astype(np.int32))
        counts, members = _invert(ids, grows, int(starts[-1]))
        return cls(
            columns,
            ids,
            starts[:-1],
            grows,
            fits,
            counts,
            members,
            np.concatenate([[0], np.cumsum(counts)]),
        )

    def having(self, number: int) -> Int[np.ndarray, " rows"]:
        """The positions in ``grows`` with a number, rising."""
        return self.members[self.ends[number] : self.ends[number + 1]]

    def leaf(self, number: int, negated: bool) -> Leaf:
        """What a number stands for."""
        column = int(np.searchsorted(self.starts, number, side="right")) - 1
        return self.columns[column].leaf(number - int(self.starts[column]), negated)


class Literal(NamedTuple):
    """A leaf, by its number."""

    number: int
    negated: bool


Literals = tuple[Literal, ...]


class _Grown(NamedTuple):
    gain: float
    """Of F1, less the price."""
    literals: Literals
    covers: Int[np.ndarray, " rows"]


class Learner:
    """Learns the rules of one corpus's features, one after another: it keeps its counters."""

    def __init__(self, corpus: Corpus, economy: Economy = Economy()) -> None:
        self.corpus, self.economy = corpus, economy
        self._counter, self._hits, self._touched = (np.zeros(len(corpus.counts), np.int64) for _ in range(3))

    def learn(self, at: Int[np.ndarray, " firings"], values: Float32[np.ndarray, " firings"]) -> Rule:
        """The rule of a feature that fires at these positions, rising, with these codes."""
        corpus = self.corpus
        y = np.zeros(len(corpus.ids), np.float32)
        y[at] = values
        clauses: list[Literals] = []
        while True:  # it ends: F1 less the price of all leaves rises with each clause that comes or goes
            grown = self._grow(clauses, y > 0)
            clauses = self._needed(grown, y > 0)
            if len(clauses) == len(grown):
                return self._fitted(clauses, y)

    def _grow(self, clauses: list[Literals], y: Bool[np.ndarray, " positions"]) -> list[Literals]:
        """With all clauses that pay beside those that are there."""
        corpus = self.corpus
        is_open, left = np.ones(len(y), bool), corpus.counts.copy()
        positives = corpus.grows[y[corpus.grows]]
        n, hit, said = len(positives), 0, 0
        found = list(clauses)
        for clause in clauses:
            covers = self._covered(clause)
            covers = covers[is_open[covers]]
            is_open[covers] = False
            _add(corpus.ids, covers, left, -1)
            hit, said = hit + int(y[covers].sum()), said + len(covers)
        f1 = 2 * hit / max(1, n + said)
        while sum(map(len, found)) < self.economy.leaves:
            positives = positives[is_open[positives]]
            if len(positives) < FEWEST:
                break
            room = self.economy.leaves - sum(map(len, found))
            best = self._best(_Sofar(n, hit, said, f1), positives, left, is_open, y, room)
            if best is None:
                break
            is_open[best.covers] = False
            _add(corpus.ids, best.covers, left, -1)
            hit, said = hit + int(y[best.covers].sum()), said + len(best.covers)
            f1 = 2 * hit / (n + said)
            found.append(best.literals)
        return found

    def _needed(self, clauses: list[Literals], y: Bool[np.ndarray, " positions"]) -> list[Literals]:
        """Without those that cost more than they add to the others, the dearest first."""
        kept, covers = list(clauses), [self._covered(clause) for clause in clauses]
        times = np.zeros(len(y), np.int32)
        for rows in covers:
            times[rows] += 1
        n, said, hit = int(y[self.corpus.grows].sum()), int((times > 0).sum()), int((y & (times > 0)).sum())
        while kept:
            alone = [rows[times[rows] == 1] for rows in covers]
            hits, sizes = np.array([(int(y[rows].sum()), len(rows)) for rows in alone]).T
            without = 2 * (hit - hits) / (n + said - sizes) + self.economy.price * np.array([len(c) for c in kept])
            i = int(without.argmax())
            if without[i] <= 2 * hit / (n + said) + ROUNDING:
                break
            times[covers[i]] -= 1
            hit, said = hit - int(hits[i]), said - int(sizes[i])
            del kept[i], covers[i]
        return kept

    def _best(
        self,
        sofar: "_Sofar",
        positives: np.ndarray,
        left: np.ndarray,
        is_open: np.ndarray,
        y: np.ndarray,
        room: int,
    ) -> _Grown | None:
        corpus, price = self.corpus, self.economy.price
        touched, hits = _count(corpus.ids, positives, self._counter, self._touched)
        gains = sofar.gain(hits, left[touched])
        # With others a leaf gains at most what it would if they left out all that is wrong and nothing that is right.
        most = sofar.gain(hits, hits)
        gains[hits < FEWEST] = -1
        best: _Grown | None = None
        share = len(positives) / max(1, len(corpus.grows) - sofar.said)
        tells = np.where(hits < FEWEST, 0, hits * np.log(hits * len(corpus.grows) / (left[touched] * sofar.n)))
        for i in dict.fromkeys([*_largest(gains, BEAM), *_largest(tells, BEAM)]):
            if hits[i] < FEWEST:
                continue
            if best is not None and max(gains[i] - price, most[i] - 2 * price) <= best.gain:
                continue
            number = int(touched[i])
            covers = corpus.having(number)
            covers = covers[is_open[covers]]
            grown = _Grown(float(gains[i]) - price, (Literal(number, False),), covers)
            while len(grown.literals) < min(DEEPEST, room):
                longer = self._longer(grown, sofar, y)
                if longer is None or longer.gain <= grown.gain:
                    break
                grown = longer
            is_better = grown.gain > (0 if best is None else best.gain)
            if is_better and _is_sure(int(y[grown.covers].sum()), len(grown.covers), share):
                best = grown
        return best

    def _longer(self, grown: _Grown, sofar: "_Sofar", y: np.ndarray) -> _Grown | None:
        """With the one more leaf that gains most."""
        ids, covers = self.corpus.ids, grown.covers
        fires = covers[y[covers]]
        if len(fires) == len(covers):
            return None
        touched, n, hits = _count_both(ids, covers, y, self._counter, self._hits, self._touched)
        with_it, without = sofar.gain(hits, n), sofar.gain(len(fires) - hits, len(covers) - n)
        with_it[hits < FEWEST] = -1
        without[len(fires) - hits < FEWEST] = -1
        negated = without.max() > with_it.max()
        gains = without if negated else with_it
        i = int(gains.argmax())
        literal = Literal(int(touched[i]), bool(negated))
        kept = covers[_has(ids, covers, literal.number) != negated]
        paid = self.economy.price * (len(grown.literals) + 1)
        return _Grown(float(gains[i]) - paid, (*grown.literals, literal), kept)

    def _covered(self, clause: Literals) -> Int[np.ndarray, " rows"]:
        """Of the positions to grow on, those on which all of it is true. Its first is never negated."""
        return self._true(clause[1:], self.corpus.having(clause[0].number))

    def _true(self, literals: Literals, rows: np.ndarray) -> np.ndarray:
        for literal in literals:
            rows = rows[_has(self.corpus.ids, rows, literal.number) != literal.negated]
        return rows

    def _fitted(self, clauses: list[Literals], y: Float32[np.ndarray, " positions"]) -> Rule:
        """With the activation of each clause."""
        left = self.corpus.fits
        made = []
        for clause in clauses:
            covers = self._true(clause, left)
            left = np.setdiff1d(left, covers, assume_unique=True)
            leaves = tuple(self.corpus.leaf(*literal) for literal in clause)
            if y[covers].any():  # else it is true of altered text alone
                made.append(Clause(leaves, float(f"{y[covers].mean(dtype=np.float64):.3g}")))
        return Rule(tuple(made))


class _Sofar(NamedTuple):
    """What the rule does already."""

    n: int
    hit: int
    said: int
    f1: float

    def gain(self, hits: np.ndarray, n: np.ndarray) -> np.ndarray:
        """F1 gained by a clause that holds on ``n`` more tokens and is right on ``hits`` of them."""
        return 2 * (self.hit + hits) / (self.n + self.said + n) - self.f1


def _is_sure(hits: int, n: int, share: float) -> bool:
    """Whether ``n`` tokens, of which a ``share`` would fire by chance, fire more often than that: to say of all tokens
    that a feature fires on them has an F1 above 0, too."""
    if hits <= n * share or share >= 1:
        return False
    right, wrong = hits / n, 1 - hits / n
    return n * (right * log(right / share) + (wrong * log(wrong / (1 - share)) if wrong else 0)) > SURE


def _largest(x: np.ndarray, k: int) -> np.ndarray:
    k = min(k, len(x))
    top = np.argpartition(-x, k - 1)[:k]
    return top[np.lexsort((top, -x[top]))]


@njit(cache=True)
@no_type_check
def _add(ids, rows, counts, by):
    for row in rows:
        for number in ids[row]:
            if number >= 0:
                counts[number] += by


@njit(cache=True)
@no_type_check
def _has(ids, rows, number):
    found = np.zeros(len(rows), np.bool_)
    for i in range(len(rows)):
        for each in ids[rows[i]]:
            if each == number:
                found[i] = True
                break
    return found


@njit(cache=True)
@no_type_check
def _invert(ids, rows, n):
    counts = np.zeros(n, np.int64)
    for row in rows:
        for number in ids[row]:
            if number >= 0:
                counts[number] += 1
    at = np.zeros(n, np.int64)
    for i in range(1, n):
        at[i] = at[i - 1] + counts[i - 1]
    members = np.empty(counts.sum(), np.int64)
    for row in rows:
        for number in ids[row]:
            if number >= 0:
                members[at[number]] = row
                at[number] += 1
    return counts, members


@njit(cache=True)
@no_type_check
def _count(ids, rows, counter, touched):
    """How many of ``rows`` have each number that any has; ``counter`` is 0 before and after."""
    n = 0
    for row in rows:
        for number in ids[row]:
            if number >= 0:
                if counter[number] == 0:
                    touched[n] = number
                    n += 1
                counter[number] += 1
    found = touched[:n].copy()
    counts = counter[found]
    counter[found] = 0
    return found, counts


@njit(cache=True)
@no_type_check
def _count_both(ids, rows, y, counter, hits, touched):
    """Likewise, and how many of those fire."""
    n = 0
    for row in rows:
        fires = y[row]
        for number in ids[row]:
            if number >= 0:
                if counter[number] == 0:
                    touched[n] = number
                    n += 1
                counter[number] += 1
                hits[number] += fires
    found = touched[:n].copy()
    counts, fired = counter[found], hits[found]
    counter[found] = 0
    hits[found] = 0
    return found, counts, fired
