"""recorded: what Activations, Pairs and a Stream have in common: rows of the sites that a dictionary reads, and of
those that it predicts.

Everything that is known of them without reading a row follows from their parts, the sites one by one. A dictionary
of some of the sites is trained on a ``View`` of them, beside others that have the same batches.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from jaxtyping import BFloat16, Bool, Float, Float32, Int32, Int64
from torch import Tensor

from physalis.activations.arrays import Placed, places
from physalis.activations.layout import Span
from physalis.activations.mixing import Readable, Round, ahead, between, mixed
from physalis.activations.parts import Part, frame_of, inputs_of, offset_of, origin_of
from physalis.activations.positions import Positions
from physalis.activations.rounding import all_read_back, read_back
from physalis.artifact import Manifest
from physalis.errors import BadInput
from physalis.site import Site
from physalis.types import Batch, Frame

R = TypeVar("R", bound="Recorded")
S = TypeVar("S", bound="Stored")


@runtime_checkable
class Fingerprinted(Protocol):
    """What ``require`` compares: a Model has these."""

    fingerprint: Any
    tokenizer_fingerprint: Any
    vocab_size: Any


@runtime_checkable
class Pair(Protocol):
    """Rows with what they are to predict and their places, as ``ordered`` gives them."""

    @property
    def x(self) -> Float[Tensor, "n d_in"]: ...

    @property
    def y(self) -> Float[Tensor, "n d_out"]: ...

    @property
    def at(self) -> Int64[Tensor, " n"]: ...


@runtime_checkable
class OneSite(Protocol):
    """The recording of one site: Activations."""

    folder: Path
    manifest: Manifest

    @property
    def site(self) -> Site: ...


@runtime_checkable
class Stretch(Readable, Placed, Protocol):
    """Rows that can be read by range, with their places: a Shard, or several side by side."""


class Recorded(ABC):
    """Rows of one site, or of several side by side: ``x`` is what is read, ``y`` what is predicted, or ``x`` itself."""

    @property
    @abstractmethod
    def parts(self) -> tuple[list[Part], list[Part]]:
        """What is known of each site: those that are read, and those that are written, none where ``y`` is ``x``."""

    @property
    @abstractmethod
    def n_tokens(self) -> int:
        """Rows."""

    @property
    @abstractmethod
    def train(self: R) -> R:
        """The part to train on."""

    @abstractmethod
    def batches(self, size: int, *, seed: int, epochs: int = 1, start: int = 0) -> Iterator[Batch]:
        """Batches of exactly ``size`` rows, shuffled anew each epoch, less the ``start`` that are passed over."""

    @property
    def widths(self) -> tuple[int, ...]:
        """The width of each site that is read, in order."""
        return tuple(len(part.mean) for part in self.parts[0])

    @property
    def d_in(self) -> int:
        """The width of ``x``."""
        return sum(self.widths)

    @property
    def d_out(self) -> int:
        """The width of ``y``."""
        return sum(len(part.mean) for part in self.parts[1]) or self.d_in

    @property
    def frame(self) -> Frame:
        """Mean and scale of each site, side by side, as ``train`` applies them: every site has mean square 1 an element
        inside it."""
        return frame_of(*self.parts)

    @property
    def origin(self) -> dict[str, Any]:
        """What a dictionary trained on this says of where it belongs: sites, model and hygiene."""
        return origin_of(*self.parts)

    @property
    def inputs(self) -> dict[str, str]:
        """Hashes of what a dictionary trained on this is made from: model, tokenizer and activations."""
        return inputs_of(*self.parts)

    def n_batches(self, size: int, *, epochs: int = 1) -> int:
        """How many batches ``batches`` yields."""
        return self.n_tokens * epochs // size

    def _split(self, rows: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "n d_in"], Float[Tensor, "n d_out"]]:
        d_in = self.d_in
        return (rows[:, :d_in], rows[:, d_in:]) if self.parts[1] else (rows, rows)


class Stored(Recorded):
    """What lies on the disk, with the text that it is of: all of it, or with ``train`` and ``held_out`` a part.

    ``spans`` say which contexts each of ``shards`` holds."""

    spans: list[Span]
    shards: Sequence[Stretch]
    positions: Positions

    @property
    @abstractmethod
    def reads(self) -> Sequence[OneSite]:
        """The recording of each site that is read."""

    @property
    @abstractmethod
    def writes(self) -> Sequence[OneSite]:
        """The recording of each site that is predicted; none where that is what is read."""

    @abstractmethod
    def ordered(self, size: int, *, start: int = 0, stop: int | None = None) -> Iterator[Pair]:
        """Every row once with its place, shard after shard, at most ``size`` at a time."""

    @abstractmethod
    def require(self, model: Fingerprinted) -> None:
        """Raise BadInput unless this is of that very model with that very tokenizer."""

    @abstractmethod
    def _of(self: S, chosen: list[int]) -> S:
        """The part that has these of the shards."""

    @property
    def n_tokens(self) -> int:
        """Rows: positions that hygiene kept at every site."""
        return sum(shard.rows for shard in self.shards)

    @property
    def context(self) -> int:
        """Tokens a context."""
        return self.positions.context

    @property
    def tokens(self) -> Int32[np.ndarray, "contexts context"]:
        """Token ids of the whole corpus, mapped from the file; ``at`` counts in it whichever part is read."""
        return self.positions.tokens

    @property
    def documents(self) -> Int32[np.ndarray, "contexts context"]:
        """For each token of the whole corpus the number of its document, mapped from the file."""
        return self.positions.documents

    @property
    def contexts(self) -> Int64[np.ndarray, " n"]:
        """The contexts that this part holds: indices into ``tokens``."""
        spans = [np.arange(span.start, span.stop) for span in self.spans]
        return np.concatenate(spans) if spans else np.empty(0, np.int64)

    @property
    def train(self: S) -> S:
        """The part to train on: all contexts but the last."""
        return self._of([i for i, span in enumerate(self.spans) if not span.held_out])

    @property
    def held_out(self: S) -> S:
        """The part to judge by: a random sample of documents, which the last contexts hold. It shares no document with
        ``train`` but those that are too long to be held out whole (``facts["n_shared_documents"]``)."""
        return self._of([i for i, span in enumerate(self.spans) if span.held_out])

    def batches(self, size: int, *, seed: int, epochs: int = 1, start: int = 0) -> Iterator[Batch]:
        """Batches of exactly ``size`` rows, shuffled anew each epoch over the whole set: sites recorded together give
        the same positions in the same order, joined or alone.

        A batch may span two epochs; the rows left at the very end are dropped. ``start`` batches are passed over
        without being read: what follows is what an unbroken iteration would give.
        """
        rounds = (Round(self.shards, [seed, epoch]) for epoch in range(epochs))
        stored = mixed(rounds, self._width, size, skip=start * size)
        return (Batch(*self._split(rows)) for rows in all_read_back(stored, self.offset))

    @property
    def at(self) -> Int64[np.ndarray, " tokens"]:
        """The place of each row that ``numpy`` gives: ``tokens.reshape(-1)[at]`` are their token ids, and ``at %
        context`` their positions."""
        return np.sort(places(self.shards))

    def kept(self, contexts: Int64[np.ndarray, " n"]) -> Bool[Tensor, "n context"]:
        """True at the positions of these contexts (indices into ``tokens``) that have a row here: what hygiene kept at
        every site. Reads only the places stored in the shards that hold the contexts."""
        keep = np.zeros((len(contexts), self.context), bool)
        for span, shard in zip(self.spans, self.shards, strict=True):
            _mark_kept(keep, contexts, span, shard)
        return torch.from_numpy(keep)

    @cached_property
    def offset(self) -> Float32[Tensor, " d"] | None:
        """What stored rows lack of their values, those of every site side by side; None where that is nothing."""
        return offset_of([*self.parts[0], *self.parts[1]])

    @property
    def _width(self) -> int:
        return self.d_in + (self.d_out if self.parts[1] else 0)

    def _in_order(
        self, size: int, start: int, stop: int | None
    ) -> Iterator[tuple[Float[Tensor, "n d"], Int64[Tensor, " n"]]]:
        # Every row once with its place, shard after shard, at most ``size`` at a time.
        if size < 1:
            raise BadInput(f"Rows are read at least 1 at a time; received size={size}.")
        pieces = ((shard, i, min(size, shard.rows - i)) for shard in self.shards for i in range(0, shard.rows, size))
        width = self._width

        def load(piece: tuple[Stretch, int, int]) -> tuple[Float[Tensor, "n d"], Int64[Tensor, " n"]]:
            shard, start, rows = piece
            x: BFloat16[Tensor, "n d"] = torch.empty(rows, width, dtype=torch.bfloat16)
            at = torch.empty(rows, dtype=torch.int64)
            shard.read_x(start, x.view(torch.uint16).numpy())
            shard.read_at(start, at.numpy())
            return read_back(x, self.offset), at

        return ahead(load, between(pieces, start, stop))


def _mark_kept(
    keep: Bool[np.ndarray, "n context"], contexts: Int64[np.ndarray, " n"], span: Span, shard: Stretch
) -> None:
    # Sets ``keep`` where ``shard``, which holds the contexts of ``span``, has a row.
    inside = (contexts >= span.start) & (contexts < span.stop)
    if not inside.any():
        return
    at = np.empty(shard.rows, np.int64)
    shard.read_at(0, at)
    here = np.zeros((span.stop - span.start, keep.shape[1]), bool)
    here.reshape(-1)[at - span.start * keep.shape[1]] = True
    keep[inside] = here[contexts[inside] - span.start]
