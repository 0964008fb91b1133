"""joining: shards of the same contexts side by side, row by row of the same position.

Sites recorded together store the same positions in the same order, and are read as they lie. Shards of different
recordings (two models, say) may differ in what hygiene left out, and so in their order: then the rows are those of the
positions that all have, in the order of the first shard, and the others' rows are gathered one by one.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int64, UInt16

from physalis.activations.shards import Shard


class Joined:
    """Several shards read as one whose rows are theirs, concatenated."""

    def __init__(self, shards: Sequence[Shard], *, alike: bool = False) -> None:
        """The shards hold the same contexts. ``alike`` says that they hold the same positions in the same order, so
        that their places need not be read to know it."""
        self.shards = shards
        places = [_places(shard) for shard in shards] if len(shards) > 1 and not alike else []
        self.orders: list[Int64[np.ndarray, " rows"]] | None = None
        """For each shard the rows of it that are read, in order; None where all are, as they lie."""
        if any(not np.array_equal(places[0], other) for other in places[1:]):
            self.orders = _common(places)

    @property
    def rows(self) -> int:
        return self.shards[0].rows if self.orders is None else len(self.orders[0])

    @property
    def left_out(self) -> int:
        """Rows of the fullest shard that another has not."""
        return max(shard.rows for shard in self.shards) - self.rows

    def read_x(self, start: int, out: UInt16[np.ndarray, "n d"]) -> None:
        """Copy rows from ``start`` on into ``out``."""
        if len(self.shards) == 1:
            return self.shards[0].read_x(start, out)
        column = 0
        for i, shard in enumerate(self.shards):
            if self.orders is None:
                part = np.empty((len(out), shard.d), np.uint16)
                shard.read_x(start, part)
            else:
                part = shard.read_x_of(self.orders[i][start : start + len(out)])
            out[:, column : column + shard.d] = part
            column += shard.d

    def read_at(self, start: int, out: Int64[np.ndarray, " n"]) -> None:
        """Copy the places of the rows from ``start`` on into ``out``."""
        if self.orders is None:
            return self.shards[0].read_at(start, out)
        out[:] = _places(self.shards[0])[self.orders[0][start : start + len(out)]]


def _places(shard: Shard) -> Int64[np.ndarray, " rows"]:
    at = np.empty(shard.rows, np.int64)
    shard.read_at(0, at)
    return at


def _common(places: Sequence[Int64[np.ndarray, " _"]]) -> list[Int64[np.ndarray, " rows"]]:
    shared = places[0]
    for other in places[1:]:
        shared = shared[np.isin(shared, other)]
    orders = []
    for at in places:
        by_place = at.argsort()
        orders.append(by_place[np.searchsorted(at, shared, sorter=by_place)])
    return orders
