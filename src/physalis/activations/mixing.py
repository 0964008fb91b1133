"""mixing: batches shuffled over a whole set of shards, read in blocks, in an order that can be entered anywhere.

1. An epoch is a random order of all blocks of 256 rows of all shards, cut into *buffers* of at most 65,536 rows.
2. A buffer's blocks are read in disk order and their rows scattered to random places: one pass over memory.
3. Batches are cut from the buffers one after another, across buffers and epochs. A thread fills the next buffer
   meanwhile.
Everything random follows from (seed, epoch, buffer), so skipping a million batches reads none of them.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from jaxtyping import BFloat16, Int64, UInt16
from torch import Tensor

from physalis.device import default_device
from physalis.errors import BadInput
from physalis.types import Batch

BLOCK, BUFFER = 256, 65_536

A = TypeVar("A")
B = TypeVar("B")


class Source(Protocol):
    """Rows that can be read by range: a Shard, or a MemoryShard."""

    @property
    def rows(self) -> int: ...

    def read_x(self, start: int, out: UInt16[np.ndarray, "n d"]) -> None:
        """Copy rows from ``start`` on into ``out``."""
        ...


class Rows(NamedTuple):
    """Activations and where they come from."""

    x: BFloat16[Tensor, "n d"]
    at: Int64[Tensor, " n"]
    """context_index * context + position."""


class _Block(NamedTuple):
    shard: int
    start: int
    rows: int


class _Buffer(NamedTuple):
    blocks: list[_Block]
    key: list[int]

    @property
    def rows(self) -> int:
        return sum(b.rows for b in self.blocks)


def mixed(
    shards: Sequence[Source], d: int, size: int, *, seed: Sequence[int], epochs: Iterable[int], skip: int = 0
) -> Iterator[Batch]:
    """Batches of exactly ``size`` rows of width ``d``, each row once an epoch; the rows left at the very end that do
    not fill a batch are dropped. ``skip`` rows are passed over without reading them."""
    if size < 1:
        raise BadInput(f"A batch needs at least 1 row; received size={size}.")
    pinned = default_device().type == "cuda"  # lets the copy to the GPU overlap with computing

    def load(todo: tuple[_Buffer, int]) -> Tensor:
        buffer, passed = todo
        return _filled(buffer, shards, d, pinned)[passed:]

    left: Tensor | None = None
    for rows in ahead(load, _entered(_buffers(shards, seed, epochs), skip)):
        start = 0
        if left is not None:
            start = size - len(left)
            left = torch.cat([left, rows[:start]])
            if len(left) < size:
                continue
            yield Batch(left, left)
            left = None
        for i in range(start, len(rows) - size + 1, size):
            x = rows[i : i + size]
            yield Batch(x, x)
        rest = (len(rows) - start) % size
        left = rows[len(rows) - rest :].clone() if rest else None  # a view would keep the whole buffer


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


def _buffers(shards: Sequence[Source], seed: Sequence[int], epochs: Iterable[int]) -> Iterator[_Buffer]:
    blocks = [
        _Block(i, start, min(BLOCK, shard.rows - start))
        for i, shard in enumerate(shards)
        for start in range(0, shard.rows, BLOCK)
    ]
    for epoch in epochs:
        held: list[_Block] = []
        count = number = 0
        for i in np.random.default_rng([*seed, epoch]).permutation(len(blocks)):
            block = blocks[i]
            if count + block.rows > BUFFER:
                yield _Buffer(sorted(held), [*seed, epoch, number])
                held, count, number = [], 0, number + 1
            held.append(block)
            count += block.rows
        if held:
            yield _Buffer(sorted(held), [*seed, epoch, number])


def _entered(buffers: Iterator[_Buffer], skip: int) -> Iterator[tuple[_Buffer, int]]:
    # Each buffer with the number of its first rows that were consumed before.
    for buffer in buffers:
        rows = buffer.rows
        if skip < rows:
            yield buffer, skip
        skip = max(0, skip - rows)


def _filled(buffer: _Buffer, shards: Sequence[Source], d: int, pinned: bool) -> Tensor:
    out = torch.empty(buffer.rows, d, dtype=torch.bfloat16, pin_memory=pinned)
    view = out.view(torch.uint16).numpy()
    place = np.random.default_rng(buffer.key).permutation(len(view))
    scratch = np.empty((BLOCK, d), np.uint16)
    done = 0
    for block in buffer.blocks:
        rows = scratch[: block.rows]
        shards[block.shard].read_x(block.start, rows)
        view[place[done : done + block.rows]] = rows
        done += block.rows
    return out
