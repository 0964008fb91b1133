"""mixing: batches shuffled over a whole set of shards, read in blocks, in an order that can be entered anywhere.

1. A *round* is a random order of all blocks of 128 rows of its shards, cut into *buffers* of at most 16,384 rows. An
   epoch over stored activations is one round; a stream has one for each window that it holds in memory.
2. A buffer's blocks are read in disk order by a thread, one buffer ahead.
3. Batches gather a buffer's rows in random order, one buffer after another, across buffers and rounds.
Everything random follows from (the round's key, buffer), so skipping a million batches reads none of them.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from typing import NamedTuple, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from jaxtyping import BFloat16, Float, Int64, UInt16
from torch import Tensor

from physalis.errors import BadInput
from physalis.runtime.device import pinned

BLOCK, BUFFER = 128, 16_384
"""Rows. A buffer this small stays in the processor's cache: blocks of 256 rows and buffers of 65,536 cost twice the
time. It mixes as well, since rows are already shuffled inside shards: on SmolLM2 the variance of a batch's mean (2,048
rows) is 1.01 times that of an ideal shuffle for both, but 1.07 with blocks of 256 rows and 1.4 without a buffer."""

BUFFER_BYTES = 1 << 28
"""A buffer of wide rows holds fewer of them: this many bytes at most, or 16,384 rows of width 8,192."""

A = TypeVar("A")
B = TypeVar("B")
P = TypeVar("P", bound=tuple)


@runtime_checkable
class Readable(Protocol):
    """Rows that can be read by range: a Shard, a MemoryShard, or several side by side."""

    @property
    def rows(self) -> int: ...

    def read_x(self, start: int, out: UInt16[np.ndarray, "n d"]) -> None:
        """Copy rows from ``start`` on into ``out``."""
        ...


class Rows(NamedTuple):
    """Activations and where they come from."""

    x: Float[Tensor, "n d"]
    at: Int64[Tensor, " n"]
    """context_index * context + position."""

    @property
    def y(self) -> Float[Tensor, "n d"]:
        """What is to be predicted: what is read."""
        return self.x


class Round(NamedTuple):
    """Shards whose rows are shuffled together, once."""

    shards: Sequence[Readable]
    key: Sequence[int]
    """What decides the order."""


class _Blocks:
    """All blocks of a round's shards, numbered in disk order."""

    def __init__(self, shards: Sequence[Readable]) -> None:
        self.shards = list(shards)
        self.rows = np.array([shard.rows for shard in shards], np.int64)
        self.first = np.concatenate([[0], np.cumsum(-(-self.rows // BLOCK))])
        """The number of each shard's first block, and at the end how many blocks there are."""

    def places(self, numbers: Int64[np.ndarray, " n"]) -> tuple[Int64[np.ndarray, " n"], ...]:
        """(shard, first row in it, rows) of each of these blocks."""
        shard = np.searchsorted(self.first, numbers, side="right") - 1
        start = (numbers - self.first[shard]) * BLOCK
        return shard, start, np.minimum(BLOCK, self.rows[shard] - start)


class _Buffer(NamedTuple):
    blocks: _Blocks
    numbers: Int64[np.ndarray, " n"]
    """Of the blocks that it holds."""
    rows: int
    key: list[int]
    last: bool
    """Whether it is the round's last one."""


def mixed(rounds: Iterable[Round], d: int, size: int, *, skip: int = 0) -> Iterator[BFloat16[Tensor, "size d"]]:
    """Batches of exactly ``size`` rows of width ``d``, each row once a round; the rows left at the very end that do
    not fill a batch are dropped. ``skip`` rows are passed over without reading them."""
    if size < 1:
        raise BadInput(f"A batch needs at least 1 row; received size={size}.")
    largest = max(BLOCK, min(BUFFER, BUFFER_BYTES // (2 * d)))
    # One space is read from while the other is read into; fresh memory each time would cost more than the reading.
    # numpy's memory, because numpy asks for huge pages.
    spaces = cycle([np.empty((largest, d), np.uint16) for _ in range(2)])

    def load(todo: tuple[_Buffer, int]) -> tuple[_Buffer, int, np.ndarray]:
        space = next(spaces)
        _read(todo[0], space)
        if todo[0].last:  # a window's memory goes before the next one's comes
            todo[0].blocks.shards.clear()
        return *todo, space

    def fresh() -> tuple[Tensor, np.ndarray]:
        out = torch.empty(size, d, dtype=torch.bfloat16, pin_memory=pinned())
        return out, out.view(torch.uint16).numpy()

    (out, bits), have = fresh(), 0
    for buffer, done, rows in ahead(load, _entered(_buffers(rounds, largest), skip)):
        order = np.random.default_rng(buffer.key).permutation(buffer.rows)
        while done < len(order):
            n = min(size - have, len(order) - done)
            # "clip" is the mode that writes to ``out`` directly; the indices are in range anyway.
            rows.take(order[done : done + n], axis=0, out=bits[have : have + n], mode="clip")
            done, have = done + n, have + n
            if have == size:
                yield out
                (out, bits), have = fresh(), 0


def between(pieces: Iterable[P], start: int, stop: int | None) -> Iterator[P]:
    """Those of ``pieces``, each (shard, first row, rows), that hold rows ``start`` up to ``stop`` of all, whole."""
    seen = 0
    for piece in pieces:
        if stop is not None and seen >= stop:
            return
        seen += piece[2]
        if seen > start:
            yield piece


def ahead(function: Callable[[A], B], items: Iterable[A]) -> Iterator[B]:
    """``map``, computed one item ahead in a thread of its own."""
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as pool:
        pending = None
        for item in items:
            done, pending = pending, pool.submit(function, item)
            if done is not None:
                yield done.result()
                done = None
        if pending is not None:
            yield pending.result()


def _buffers(rounds: Iterable[Round], largest: int) -> Iterator[_Buffer]:
    for shards, key in rounds:
        blocks = _Blocks(shards)
        del shards
        order = np.random.default_rng([*key]).permutation(blocks.first[-1])
        ends = np.cumsum(blocks.places(order)[2])
        start = done = number = 0
        while start < len(order):
            stop = int(np.searchsorted(ends, done + largest, side="right"))
            rows = int(ends[stop - 1]) - done
            yield _Buffer(blocks, order[start:stop], rows, [*key, number], stop == len(order))
            start, done, number = stop, done + rows, number + 1


def _entered(buffers: Iterator[_Buffer], skip: int) -> Iterator[tuple[_Buffer, int]]:
    # Each buffer with the number of its first rows that were consumed before.
    for buffer in buffers:
        if skip < buffer.rows:
            yield buffer, skip
        skip = max(0, skip - buffer.rows)


def _read(buffer: _Buffer, out: UInt16[np.ndarray, "rows d"]) -> None:
    done = 0
    for shard, start, rows in zip(*map(np.ndarray.tolist, buffer.blocks.places(np.sort(buffer.numbers))), strict=True):
        buffer.blocks.shards[shard].read_x(start, out[done : done + rows])
        done += rows
