"""usage: how the tokens of a text are used and spelled: a vector each, of the text alone.

Each token's neighbours two before to two after and its letters are counted, weighed by positive pointwise mutual
information and inverse frequency, and reduced to a few dimensions by a singular value decomposition (Levy & Goldberg
2014, Bojanowski et al. 2017 for the letters).
"""

import numpy as np
import scipy.sparse
from jaxtyping import Float32, Int
from scipy.sparse.linalg import svds

NEAR = (-2, -1, 1, 2)
GRAMS = (2, 3, 4)
DIMENSIONS = 128
SPELLING = 0.7
"""Length of what a token's letters say, beside 1 of what its neighbours say."""
FEWEST = 4
"""Different tokens that a text must have for there to be dimensions to reduce."""


def usage(text: Int[np.ndarray, "contexts length"], words: list[str], *, seed: int) -> Float32[np.ndarray, "used d"]:
    """A vector for each of ``words``, which ``text`` numbers."""
    n = len(words)
    beside = []
    for step in NEAR:
        left, right = (text[:, :-step], text[:, step:]) if step > 0 else (text[:, -step:], text[:, :step])
        pairs = left.ravel(), right.ravel()
        beside.append(scipy.sparse.coo_array((np.ones(len(pairs[0]), np.float32), pairs), shape=(n, n)).tocsr())
    counts = scipy.sparse.hstack(beside).tocoo()
    row, column = counts.coords
    rows, columns = np.bincount(row, counts.data, n), np.bincount(column, counts.data, n * len(NEAR))
    columns = columns**0.75  # rare neighbours say too much otherwise
    weights = np.log(counts.data * columns.sum() / (rows[row] * columns[column]))
    kept = weights > 0
    near = scipy.sparse.coo_array((weights[kept], (row[kept], column[kept])), shape=counts.shape).tocsr()
    joined = scipy.sparse.hstack([_unit(near), SPELLING * _unit(_spelling(words))]).tocsr().astype(np.float32)
    if n < FEWEST:
        return joined.toarray()
    u, s, _ = svds(joined, k=min(DIMENSIONS, n - 1), rng=np.random.default_rng(seed))
    return np.ascontiguousarray(u * np.sqrt(s), dtype=np.float32)


def _spelling(words: list[str]) -> scipy.sparse.csr_array:
    grams: dict[str, int] = {}
    rows, columns = [], []
    for row, word in enumerate(words):
        whole = f"^{word.strip().lower()}$"
        for size in GRAMS:
            for at in range(len(whole) - size + 1):
                rows.append(row)
                columns.append(grams.setdefault(whole[at : at + size], len(grams)))
    n = max(1, len(grams))
    ones = np.ones(len(rows), np.float32)
    counts = scipy.sparse.coo_array((ones, (rows, columns)), shape=(len(words), n)).tocsr()
    within = np.bincount(counts.indices, minlength=n)
    counts.data *= np.log(len(words) / np.maximum(within, 1)).astype(np.float32)[counts.indices]
    return counts


def _unit(x: scipy.sparse.csr_array) -> scipy.sparse.csr_array:
    length = np.sqrt(np.asarray(x.multiply(x).sum(1)).ravel())
    return scipy.sparse.diags_array(1 / np.maximum(length, 1e-6)) @ x
