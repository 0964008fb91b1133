"""segments: every code a dictionary gave, kept on disk by token and by feature.

1. ``arrays_of`` takes the codes of a group of shards, in the order in which they were computed. A segment holds them
   twice: the features of each token (for co-firing), and the tokens of each feature with their codes. Tokens stand in
   the order of the text.
2. ``Segments`` reads them back. ``blocks`` gives every firing of a range of features at once, so each
   feature's numbers are computed with all of its firings at hand: exactly, and by any number of threads.

Disk: 8 to 12 bytes a code, 12 a token. Memory: two segments while encoding, one block afterwards.
A segment is written whole or not at all, so what was stopped goes on with the segments that are missing.
"""

import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, no_type_check

import numpy as np
from numba import njit
from safetensors.numpy import save_file

from physalis import artifact
from physalis.errors import BadInput

SEGMENT = 65_536
"""Tokens a segment where shards are no larger: 16 bits number them."""

BLOCK = 1 << 25
"""Firings in memory at once: 12 bytes each, or 16."""

_DTYPES = {"I64": np.int64, "F64": np.float64, "F32": np.float32, "U32": np.uint32, "U16": np.uint16}
"""Names that safetensors gives to the dtypes of a segment."""


class Coded(NamedTuple):
    """The codes of some tokens, and what was measured on a sample of them."""

    values: np.ndarray
    """[tokens, k] float32; 0 is padding."""
    ids: np.ndarray
    """[tokens, k] integers."""
    at: np.ndarray
    """[tokens] int64: context * context length + position."""
    measured: np.ndarray
    """[samples, numbers] float64: whatever the caller measures."""


class Block(NamedTuple):
    """Every firing of features ``first`` on: those of the i-th are ``offsets[i]:offsets[i + 1]``, ``at`` rising."""

    first: int
    offsets: np.ndarray
    at: np.ndarray
    row: np.ndarray
    """Index of the token in the sample given to ``blocks``; -1 if it is not in it."""
    values: np.ndarray
    """float32, above 0."""


class TokenFeatures(NamedTuple):
    """The features that fire on each of a sample of tokens: token i's are ``ids[offsets[i]:offsets[i + 1]]``."""

    offsets: np.ndarray
    ids: np.ndarray
    segments: list[bool]
    """Which segments' tokens these are."""


def group(shards: Sequence[int]) -> list[int]:
    """Tokens of each segment, given those of each shard: whole shards, together at most SEGMENT where possible."""
    sizes: list[int] = []
    for rows in shards:
        if sizes and sizes[-1] + rows <= SEGMENT:
            sizes[-1] += rows
        else:
            sizes.append(rows)
    return sizes


def arrays_of(pieces: Sequence[Coded], n_features: int) -> dict[str, np.ndarray]:
    """The arrays of a segment, given the codes of all its tokens."""
    # Where a threshold decides, pieces are as wide as their fullest token.
    width = max(piece.values.shape[1] for piece in pieces)
    values, ids = (np.concatenate([_widened(piece[i], width) for piece in pieces]) for i in range(2))
    at, measured = (np.concatenate([piece[i] for piece in pieces]) for i in (2, 3))
    order = np.argsort(at)
    by_token, by_feature = _count(values, ids, order, n_features)
    n = int(by_token[-1])
    token_ids = np.empty(n, np.uint16 if n_features <= 1 << 16 else np.uint32)
    rows, code = np.empty(n, np.uint16 if len(at) <= 1 << 16 else np.uint32), np.empty(n, np.float32)
    _fill(values, ids, order, by_feature[:-1].copy(), token_ids, rows, code)
    return {
        "at": at[order], "by_token": by_token.astype(np.uint32), "ids": token_ids,
        "by_feature": by_feature, "rows": rows, "values": code, "measured": measured,
    }  # fmt: skip


def write_segment(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write a segment to its file, whole or not at all."""
    artifact.write_atomic(path, lambda temporary: save_file(arrays, temporary))


class Segments:
    """Reads the segments of ``folder``, of so many tokens each. Each is checked when it is first asked for, as compiled
    code follows its numbers: everything raises BadInput for one that is damaged."""

    def __init__(self, folder: Path, n_features: int, sizes: Sequence[int]) -> None:
        self.folder, self.n_features, self.sizes = folder, n_features, tuple(sizes)
        self.n_tokens = sum(sizes)
        self._found: dict[int, dict[str, np.ndarray]] = {}

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        """The arrays of a segment, memory-mapped: what is not read is not loaded."""
        if index not in self._found:
            path = self.folder / name_of(index)
            if not is_whole(path, self.sizes[index], self.n_features):
                raise BadInput(f"{path} does not hold the codes of {self.sizes[index]:,} tokens. {artifact.AGAIN}")
            self._found[index] = _open(path)
        return self._found[index]

    def __len__(self) -> int:
        return len(self.sizes)

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        return (self[i] for i in range(len(self)))

    @cached_property
    def last(self) -> int:
        """The last place of any token."""
        return max(int(segment["at"][-1]) for segment in self)

    @cached_property
    def n_fired(self) -> np.ndarray:
        """[features] int64: tokens on which each feature fires."""
        return sum((np.diff(segment["by_feature"]) for segment in self), np.zeros(self.n_features, np.int64))

    @cached_property
    def measured(self) -> np.ndarray:
        """[samples, numbers] float64"""
        return np.concatenate([segment["measured"] for segment in self])

    def by_token(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """By segment: the place of each of its tokens, and how many features fire there."""
        for segment in self:
            yield np.array(segment["at"]), np.diff(segment["by_token"].astype(np.int64))

    def tokens(self, budget: int) -> TokenFeatures:
        """The features of at most about ``budget`` firings' tokens, whole segments spread evenly over the text."""
        total = int(self.n_fired.sum())
        every = max(1, -(-total // budget))
        sampled = [i % every == 0 for i in range(len(self))]
        chosen = [s for s, use in zip(self, sampled, strict=True) if use]
        counts = np.concatenate([np.diff(s["by_token"].astype(np.int64)) for s in chosen])
        offsets = np.concatenate([[0], np.cumsum(counts)])
        return TokenFeatures(offsets, np.concatenate([s["ids"] for s in chosen]), sampled)

    def blocks(self, sample: TokenFeatures | None = None, budget: int = BLOCK) -> Iterator[Block]:
        """All features in order, as many at a time as ``budget`` firings allow; ``row`` points into ``sample``."""
        ends = np.cumsum(self.n_fired)
        first = 0
        while first < self.n_features:
            done = ends[first - 1] if first else 0
            last = max(first + 1, int(np.searchsorted(ends, done + budget, side="right")))
            yield self.block(first, min(last, self.n_features), sample)
            first = min(last, self.n_features)

    def block(self, first: int, last: int, sample: TokenFeatures | None = None) -> Block:
        """Features ``first`` to ``last``, the latter not among them."""
        place = np.int32 if self.last < 1 << 31 else np.int64  # memory is what gathering firings costs
        offsets = np.concatenate([[0], np.cumsum(self.n_fired[first:last])])
        n = int(offsets[-1])
        block = Block(first, offsets, np.empty(n, place), np.empty(n, np.int32), np.empty(n, np.float32))
        cursor = offsets[:-1].copy()
        base = 0
        for segment, sampled in zip(self, sample.segments if sample else [False] * len(self), strict=True):
            begin, end = segment["by_feature"][first], segment["by_feature"][last]
            _spread(
                segment["by_feature"][first : last + 1] - begin, segment["rows"][begin:end],
                segment["values"][begin:end], segment["at"], base if sampled else -1,
                cursor, block.at, block.row, block.values,
            )  # fmt: skip
            base += len(segment["at"]) if sampled else 0
        return block


def name_of(index: int) -> str:
    """The file of a segment."""
    return f"{index:06d}.safetensors"


def _open(path: Path) -> dict[str, np.ndarray]:
    with open(path, "rb") as f:
        size = int.from_bytes(f.read(8), "little")
        header = json.loads(f.read(size))
    return {
        name: np.memmap(path, _DTYPES[entry["dtype"]], "r", 8 + size + entry["data_offsets"][0], tuple(entry["shape"]))
        for name, entry in header.items()
    }


def is_whole(path: Path, n_tokens: int, n_features: int) -> bool:
    """Whether a segment is there and can be what was written: compiled code follows its numbers unasked."""
    if not path.is_file():
        return False
    try:
        s = _open(path)
        n = len(s["ids"])
        shapes = {"at": (n_tokens,), "by_token": (n_tokens + 1,), "by_feature": (n_features + 1,), "rows": (n,)}
        return (
            all(s[name].shape == shape for name, shape in (shapes | {"values": (n,)}).items())
            and s["measured"].ndim == 2
            and all(s[name].dtype == dtype for name, dtype in (("at", np.int64), ("values", np.float32)))
            and all(s[name].dtype.kind == "u" or s[name].dtype == np.int64 for name in ("ids", "rows", "by_feature"))
            and all(_counts(s[name], n) for name in ("by_token", "by_feature"))
            and bool((np.diff(s["at"]) > 0).all() and s["at"][0] >= 0)
            and all(n == 0 or 0 <= s[name].min() <= s[name].max() < most for name, most in
                    (("ids", n_features), ("rows", n_tokens)))
            and bool(np.isfinite(s["values"]).all() and np.isfinite(s["measured"]).all())
        )  # fmt: skip
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, OverflowError):
        return False


def _counts(found: np.ndarray, n: int) -> bool:
    """Whether these are offsets into ``n`` entries."""
    return bool(found[0] == 0 and found[-1] == n and (np.diff(found.astype(np.int64)) >= 0).all())


def _widened(columns: np.ndarray, width: int) -> np.ndarray:
    """With columns of 0, which are padding, up to ``width``."""
    return np.pad(columns, ((0, 0), (0, width - columns.shape[1])))


@njit(cache=True, nogil=True)
@no_type_check
def _count(values, ids, order, n_features):
    by_token = np.zeros(values.shape[0] + 1, np.int64)
    by_feature = np.zeros(n_features + 1, np.int64)
    for r in range(values.shape[0]):
        i = order[r]
        n = 0
        for j in range(values.shape[1]):
            if values[i, j] > 0:
                n += 1
                by_feature[ids[i, j] + 1] += 1
        by_token[r + 1] = by_token[r] + n
    for f in range(n_features):
        by_feature[f + 1] += by_feature[f]
    return by_token, by_feature


@njit(cache=True, nogil=True)
@no_type_check
def _fill(values, ids, order, cursor, token_ids, rows, code):
    n = 0
    for r in range(values.shape[0]):
        i = order[r]
        for j in range(values.shape[1]):
            if values[i, j] > 0:
                f = ids[i, j]
                token_ids[n] = f
                n += 1
                rows[cursor[f]] = r
                code[cursor[f]] = values[i, j]
                cursor[f] += 1


@njit(cache=True, nogil=True)
@no_type_check
def _spread(offsets, rows, values, segment_at, base, cursor, at, row, out):
    for f in range(offsets.shape[0] - 1):
        c = cursor[f]
        for e in range(offsets[f], offsets[f + 1]):
            r = rows[e]
            at[c] = segment_at[r]
            row[c] = base + r if base >= 0 else -1
            out[c] = values[e]
            c += 1
        cursor[f] = c
