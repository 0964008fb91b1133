"""grouping: the tokens of a text put into groups that are alike, in three grains, by k-means: its ``Fields``.

Alike is what is used and spelled alike in the text (``usage``) and does the same to the network (``token_effects``),
both in the part that rules are learned from.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, Int
from sklearn.cluster import KMeans

from physalis.corpora.characters import Piece, alone
from physalis.explanations.language.fields import GRAINS, Fields
from physalis.explanations.language.vocabulary import lexeme
from physalis.explanations.similarity.usage import usage

USAGE = 0.7
"""Length of what the text says of a token, beside 1 of what it does to the network."""


def group(
    tokens: Int[np.ndarray, "contexts length"],
    pieces: Sequence[Piece],
    effects: Float32[np.ndarray, "used d"] | None = None,
    *,
    seed: int = 0,
) -> Fields:
    """The fields of a text; ``effects`` are of its different tokens, by rising id, and without them the text alone
    says what is alike. Tokens that it lacks are in the group of their lexeme, if another form stands there."""
    used, text = np.unique(tokens, return_inverse=True)
    groups = np.full((len(GRAINS), len(pieces)), -1, np.int32)
    heads: list[np.ndarray] = []
    vectors = usage(text.reshape(tokens.shape), [alone(pieces[i]) for i in used], seed=seed)
    if effects is not None:
        length = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)
        vectors = np.concatenate([USAGE * vectors / length, effects], 1)
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
