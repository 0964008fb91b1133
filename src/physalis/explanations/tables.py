"""tables: what a site does, told by the last tokens alone: the mean activation after them. What rules have to beat.

A table of the last two tokens falls back on that of the current token for pairs that are rare: each mean counts the
shorter context's as one more occurrence.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32, Int
from torch import Tensor

from physalis.activations import Stored
from physalis.runtime.progress import progress

NAMES = ("current token", "last two tokens", "last three tokens")
ROWS = 8192


class Table(NamedTuple):
    """The mean of what is written, after the tokens that stand at a place."""

    places: Int[np.ndarray, " tokens"]
    """Rising."""
    keys: Int[np.ndarray, " tokens"]
    """Which row of ``means`` is each place's."""
    means: Float32[Tensor, "keys d_out"]

    def at(self, places: Int[np.ndarray, " rows"]) -> Float[Tensor, "rows d_out"]:
        """At some of the places that it was made for."""
        return self.means[torch.from_numpy(self.keys[np.searchsorted(self.places, places)])]


def token_tables(stored: Stored, at: Int[np.ndarray, " tokens"]) -> dict[str, Table]:
    """The tables of the last one, two and three tokens, of the training part, for use at these positions. Memory grows
    with the different contexts that stand there."""
    places = np.sort(at)
    wanted = [_contexts(stored.tokens, n + 1) for n in range(len(NAMES))]
    rows = [np.unique(keys[places], return_inverse=True) for keys in wanted]
    sums = [torch.zeros(len(found), stored.d_out) for found, _ in rows]
    counts = [torch.zeros(len(found)) for found, _ in rows]
    with progress("tables", stored.train.n_tokens, "tokens") as advance:
        for part in stored.train.ordered(ROWS):
            y, here = part.y.float(), part.at.numpy()
            for keys, (found, _), total, count in zip(wanted, rows, sums, counts, strict=True):
                row = np.minimum(np.searchsorted(found, keys[here]), len(found) - 1)
                known = torch.from_numpy(np.flatnonzero(found[row] == keys[here]))
                index = torch.from_numpy(row)[known]
                total.index_add_(0, index, y[known])
                count.index_add_(0, index, torch.ones(len(index)))
            advance(len(here))
    shorter = stored.frame.mean_out.expand(len(places), -1).float()
    made = {}
    for name, (found, keys), total, count in zip(NAMES, rows, sums, counts, strict=True):
        # the same context falls back on the same shorter one, wherever it stands
        first = np.zeros(len(found), np.int64)
        first[keys[::-1]] = np.arange(len(keys))[::-1]
        fallback = shorter[torch.from_numpy(first)]
        means = (total + fallback) / (count[:, None] + 1)
        made[name] = Table(places, keys, means)
        shorter = means[torch.from_numpy(keys)]
    return made


def _contexts(tokens: Int[np.ndarray, "contexts length"], n: int) -> Int[np.ndarray, " positions"]:
    """A number for the last ``n`` tokens at each position, the same for the same tokens; the beginning of a context
    is a token of its own."""
    numbers = np.zeros(tokens.shape, np.int64)
    for back in range(n):
        before = np.full(tokens.shape, -1, np.int64)
        before[:, back:] = tokens[:, : tokens.shape[1] - back]
        _, numbers = np.unique(numbers * (int(tokens.max()) + 2) + before + 1, return_inverse=True)
        numbers = numbers.reshape(tokens.shape)
    return numbers.ravel()
