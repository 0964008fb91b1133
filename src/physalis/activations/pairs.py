"""pairs: Pairs, several recordings of the same text joined position by position: what a dictionary reads, side by side,
and what it must predict.

An autoencoder reads one site; a transcoder reads one and writes another; a crosscoder reads several sites, or the same
site of several models with one tokenizer; a cross-layer transcoder reads and writes many. All of them are only this.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from physalis.activations.arrays import AT_ONCE, Sorted, check_room, places
from physalis.activations.joining import Joined
from physalis.activations.layout import Span
from physalis.activations.parts import Part
from physalis.activations.positions import DOCUMENTS, TOKENS
from physalis.activations.recorded import Fingerprinted, Stored
from physalis.activations.store import Activations
from physalis.errors import BadInput


class PairedRows(NamedTuple):
    """What is read, what is predicted, and where both come from."""

    x: Float[Tensor, "n d_in"]
    y: Float[Tensor, "n d_out"]
    at: Int64[Tensor, " n"]
    """context_index * context + position."""


class Pairs(Stored):
    """Joined activations: all of them, or with ``train`` and ``held_out`` a part. Read like Activations.

    Rows are those of the positions that every recording kept. Mean and scale of each site are its recording's own.
    """

    shards: Sequence[Joined]

    def __init__(
        self, reads: Sequence[Activations], writes: Sequence[Activations], spans: list[Span], shards: Sequence[Joined]
    ) -> None:
        """Use ``Pairs.open``."""
        self._reads, self._writes = reads, writes
        self.spans, self.shards, self.positions = spans, shards, reads[0].positions

    @classmethod
    def open(cls, reads: Sequence[Path | str], writes: Sequence[Path | str] | None = None) -> "Pairs":
        """Join finished recordings: ``x`` is the rows of ``reads`` side by side, in the order given; ``y`` those of
        ``writes``, or ``x`` itself where there are none.

        Recordings made by one ``record`` line up exactly. Others must hold the same tokens in shards of the same
        contexts; positions that one of them left out are left out here. Raises BadInput naming the first difference, or
        if no position is left.
        """
        if not reads or (writes is not None and not writes):
            raise BadInput("Pairs need at least one recording to read, and one to write unless writes is None.")
        opened = [[Activations.open(folder) for folder in folders] for folders in (reads, writes or [])]
        every = [*opened[0], *opened[1]]
        for other in every[1:]:
            _check_lined_up(every[0], other)
        places = zip(*([shard["at"] for shard in each.manifest.facts["shards"]] for each in every), strict=True)
        shards = [
            Joined(shards, alike=len(set(at)) == 1)
            for shards, at in zip(zip(*(each.shards for each in every), strict=True), places, strict=True)
        ]
        pairs = cls(opened[0], opened[1], every[0].spans, shards)
        if pairs.n_tokens == 0:
            raise BadInput(
                f"{every[0].folder} and {every[1].folder} have no position in common: whatever one kept, hygiene left "
                "out of the other. Record them again, in one call where they are sites of one model."
            )
        return pairs

    def __repr__(self) -> str:
        said = self.origin
        writes = f" to {said['writes']}" if self.writes else ""
        return f"Pairs({said['site']}{writes} of {said['model']}, {self.n_tokens:,} tokens)"

    @property
    def reads(self) -> Sequence[Activations]:
        return self._reads

    @property
    def writes(self) -> Sequence[Activations]:
        return self._writes

    @property
    def left_out(self) -> int:
        """Rows that the fullest recording has and another has not; 0 for sites recorded together."""
        return sum(shard.left_out for shard in self.shards)

    @property
    def parts(self) -> tuple[list[Part], list[Part]]:
        """What is known of each recording: those that are read, and those that are written."""
        return self._parts

    @cached_property
    def _parts(self) -> tuple[list[Part], list[Part]]:
        return [each.part for each in self.reads], [each.part for each in self.writes]

    def ordered(self, size: int, *, start: int = 0, stop: int | None = None) -> Iterator[PairedRows]:
        """Every row once with its place, shard after shard, at most ``size`` at a time; only what holds rows ``start``
        up to ``stop`` is read and given."""
        return (PairedRows(*self._split(rows), at) for rows, at in self._in_order(size, start, stop))

    def numpy(self) -> tuple[Float32[np.ndarray, "tokens d_in"], Float32[np.ndarray, "tokens d_out"]]:
        """What is read and what is predicted, all rows at once, in the order of the text; the same array twice where
        that is the same. Raises BadInput where they do not fit into memory."""
        check_room(self.n_tokens, self._width)
        found = Sorted(places(self.shards), self._width)
        for rows in self.ordered(AT_ONCE):
            found.put(rows.x, *([rows.y] if self.writes else []))
        x = found.rows[:, : self.d_in]
        return x, found.rows[:, self.d_in :] if self.writes else x

    def _of(self, chosen: list[int]) -> "Pairs":
        return Pairs(self.reads, self.writes, [self.spans[i] for i in chosen], [self.shards[i] for i in chosen])

    def require(self, model: Fingerprinted) -> None:
        """Raise BadInput unless every recording is of this very model with this very tokenizer."""
        for each in [*self.reads, *self.writes]:
            each.require(model)


def _check_lined_up(one: Activations, other: Activations) -> None:
    both = f"{one.folder} and {other.folder}"
    for name, what in ((TOKENS, "token"), (DOCUMENTS, "document")):
        if one.manifest.files.get(name) == other.manifest.files.get(name):
            continue
        a, b = (each.tokens if name == TOKENS else each.documents for each in (one, other))
        if a.shape != b.shape:
            raise BadInput(
                f"{both} do not line up: {a.shape[0]:,} contexts of {a.shape[1]} tokens and {b.shape[0]:,} of "
                f"{b.shape[1]}. Record both on the same text with the same tokens, context and BOS."
            )
        context, position = (int(i) for i in np.argwhere(a != b)[0])
        raise BadInput(
            f"{both} do not line up: position {position} of context {context} holds {what} {a[context, position]} in "
            f"the one and {b[context, position]} in the other. Record both on the same text, with the same tokenizer."
        )
    for a, b in zip(one.spans, other.spans, strict=False):
        if a != b:
            raise BadInput(
                f"{both} do not line up: {a.name} holds contexts {a.start} to {a.stop} in the one and {b.start} to "
                f"{b.stop} in the other. Record both with the same held_out and shard_rows."
            )
    if len(one.spans) != len(other.spans):
        raise BadInput(
            f"{both} do not line up: {len(one.spans)} shards and {len(other.spans)}. Record both with the same "
            "held_out and shard_rows."
        )
