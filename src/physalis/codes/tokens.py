"""tokens: the codes of a segment token by token. A segment keeps a token's features, and the values feature by feature:
one sort brings them together, in the order in which the dictionary gave them.
"""

from typing import NamedTuple

import numpy as np
import torch

from physalis.types import Codes


class ByToken(NamedTuple):
    """The codes of a segment's tokens: those of the i-th are ``offsets[i]:offsets[i + 1]``."""

    at: np.ndarray
    """[tokens] int64: the place of each, rising."""
    offsets: np.ndarray
    ids: np.ndarray
    """[codes] int32"""
    values: np.ndarray
    """[codes] float32"""

    @classmethod
    def of(cls, segment: dict[str, np.ndarray]) -> "ByToken":
        """From the arrays of a segment."""
        offsets, ids = segment["by_token"].astype(np.int64), np.array(segment["ids"], np.int32)
        given, kept = _orders(offsets, ids, segment["rows"], len(segment["by_feature"]))
        values = np.empty(len(ids), np.float32)
        values[given] = segment["values"][kept]
        return cls(np.array(segment["at"]), offsets, ids, values)

    def codes(self, rows: np.ndarray) -> Codes:
        """Of the tokens with these numbers in the segment, [tokens, the most features that fire on one of them]."""
        counts = self.offsets[rows + 1] - self.offsets[rows]
        columns = np.arange(max(1, counts.max(initial=0)))
        fires = columns < counts[:, None]
        here = (self.offsets[rows][:, None] + columns)[fires]
        values, ids = np.zeros(fires.shape, np.float32), np.zeros(fires.shape, np.int32)
        values[fires], ids[fires] = self.values[here], self.ids[here]
        return Codes(torch.from_numpy(values), torch.from_numpy(ids))


def agrees(segment: dict[str, np.ndarray]) -> bool:
    """Whether both halves of a segment say the same: each token's features, and each feature's tokens, those rising."""
    offsets, ids = segment["by_token"].astype(np.int64), np.array(segment["ids"], np.int64)
    rows, by_feature = np.array(segment["rows"], np.int64), segment["by_feature"].astype(np.int64)
    given, kept = _orders(offsets, ids, rows, len(by_feature))
    features = np.repeat(np.arange(len(by_feature) - 1), np.diff(by_feature))
    same = np.array_equal(features[kept], ids[given]) and np.array_equal(
        rows[kept], np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    )
    rising = (np.diff(rows) > 0) | (np.diff(features) > 0)
    return bool(same and rising.all() and (segment["values"] > 0).all())


def _orders(offsets: np.ndarray, ids: np.ndarray, rows: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """What sorts the codes by token and then by feature: as they were given by token, and as they are kept."""
    token = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    return np.argsort(token * most + ids, kind="stable"), np.argsort(rows, kind="stable")
