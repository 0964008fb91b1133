"""pairs: Pairs, several recordings of the same text joined position by position: what a dictionary reads, side by side,
and what it must predict.

An autoencoder reads one site; a transcoder reads one and writes another; a crosscoder reads several sites, or the same
site of several models with one tokenizer; a cross-layer transcoder reads and writes many. All of them are only this.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int32, Int64
from torch import Tensor

from physalis.activations.arrays import AT_ONCE, Sorted, check_room, places
from physalis.activations.joining import Joined
from physalis.activations.layout import Span
from physalis.activations.mixing import Round, ahead, between, mixed
from physalis.activations.parts import Part, frame_of, inputs_of, offset_of, origin_of
from physalis.activations.positions import DOCUMENTS, TOKENS
from physalis.activations.rounding import all_read_back, read_back
from physalis.activations.store import Activations, Fingerprinted, mark_kept
from physalis.errors import BadInput
from physalis.types import Batch, Frame


class PairedRows(NamedTuple):
    """What is read, what is predicted, and where both come from."""

    x: Float[Tensor, "n d_in"]
    y: Float[Tensor, "n d_out"]
    at: Int64[Tensor, " n"]
    """context_index * context + position."""


class Pairs:
    """Joined activations: all of them, or with ``train`` and ``held_out`` a part. Read like Activations.

    Rows are those of the positions that every recording kept. Mean and scale of each site are its recording's own.
    """

    def __init__(
        self, reads: Sequence[Activations], writes: Sequence[Activations], spans: list[Span], shards: list[Joined]
    ) -> None:
        """Use ``Pairs.open``."""
        self.reads, self.writes = reads, writes
        self.spans, self.shards = spans, shards

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
    def n_tokens(self) -> int:
        """Rows: positions that every recording kept."""
        return sum(shard.rows for shard in self.shards)

    @property
    def left_out(self) -> int:
        """Rows that the fullest recording has and another has not; 0 for sites recorded together."""
        return sum(shard.left_out for shard in self.shards)

    @property
    def d_in(self) -> int:
        return sum(self.widths)

    @property
    def d_out(self) -> int:
        return sum(each.d for each in self.writes) if self.writes else self.d_in

    @property
    def widths(self) -> tuple[int, ...]:
        """The width of each recording that is read, in order."""
        return tuple(each.d for each in self.reads)

    @cached_property
    def parts(self) -> tuple[list[Part], list[Part]]:
        """What is known of each recording: those that are read, and those that are written."""
        return [each.part for each in self.reads], [each.part for each in self.writes]

    @property
    def frame(self) -> Frame:
        """Mean and scale of each site, side by side: every site has mean square 1 an element inside it."""
        return frame_of(*self.parts)

    @property
    def origin(self) -> dict[str, Any]:
        """What a dictionary trained on this says of where it belongs: sites, model and hygiene."""
        return origin_of(*self.parts)

    @property
    def inputs(self) -> dict[str, str]:
        """Hashes of what a dictionary trained on this is made from: model, tokenizer and activations."""
        return inputs_of(*self.parts)

    @property
    def context(self) -> int:
        """Tokens a context."""
        return self.reads[0].context

    @property
    def tokens(self) -> Int32[np.ndarray, "contexts context"]:
        """Token ids of the whole corpus; ``at`` counts in it whichever part is read."""
        return self.reads[0].tokens

    @property
    def documents(self) -> Int32[np.ndarray, "contexts context"]:
        """For each token of the whole corpus the number of its document."""
        return self.reads[0].documents

    @property
    def contexts(self) -> Int64[np.ndarray, " n"]:
        """The contexts that this part holds: indices into ``tokens``."""
        spans = [np.arange(span.start, span.stop) for span in self.spans]
        return np.concatenate(spans) if spans else np.empty(0, np.int64)

    @property
    def train(self) -> "Pairs":
        """The part to train on: all contexts but the last."""
        return self._part(held_out=False)

    @property
    def held_out(self) -> "Pairs":
        """The part to judge by: a random sample of documents, which the last contexts hold."""
        return self._part(held_out=True)

    def _part(self, *, held_out: bool) -> "Pairs":
        chosen = [i for i, span in enumerate(self.spans) if span.held_out == held_out]
        return Pairs(self.reads, self.writes, [self.spans[i] for i in chosen], [self.shards[i] for i in chosen])

    def n_batches(self, size: int, *, epochs: int = 1) -> int:
        """How many batches ``batches`` yields."""
        return self.n_tokens * epochs // size

    def batches(self, size: int, *, seed: int, epochs: int = 1, start: int = 0) -> Iterator[Batch]:
        """Batches of exactly ``size`` rows, shuffled and resumed as those of Activations: sites recorded together give
        the same positions in the same order, joined or alone."""
        rounds = (Round(self.shards, [seed, epoch]) for epoch in range(epochs))
        stored = mixed(rounds, self._width, size, skip=start * size)
        return (Batch(*self._split(rows)) for rows in all_read_back(stored, self.offset))

    def ordered(self, size: int, *, start: int = 0, stop: int | None = None) -> Iterator[PairedRows]:
        """Every row once with its place, shard after shard, at most ``size`` at a time; only what holds rows ``start``
        up to ``stop`` is read and given."""
        if size < 1:
            raise BadInput(f"Rows are read at least 1 at a time; received size={size}.")
        pieces = ((shard, i, min(size, shard.rows - i)) for shard in self.shards for i in range(0, shard.rows, size))

        def load(piece: tuple[Joined, int, int]) -> PairedRows:
            shard, start, rows = piece
            both = torch.empty(rows, self._width, dtype=torch.bfloat16)
            at = torch.empty(rows, dtype=torch.int64)
            shard.read_x(start, both.view(torch.uint16).numpy())
            shard.read_at(start, at.numpy())
            return PairedRows(*self._split(read_back(both, self.offset)), at)

        return ahead(load, between(pieces, start, stop))

    @property
    def at(self) -> Int64[np.ndarray, " tokens"]:
        """The place of each row that ``numpy`` gives, as that of Activations."""
        return np.sort(places(self.shards))

    def numpy(self) -> tuple[Float32[np.ndarray, "tokens d_in"], Float32[np.ndarray, "tokens d_out"]]:
        """What is read and what is predicted, all rows at once, in the order of the text; the same array twice where
        that is the same. Raises BadInput where they do not fit into memory."""
        check_room(self.n_tokens, self._width)
        found = Sorted(places(self.shards), self._width)
        for rows in self.ordered(AT_ONCE):
            found.put(rows.x, *([rows.y] if self.writes else []))
        x = found.rows[:, : self.d_in]
        return x, found.rows[:, self.d_in :] if self.writes else x

    def require(self, model: Fingerprinted) -> None:
        """Raise BadInput unless every recording is of this very model with this very tokenizer."""
        for each in [*self.reads, *self.writes]:
            each.require(model)

    def kept(self, contexts: Int64[np.ndarray, " n"]) -> Bool[Tensor, "n context"]:
        """True at the positions of these contexts (indices into ``tokens``) that have a row here."""
        keep = np.zeros((len(contexts), self.context), bool)
        for span, shard in zip(self.spans, self.shards, strict=True):
            mark_kept(keep, contexts, span, shard)
        return torch.from_numpy(keep)

    @property
    def _width(self) -> int:
        return self.d_in + (self.d_out if self.writes else 0)

    @cached_property
    def offset(self) -> Float32[Tensor, " d"] | None:
        """What stored rows lack of their values, those of every site side by side; None where that is nothing."""
        return offset_of([*self.parts[0], *self.parts[1]])

    def _split(self, rows: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "n d_in"], Float[Tensor, "n d_out"]]:
        return (rows[:, : self.d_in], rows[:, self.d_in :]) if self.writes else (rows, rows)


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
