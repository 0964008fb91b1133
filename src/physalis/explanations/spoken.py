"""spoken: Spoken, what rules say of a text, so kept that programs of fewer or shorter rules are made of it at once."""

from typing import NamedTuple

import numpy as np
import scipy.sparse
import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor

from physalis.dictionaries import Dictionary
from physalis.explanations.explained import Explanations
from physalis.explanations.language.surroundings import Surroundings
from physalis.runtime.progress import progress
from physalis.types import Codes


class Spoken(NamedTuple):
    """Which clause of each rule holds where, and what it says there."""

    at: Int[np.ndarray, " tokens"]
    """Where, rising."""
    clause: scipy.sparse.csr_array
    """[tokens, features]: 1 + the number of the clause that holds there, of all features' clauses in one row."""
    levels: Float64[np.ndarray, " clauses"]
    feature: Int[np.ndarray, " clauses"]
    sizes: Int[np.ndarray, " clauses"]
    """Leaves of its rule as far as this clause, with its own."""
    held: Int[np.ndarray, " clauses"]
    """Tokens on which it was the first to hold in the text that was learned from."""
    silent: Int[np.ndarray, " features"]
    """And those on which none did."""
    otherwise: Float64[np.ndarray, " features"]
    """The mean code on these."""
    kept: Bool[np.ndarray, " clauses"]
    """Whether the program has it still."""

    @classmethod
    def of(
        cls,
        said: Explanations,
        text: Surroundings,
        train: Int[np.ndarray, " learned"],
        held_out: Int[np.ndarray, " tokens"],
    ) -> "Spoken":
        """Of the held-out tokens. A rule is evaluated on the whole text, since what it asks may stand before."""
        at, n = np.sort(held_out), 1 + max((each.feature for each in said), default=0)
        rows, numbers, ids = [], [], []
        levels, feature, sizes, held = [], [], [], []
        silent, otherwise = np.zeros(n, np.int64), np.zeros(n)
        with progress("predict", len(said), "features") as advance:
            for each in said:
                rule = each.program
                holding = rule.holding(text)
                counts = np.bincount(holding[train] + 1, minlength=len(rule.clauses) + 1)
                silent[each.feature], otherwise[each.feature] = counts[0], each.otherwise
                here = holding[at]
                fires = np.flatnonzero(here >= 0)
                rows.append(fires)
                numbers.append(here[fires] + len(levels) + 1)
                ids.append(np.full(len(fires), each.feature))
                levels += [clause.level for clause in rule.clauses]
                sizes += np.cumsum([len(clause.leaves) for clause in rule.clauses]).tolist()
                feature += [each.feature] * len(rule.clauses)
                held += counts[1:].tolist()
                advance(1)
        where = (_joined(rows), _joined(ids))
        clause = scipy.sparse.coo_array((_joined(numbers), where), shape=(len(at), n)).tocsr()
        features, lengths, counted = (np.array(each, np.int64) for each in (feature, sizes, held))
        kept = np.ones(len(levels), bool)
        return cls(at, clause, np.array(levels, float), features, lengths, counted, silent, otherwise, kept)

    @property
    def size(self) -> int:
        """Leaves of the program."""
        most = np.zeros(len(self.silent), np.int64)
        np.maximum.at(most, self.feature[self.kept], self.sizes[self.kept])
        return int(most.sum())

    def cut(self, leaves: int) -> "Spoken":
        """Without the clauses that would make a rule longer than this. What they said is then said by the mean of the
        rest of the text."""
        return self._keeping(self.sizes <= leaves)

    def of_features(self, n: int) -> "Spoken":
        """With the rules of the ``n`` features whose codes sum to most, and the mean of the others."""
        sums = self.otherwise * self.silent
        np.add.at(sums, self.feature, self.levels * self.held)
        best = np.argsort(-sums, kind="stable")[:n]
        return self._keeping(np.isin(self.feature, best))

    def _keeping(self, kept: Bool[np.ndarray, " clauses"]) -> "Spoken":
        gone = self.kept & ~kept
        sums, silent = self.otherwise * self.silent, self.silent.copy()
        np.add.at(sums, self.feature[gone], (self.levels * self.held)[gone])
        np.add.at(silent, self.feature[gone], self.held[gone])
        return self._replace(kept=self.kept & kept, silent=silent, otherwise=sums / np.maximum(silent, 1))


class Program:
    """What rules say, and the dictionary that decodes it."""

    def __init__(self, spoken: Spoken, coder: Dictionary) -> None:
        self.coder, self._at = coder, spoken.at
        n = coder.config.n_features
        silent = np.zeros(n, np.float32)
        silent[: len(spoken.otherwise)] = spoken.otherwise
        clause = spoken.clause.tocoo()
        token, feature = (np.asarray(each, np.int64) for each in clause.coords)
        number = np.asarray(clause.data, np.int64) - 1
        kept = spoken.kept[number]
        # what is added to what all of them say where none holds
        values = (spoken.levels[number] - silent[feature])[kept].astype(np.float32)
        where = (token[kept], feature[kept])
        self._codes = scipy.sparse.coo_array((values, where), shape=(len(spoken.at), n)).tocsr()
        none = np.zeros((1, n), np.float32)
        self._silent = self._decoded(silent[None]) - self._decoded(none)

    def at(self, places: Int[np.ndarray, " rows"]) -> Float[Tensor, "rows d_out"]:
        """What the codes that the rules predict there are decoded to."""
        return self._decoded(self._codes[np.searchsorted(self._at, places)]) + self._silent

    def _decoded(self, codes: scipy.sparse.csr_array | np.ndarray) -> Float[Tensor, "rows d_out"]:
        device = next(self.coder.parameters()).device
        padded = (part.to(device) for part in _padded(scipy.sparse.csr_array(codes)))
        with torch.no_grad():
            return self.coder.decode(Codes(*padded).of(self.coder.config.n_features))


def _padded(rows: scipy.sparse.csr_array) -> Codes:
    counts = np.diff(rows.indptr)
    fires = np.arange(max(1, counts.max(initial=0))) < counts[:, None]
    values, ids = np.zeros(fires.shape, np.float32), np.zeros(fires.shape, np.int32)
    values[fires], ids[fires] = rows.data, rows.indices
    return Codes(torch.from_numpy(values), torch.from_numpy(ids))


def _joined(parts: list[np.ndarray]) -> Int[np.ndarray, " entries"]:
    return np.concatenate([np.zeros(0, np.int64), *parts])
