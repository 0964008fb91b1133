"""codes: the codes of a dictionary over some tokens, kept sparse, and what two of them do on the same tokens.

Memory: 8 bytes a code, and 8 more once they are wanted by feature; never an array of tokens by features. What pairs of
features do together is summed firing by firing for some rows of pairs at a time: ``PAIRS`` pairs, 20 bytes each.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, no_type_check

import numpy as np
from jaxtyping import Bool, Float64, Int, Int64
from numba import njit
from scipy.sparse import csc_array, csr_array, vstack

PAIRS = 1 << 22

ENOUGH = 10
"""Firings below which nothing is said of a feature's codes: two that fire once, on the same token, agree perfectly and
mean nothing."""


@dataclass(frozen=True, eq=False)
class SparseCodes:
    """Codes, [tokens, features] sparse by token, tokens in the order of the text."""

    codes: csr_array

    @property
    def n_tokens(self) -> int:
        return int(self.codes.shape[0])  # pyright: ignore[reportOptionalSubscript]

    @property
    def n_features(self) -> int:
        return int(self.codes.shape[1])  # pyright: ignore[reportOptionalSubscript]

    @cached_property
    def by_feature(self) -> csc_array:
        return self.codes.tocsc()

    @cached_property
    def n_fired(self) -> Int64[np.ndarray, " features"]:
        """Tokens on which each feature fires."""
        return np.bincount(self.codes.indices, minlength=self.n_features).astype(np.int64)

    @cached_property
    def total(self) -> Float64[np.ndarray, " features"]:
        """Sum of each feature's codes."""
        return self._summed(self.codes.data.astype(np.float64))

    @cached_property
    def squares(self) -> Float64[np.ndarray, " features"]:
        return self._summed(self.codes.data.astype(np.float64) ** 2)

    def _summed(self, values: np.ndarray) -> np.ndarray:
        return np.bincount(self.codes.indices, values, minlength=self.n_features)

    @property
    def density(self) -> Float64[np.ndarray, " features"]:
        return self.n_fired / max(1, self.n_tokens)

    @property
    def often(self) -> Bool[np.ndarray, " features"]:
        """Which features fire ENOUGH."""
        return self.n_fired >= ENOUGH

    def tokens_of(self, feature: int) -> Int[np.ndarray, " n"]:
        """The tokens on which a feature fires, rising."""
        c = self.by_feature
        return c.indices[c.indptr[feature] : c.indptr[feature + 1]]

    def moved(self, by: int) -> "SparseCodes":
        """The same codes ``by`` tokens further on, those from the end at the beginning. Every feature keeps how often
        it fires and how its firings cluster in the text, and loses what it has to do with any other dictionary's."""
        cut = self.n_tokens - by % max(1, self.n_tokens)
        return SparseCodes(csr_array(vstack([self.codes[cut:], self.codes[:cut]], format="csr")))


def moves(n_tokens: int, rounds: int, seed: int) -> list[int]:
    """How far to move codes: between a tenth of the text and nine tenths, so that documents do not overlap."""
    low = max(1, n_tokens // 10)
    rng = np.random.default_rng(seed)
    return rng.integers(low, max(low + 1, n_tokens - low), rounds).tolist()


class Beside(NamedTuple):
    """What some features of one dictionary do beside all those of another. Every array is [rows, features]."""

    rows: Int[np.ndarray, " rows"]
    together: np.ndarray
    """int32: tokens on which both fire."""
    product: np.ndarray
    """float64: sum of the products of their codes."""
    code: np.ndarray
    """float64: the other's code on the tokens where the row's feature fires."""


def beside(a: SparseCodes, b: SparseCodes, rows: Int[np.ndarray, " rows"]) -> Iterator[Beside]:
    """Features ``rows`` of ``a`` beside all of ``b``, some rows at a time; an array is valid until the next."""
    c = a.by_feature
    size = max(1, min(len(rows), PAIRS // max(1, b.n_features)))
    shape = (size, b.n_features)
    together, product, code = np.empty(shape, np.int32), np.empty(shape), np.empty(shape)
    for first in range(0, len(rows), size):
        some = rows[first : first + size].astype(np.int64)
        out = together[: len(some)], product[: len(some)], code[: len(some)]
        _sum(some, c.indptr, c.indices, c.data, b.codes.indptr, b.codes.indices, b.codes.data, *out)
        yield Beside(some, *out)


@njit(cache=True, nogil=True)
@no_type_check
def _sum(rows, starts, tokens, codes, token_starts, ids, values, together, product, code):
    together[:] = 0
    product[:] = 0
    code[:] = 0
    for r in range(rows.shape[0]):
        for e in range(starts[rows[r]], starts[rows[r] + 1]):
            own = np.float64(codes[e])
            for i in range(token_starts[tokens[e]], token_starts[tokens[e] + 1]):
                j = ids[i]
                together[r, j] += 1
                product[r, j] += own * values[i]
                code[r, j] += values[i]


def correlation(a: SparseCodes, b: SparseCodes, here: Beside) -> Float64[np.ndarray, "rows features"]:
    """Pearson's correlation of the codes over all tokens, silent ones too; 0 where either fires less than ENOUGH."""
    n = a.n_tokens
    mean_a, mean_b = a.total[here.rows] / n, b.total / n
    scale_a = _scale(a.squares[here.rows] / n, mean_a, a.often[here.rows])
    scale_b = _scale(b.squares / n, mean_b, b.often)
    found = here.product / n
    found -= mean_a[:, None] * mean_b
    found *= scale_a[:, None]
    found *= scale_b
    return np.clip(found, -1, 1)


def _scale(square: np.ndarray, mean: np.ndarray, usable: np.ndarray) -> np.ndarray:
    """1 / standard deviation; 0 for what cannot be used or never varies."""
    spread = square - mean**2
    return np.where(usable & (spread > 1e-12 * square), 1 / np.sqrt(np.maximum(spread, 1e-300)), 0.0)


def pair_correlation(
    a: SparseCodes, b: SparseCodes, of_a: Int[np.ndarray, " pairs"], of_b: Int[np.ndarray, " pairs"]
) -> Float64[np.ndarray, " pairs"]:
    """``correlation`` of given pairs; NaN where either fires less than ENOUGH or never varies."""
    n = a.n_tokens
    both = a.by_feature[:, of_a].astype(np.float64).multiply(b.by_feature[:, of_b])
    mean_a, mean_b = a.total[of_a] / n, b.total[of_b] / n
    scale = _scale(a.squares[of_a] / n, mean_a, a.often[of_a]) * _scale(b.squares[of_b] / n, mean_b, b.often[of_b])
    found = (np.asarray(both.sum(axis=0)).reshape(-1) / n - mean_a * mean_b) * scale
    return np.where(scale > 0, np.clip(found, -1, 1), np.nan)
