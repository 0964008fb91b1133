"""passages: Passages, a text in pieces of 32 tokens, and which of them a feature fires in, how strongly.

Judges are asked about passages that are drawn by decile of the feature's code: its strongest firings are rarely most of
what it does. Beside them stand passages in which it is silent: any, and hard ones, which hold the tokens that it fires
on elsewhere.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int, UInt64

from physalis.activations import Stored
from physalis.codes import Firings

LENGTH = 32
"""Tokens of a passage, at most: contexts may be shorter."""
BLOCKS = 20
"""Documents are joined to so many blocks at most; scores leave out one after another."""
DECILES = 10
TELLING = 20
"""Tokens that a feature fires on most, which make a silent passage a hard one."""


class Fired(NamedTuple):
    """What one feature does in the passages."""

    codes: Float32[np.ndarray, " positions"]
    """Its code on every position of the text."""
    decile: Int[np.ndarray, " passages"]
    """Of the passage's largest code among those of all passages in which it fires, 0 the weakest; -1: it is silent."""
    hard: Bool[np.ndarray, " passages"]
    """It is silent, and tokens that it fires on elsewhere are there."""


class Drawn(NamedTuple):
    """Passages for one round of questions."""

    firing: Int[np.ndarray, " n"]
    """By decile, the weakest first; as many of each as of another, where the feature fires often enough."""
    silent: Int[np.ndarray, " n"]
    """Half of them hard, where there are hard ones."""


class Passages:
    """Passages of the part of a text that is judged on."""

    def __init__(self, stored: Stored, part: Stored, *, learned: Stored | None = None) -> None:
        """``part`` of the recording ``stored``: its held-out part, or all. Passages that stand, token by token, in
        ``learned``, the part that explanations were learned from, are left out: documents are there twice."""
        self.tokens = np.array(stored.tokens, np.int64).ravel()
        self.kept = np.zeros(self.tokens.size, bool)
        self.kept[part.at] = True
        length = min(LENGTH, stored.context)
        begins = part.contexts[:, None] * stored.context + np.arange(0, stored.context - length + 1, length)
        at = begins.reshape(-1, 1) + np.arange(length)
        at = at[2 * self.kept[at].sum(1) >= length]
        copied = np.zeros(len(at), bool)
        if learned is not None:
            copied = np.isin(_numbers(self.tokens[at], length), _numbers(stored.tokens[learned.contexts], length))
        self.n_copied = int(copied.sum())
        """Passages that were left out."""
        self.at: Int[np.ndarray, "passages length"] = at[~copied]
        """The positions of each."""
        documents = np.array(stored.documents).ravel()[self.at[:, length // 2]]
        _, numbers = np.unique(documents, return_inverse=True)
        self.n_documents = int(numbers.max(initial=-1)) + 1
        self.blocks: Int[np.ndarray, " passages"] = numbers % BLOCKS
        """The block of documents that each stands in."""

    def __len__(self) -> int:
        return len(self.at)

    def fired(self, firings: Firings) -> Fired:
        """Where a feature fires that fires so in the text."""
        codes = np.zeros(self.tokens.size, np.float32)
        codes[firings.at] = firings.values
        codes[~self.kept] = 0
        peaks = codes[self.at].max(1, initial=0)
        decile = np.full(len(self), -1)
        fires = np.flatnonzero(peaks > 0)
        ranks = np.empty(len(fires), np.int64)
        ranks[np.argsort(peaks[fires], kind="stable")] = np.arange(len(fires))
        decile[fires] = ranks * DECILES // max(1, len(fires))
        counts = np.bincount(self.tokens[firings.at]) if len(firings.at) else np.zeros(1, np.int64)
        most = np.argsort(-counts, kind="stable")[:TELLING]
        holds = np.isin(self.tokens[self.at], most[counts[most] > 0]) & self.kept[self.at]
        return Fired(codes, decile, (decile < 0) & holds.any(1))

    def draw(self, fired: Fired, n: int, rng: np.random.Generator) -> Drawn:
        """``n`` passages in which the feature fires, and as many in which it is silent. What there is too little of is
        drawn more than once."""
        firing = [np.flatnonzero(fired.decile == decile) for decile in range(DECILES)]
        each = max(1, n // DECILES)
        drawn = [_some(ids, each, rng) for ids in firing if len(ids)]
        hard, silent = np.flatnonzero(fired.hard), np.flatnonzero(fired.decile < 0)
        total = sum(map(len, drawn))
        n_hard = total // 2 if len(hard) else 0
        others = [_some(hard, n_hard, rng), _some(silent, total - n_hard, rng)]
        return Drawn(*(np.concatenate(parts) if parts else np.zeros(0, np.int64) for parts in (drawn, others)))


def _some(ids: Int[np.ndarray, " ids"], n: int, rng: np.random.Generator) -> Int[np.ndarray, " n"]:
    if not len(ids):
        return np.zeros(0, np.int64)
    return rng.choice(ids, n, replace=len(ids) < n)


def _numbers(rows: Int[np.ndarray, "rows tokens"], length: int) -> UInt64[np.ndarray, " places"]:
    """A number for each ``length`` tokens that follow each other in a row: the same for the same ones, and for others
    the same in one of 2^63 cases."""
    n = rows.shape[1] - length + 1
    found = np.zeros((len(rows), n), np.uint64)
    for i in range(length):
        found = found * np.uint64(6364136223846793005) + rows[:, i : i + n].astype(np.uint64) + np.uint64(1)
    return found.ravel()
