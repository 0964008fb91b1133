"""token_effects: what each token does to a site, where it stands and on the tokens after it: a vector each.

It is the mean activation where the token stands, and what it adds to that mean one to three tokens later. The text
says of a rare token little; the network has read it a thousand times, and treats it as it treats others.
"""

from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

import numpy as np
import scipy.sparse
from jaxtyping import Float32, Int

WEIGHTS = (1.0, 0.5, 0.4, 0.3)
"""Length of what a token does where it stands, and one, two, three tokens later."""
DIMENSIONS = 64
"""Directions that are kept of the activations, of those in which the tokens differ most."""
ROWS = 8192
DRAWN = (1, 4, 4, 4)
"""Occurrences without any effect that are counted beside each token's own: what stands once proves little."""


@runtime_checkable
class Rows(Protocol):
    """Activations with their places and the text that they are of: any that are ``Stored``."""

    @property
    def tokens(self) -> Int[np.ndarray, "contexts context"]: ...

    @property
    def contexts(self) -> Int[np.ndarray, " n"]: ...

    def ordered(self, size: int) -> Iterator[Any]: ...


def token_effects(train: Rows) -> Float32[np.ndarray, "used d"]:
    """A vector for each token of the contexts that are read, by rising id; a token of which no activation was kept
    has zeros. Memory: 256 bytes a row."""
    tokens = np.asarray(train.tokens)
    used = np.unique(tokens[train.contexts])
    rows, x = _rows(train)
    found = []
    for back, (weight, drawn) in enumerate(zip(WEIGHTS, DRAWN, strict=True)):
        reaches = rows % tokens.shape[1] >= back
        token = np.searchsorted(used, tokens.ravel()[rows[reaches] - back])
        n = (np.bincount(token, minlength=len(used)) + drawn).astype(np.float32)
        mean = _sums(x[reaches], token, len(used)) / n[:, None]
        x[reaches] -= mean[token]
        found.append(weight * _unit(mean))
    return np.concatenate(found, 1).astype(np.float32)


def _rows(train: Rows) -> tuple[Int[np.ndarray, " rows"], Float32[np.ndarray, "rows kept"]]:
    """Where each row stands, and its activation in the directions that tell tokens apart."""
    at, parts = [], []
    mean = directions = None
    for part in train.ordered(ROWS):
        x = part.x.float().numpy()
        if mean is None or directions is None:
            mean = x.mean(0)
            directions = np.linalg.eigh((x - mean).T @ (x - mean))[1][:, -DIMENSIONS:]
        at.append(part.at.numpy())
        parts.append((x - mean) @ directions)
    return np.concatenate(at), np.concatenate(parts)


def _sums(x: Float32[np.ndarray, "rows d"], group: Int[np.ndarray, " rows"], n: int) -> Float32[np.ndarray, "n d"]:
    ones = np.ones(len(group), np.float32)
    return scipy.sparse.csr_array((ones, (group, np.arange(len(group)))), shape=(n, len(group))) @ x


def _unit(x: Float32[np.ndarray, "used d"]) -> Float32[np.ndarray, "used d"]:
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-6)
