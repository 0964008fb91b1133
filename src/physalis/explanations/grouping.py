"""grouping: the tokens of a text put into groups that are used and spelled alike: its ``Fields``.

Nothing of the network is in them. Each token's neighbours two before to two after and its letters are counted, weighed
by positive pointwise mutual information and inverse frequency, reduced to a few dimensions by a singular value
decomposition (Levy & Goldberg 2014, Bojanowski et al. 2017 for the letters), and grouped by k-means in three grains.
"""

from collections.abc import Sequence

import numpy as np
import scipy.sparse
from jaxtyping import Float32, Int
from scipy.sparse.linalg import svds
from sklearn.cluster import KMeans

from physalis.corpora.characters import Piece, alone
from physalis.explanations.language.fields import GRAINS, Fields
from physalis.explanations.language.vocabulary import lexeme

NEAR = (-2, -1, 1, 2)
GRAMS = (2, 3, 4)
DIMENSIONS = 128
SPELLING = 0.7
"""Length of what a token's letters say, beside 1 of what its neighbours say."""
FEWEST = 4
"""Different tokens that a text must have for there to be groups."""


def group(tokens: Int[np.ndarray, "contexts length"], pieces: Sequence[Piece], *, seed: int = 0) -> Fields:
    """The fields of a text. Tokens that it lacks are in the group of their lexeme, if another form stands there."""
    used, text = np.unique(tokens, return_inverse=True)
    groups = np.full((len(GRAINS), len(pieces)), -1, np.int32)
    heads: list[np.ndarray] = []
    vectors = _vectors(text.reshape(tokens.shape), [alone(pieces[i]) for i in used], seed)
    often = np.bincount(text.ravel(), minlength=len(used))
    for grain, size in enumerate(GRAINS.values()):
        n = min(len(used), max(1, len(used) // size))
        made = KMeans(
            n,
            n_init=1,  # pyright: ignore[reportArgumentType]
            random_state=seed,
            max_iter=20,
        ).fit(vectors)
        _, dense = np.unique(np.asarray(made.labels_), return_inverse=True)
        groups[grain, used] = dense
        heads.append(_heads(vectors, dense, often, used))
    _fill(groups, used, pieces)
    return Fields(groups, heads)


def _vectors(text: Int[np.ndarray, "contexts length"], words: list[str], seed: int) -> Float32[np.ndarray, "used d"]:
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
    usage = scipy.sparse.coo_array((weights[kept], (row[kept], column[kept])), shape=counts.shape).tocsr()
    joined = scipy.sparse.hstack([_unit(usage), SPELLING * _unit(_spelling(words))]).tocsr().astype(np.float32)
    d = min(DIMENSIONS, n - 1)
    if n < FEWEST:
        return joined.toarray()
    u, s, _ = svds(joined, k=d, rng=np.random.default_rng(seed))
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


def _heads(vectors: np.ndarray, groups: np.ndarray, often: np.ndarray, used: np.ndarray) -> Int[np.ndarray, " groups"]:
    n = groups.max() + 1
    centres = np.zeros((n, vectors.shape[1]))
    np.add.at(centres, groups, vectors * often[:, None])
    centres /= np.maximum(np.linalg.norm(centres, axis=1, keepdims=True), 1e-9)
    near = (vectors * centres[groups]).sum(1) / np.maximum(np.linalg.norm(vectors, axis=1), 1e-9)
    order = np.lexsort((used, -near, groups))
    first = np.searchsorted(groups[order], np.arange(n))
    return used[order[first]].astype(np.int32)


def _fill(groups: np.ndarray, used: np.ndarray, pieces: Sequence[Piece]) -> None:
    lexemes: dict[str, int] = {}
    for token in used.tolist():
        lexemes.setdefault(lexeme(pieces[token]), token)
    missing = np.setdiff1d(np.arange(len(pieces)), used)
    for token in missing.tolist():
        same = lexemes.get(lexeme(pieces[token]))
        if same is not None:
            groups[:, token] = groups[:, same]
