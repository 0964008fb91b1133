"""shards: one safetensors file of shuffled rows: ``x`` bf16 [rows, d] and ``at`` int64 [rows], written whole and read
in ranges. ``x`` is stored less the offset of each dimension (``Hygiene.offsets``, mostly none), and so are its sums.

numpy has no bfloat16, so rows travel as their 16 bits (uint16) until they become a torch tensor.
``at`` is context_index * context + position: the row's place in tokens.npy.
"""

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, Int64, UInt8, UInt16
from pydantic import ValidationError

from physalis.activations.layout import Span
from physalis.artifact import plain, read_json, unreadable, write_atomic, write_json, wrong
from physalis.artifact.kinds import Sidecar
from physalis.errors import BadInput

EXPONENT = np.uint16(0x7F80)
"""The bits of a bfloat16 that are all set where it is infinite or not a number."""

MOST_HEADER = 1 << 16
"""Bytes: a shard's own is a hundred."""

ANEW = "Delete that file and run the record command that made the folder again: it records only this shard anew."

SLICE = 1024
"""Rows summed at a time; part of the definition of the sums, whose last bits depend on the order of addition."""


class Sums(NamedTuple):
    """What mean and scale are made of; adds up over shards."""

    rows: int
    total: Float64[np.ndarray, " d"]
    squares: Float64[np.ndarray, " d"]


class MemoryShard(NamedTuple):
    """A shard's rows in memory."""

    x: UInt16[np.ndarray, "rows d"]
    at: Int64[np.ndarray, " rows"]

    @property
    def rows(self) -> int:
        return len(self.x)

    def read_x(self, start: int, out: UInt16[np.ndarray, "n d"]) -> None:
        """Copy rows from ``start`` on into ``out``."""
        out[:] = self.x[start : start + len(out)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """A shard's file. Reads ranges of rows with one system call each; keeps no file open.

    Its size and header are checked as it is opened, and rows as they are read: they are finite numbers, and stand in
    the text where the shard's contexts do.
    """

    path: Path
    rows: int
    d: int
    x_offset: int
    at_offset: int
    places: range
    """Where its rows may stand in the text."""

    @classmethod
    def open(cls, path: Path, *, size: int, places: range = range(1 << 62)) -> "Shard":
        """Raises BadInput if the file is missing, is not ``size`` bytes or is no shard."""
        found = plain(path) if os.path.lexists(path) else None
        if found != size:
            was = "is missing" if found is None else f"is truncated or damaged: {found:,} bytes, not {size:,}"
            raise BadInput(
                f"{path.name} in {path.parent} {was}. Run the record command that made the folder again: "
                "it records only this shard anew."
            )
        try:
            with open(path, "rb") as f:
                length = int.from_bytes(f.read(8), "little")
                header = json.loads(f.read(min(length, MOST_HEADER)))
            rows, d = header["x"]["shape"]
            if type(rows) is not int or type(d) is not int or rows < 0 or d < 1:
                raise ValueError("no shape")
            wanted = _header(rows, d)
            if header != wanted or 8 + length + wanted["x"]["data_offsets"][1] != size:
                raise ValueError("the header is another one")
        except OSError as error:
            raise unreadable(error, path) from error
        except (TypeError, KeyError, ValueError, RecursionError) as error:
            raise BadInput(
                f"{path.name} in {path.parent} is not a shard of activations. Delete that file and run the record "
                "command that made the folder again: it records only this shard anew."
            ) from error
        start = 8 + length
        return cls(path=path, rows=rows, d=d, x_offset=start + 8 * rows, at_offset=start, places=places)

    def read_x(self, start: int, out: UInt16[np.ndarray, "n d"]) -> None:
        """Copy rows from ``start`` on into ``out``. Raises BadInput if one is not finite."""
        self._read(out, self.x_offset + 2 * self.d * start)
        self._check_finite(out, lambda row: start + row)

    def read_x_of(self, rows: Int64[np.ndarray, " n"]) -> UInt16[np.ndarray, "n d"]:
        """These rows, in any order. Raises BadInput if one is not finite."""
        out = np.memmap(self.path, np.uint16, "r", self.x_offset, (self.rows, self.d))[rows]
        self._check_finite(out, lambda row: int(rows[row]))
        return out

    def read_at(self, start: int, out: Int64[np.ndarray, " n"]) -> None:
        """Copy the places of the rows from ``start`` on into ``out``. Raises BadInput if one lies elsewhere than in the
        shard's contexts."""
        self._read(out, self.at_offset + 8 * start)
        if len(out) and not self.places.start <= out.min() <= out.max() < self.places.stop:
            wrong = out[(out < self.places.start) | (out >= self.places.stop)][0]
            raise BadInput(
                f"{self.path.name} in {self.path.parent} is damaged: a row stands at place {wrong:,} of the text, and "
                f"the shard holds {self.places.start:,} to {self.places.stop - 1:,}. {ANEW}"
            )

    def _check_finite(self, out: UInt16[np.ndarray, "n d"], number: Callable[[int], int]) -> None:
        broken = (out & EXPONENT) == EXPONENT
        if broken.any():
            row = number(int(np.flatnonzero(broken.any(1))[0]))
            at = np.empty(1, np.int64)
            self.read_at(row, at)
            raise BadInput(
                f"{self.path.name} in {self.path.parent} is damaged: row {row:,}, of place {at[0]:,} of the text, "
                f"holds numbers that are not finite (NaN or infinite). {ANEW}"
            )

    def _read(self, out: np.ndarray, offset: int) -> None:
        view = _bytes(out).data
        try:
            fd = os.open(self.path, os.O_RDONLY)
            try:
                while view:
                    n = os.preadv(fd, [view], offset)
                    if n == 0:
                        raise BadInput(f"{self.path} ends early. Run the record command that made the folder again.")
                    view, offset = view[n:], offset + n
            finally:
                os.close(fd)
        except OSError as error:
            raise unreadable(error, self.path) from error


def permuted(x: UInt16[np.ndarray, "rows d"], at: Int64[np.ndarray, " rows"], *, seed: int, number: int) -> MemoryShard:
    """The rows of shard ``number`` in the order in which it stores them: neighbours in the text must not be neighbours
    in a block."""
    order = np.random.default_rng([seed, number]).permutation(len(x))
    return MemoryShard(x[order], at[order])


def sums(x: UInt16[np.ndarray, "rows d"]) -> Sums:
    """Sum and sum of squares of each column, in float64 and in a fixed order, so that any worker gets the same bits."""
    total, squares = np.zeros((2, x.shape[1]))
    for start in range(0, len(x), SLICE):
        part = (x[start : start + SLICE].astype(np.uint32) << 16).view(np.float32).astype(np.float64)
        total += part.sum(0)
        squares += np.einsum("nd,nd->d", part, part)
    return Sums(len(x), total, squares)


def merge_sums(parts: list[Sums]) -> Sums:
    """Sums over several shards, added in the order given."""
    total, squares = np.zeros((2, len(parts[0].total)))
    for part in parts:
        total, squares = total + part.total, squares + part.squares
    return Sums(sum(part.rows for part in parts), total, squares)


def moments(s: Sums, offset: Float32[np.ndarray, " d"] | None = None) -> tuple[Float32[np.ndarray, " d"], float]:
    """The mean, and the scale for which the centred and scaled rows have a mean squared norm of d. ``offset`` is what
    the rows that were summed lack of their values."""
    mean = s.total / s.rows
    variance = float((s.squares / s.rows - mean**2).sum())
    whole = mean if offset is None else mean + offset
    return whole.astype(np.float32), float(np.sqrt(len(mean) / variance)) if variance > 0 else 1.0


def write_shard(path: Path, sidecar: Path, shard: MemoryShard, *, dropped: dict[str, int]) -> dict[str, Any]:
    """Write a shard and then its sidecar, which says that it is whole: rows, bytes, sha256 of all and of ``at`` alone,
    sums and dropped positions."""
    rows, d = shard.x.shape
    text = json.dumps(_header(rows, d), separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # safetensors wants the data aligned
    parts = [len(text).to_bytes(8, "little"), text, _bytes(shard.at), _bytes(shard.x)]
    sha = hashlib.sha256()

    def write(temporary: Path) -> None:
        with open(temporary, "wb") as f:
            for part in parts:
                f.write(part)
                sha.update(part)

    write_atomic(path, write)
    s = sums(shard.x)
    said = {
        "rows": rows,
        "bytes": sum(len(part) for part in parts),
        "sha256": sha.hexdigest(),
        "at": hashlib.sha256(_bytes(shard.at).data).hexdigest(),
        "dropped": dropped,
        "sum": s.total.tolist(),
        "sum_squares": s.squares.tolist(),
    }
    write_json(sidecar, said)
    return said


def read_sidecar(folder: Path, span: Span) -> dict[str, Any]:
    """What ``write_shard`` wrote beside a shard. Raises BadInput if it is missing or damaged."""
    path = folder / span.sidecar
    said = read_json(path)
    try:
        Sidecar.model_validate(said)
    except ValidationError as error:
        raise BadInput(f"{path}: {wrong(error)}. {ANEW}") from error
    return said


def _header(rows: int, d: int) -> dict[str, Any]:
    split = 8 * rows
    return {
        "at": {"dtype": "I64", "shape": [rows], "data_offsets": [0, split]},
        "x": {"dtype": "BF16", "shape": [rows, d], "data_offsets": [split, split + 2 * rows * d]},
    }


def _bytes(array: np.ndarray) -> UInt8[np.ndarray, " bytes"]:
    return array.reshape(-1).view(np.uint8)
