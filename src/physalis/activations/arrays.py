"""arrays: all rows of a set of activations at once, in the order of the text, as numpy knows them."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from physalis.errors import BadInput
from physalis.runtime.device import CPU, free_memory

AT_ONCE = 8_192
"""Rows."""


@runtime_checkable
class Placed(Protocol):
    """Rows that know their place in the corpus: a Shard, or several side by side."""

    @property
    def rows(self) -> int: ...

    def read_at(self, start: int, out: Int64[np.ndarray, " n"]) -> None:
        """Copy the places of the rows from ``start`` on into ``out``."""
        ...


def places(shards: Sequence[Placed]) -> Int64[np.ndarray, " tokens"]:
    """The places of the rows of every shard, in the order in which they are stored."""
    at = np.empty(sum(shard.rows for shard in shards), np.int64)
    start = 0
    for shard in shards:
        shard.read_at(0, at[start : start + shard.rows])
        start += shard.rows
    return at


def check_room(tokens: int, width: int) -> None:
    """Raises BadInput where so many float32 rows do not fit into memory."""
    needed, free = tokens * width * 4, free_memory(CPU)
    if needed > free:
        raise BadInput(
            f"{tokens:,} rows of {width:,} numbers take {needed / 1e9:,.1f} GB, and {free / 1e9:,.1f} GB of memory are "
            "free. Read a part, `held_out.numpy()`, or go through them with `ordered`."
        )


class Sorted:
    """Rows put where the text has them, as they come."""

    def __init__(self, at: Int64[np.ndarray, " tokens"], width: int) -> None:
        """``at`` are the places of all rows, in the order in which they come."""
        self._to = np.empty(len(at), np.int64)
        self._to[np.argsort(at, kind="stable")] = np.arange(len(at))
        self._next = 0
        self.rows: Float32[np.ndarray, "tokens d"] = np.empty((len(at), width), np.float32)

    def put(self, *parts: Tensor) -> None:
        """The next rows, their parts side by side."""
        stop = self._next + len(parts[0])
        self.rows[self._to[self._next : stop]] = torch.cat([each.float() for each in parts], 1).numpy()
        self._next = stop
