"""corpus: Corpus, the one door to what a model reads: its documents, their positions, how these are shown and searched.

A model brings its corpus (``Model.corpus``); recording, atlas, search, try and pages ask it and nothing else. Text is
``models.text.corpus.Text``. A *document* is what stands alone, a text or a picture; a *position* is what a row of
activations is of, a token or a pixel, and has an id, as each token has.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int32

from physalis.corpora.characters import Piece
from physalis.corpora.trail import Trail
from physalis.errors import BadInput

DEFAULT = "text"
"""The corpus of a recording whose manifest names none."""


class Corpus(ABC):
    """What a model reads. What is abstract every corpus says; the rest is what most but text have in common."""

    name: str
    """Of the kind: "text", or a word that stands as ``corpus`` in manifests of what is recorded of another."""
    shape: tuple[int, ...] | None = None
    """Positions along each side, rows first, of every document, where all are alike, as pictures are: a context then
    holds one document, whole, and that is what surrounds each of its positions. None where documents are of any length,
    joined, cut into contexts, and shown a few positions around one."""

    @abstractmethod
    def documents(self, source: str, *, field: str | None = None, trail: Trail | None = None) -> Iterator[Any]:
        """The documents of a source, in an order that depends on nothing but the source; files that are read are noted
        in ``trail``. Raises BadInput for a source that is none."""

    @abstractmethod
    def encoded(self, documents: Iterable[Any]) -> Iterator[Int32[np.ndarray, " positions"]]:
        """The id at each position of each document, from 0, row by row; documents that hold nothing are left out."""

    @property
    @abstractmethod
    def ids(self) -> Collection[int]:
        """The ids that mean something: they are shown, promoted and drawn, and others of a model's are not."""

    @abstractmethod
    def pieces(self, ids: Sequence[int], /) -> list[Piece]:
        """What each id is shown as, and searched by: joined in their order, a document."""

    def files(self, source: str) -> list[Path] | None:
        """The files that a source is made of, in order, by which it is known again; None where it is no files. Raises
        BadInput for a source that is none."""
        return None

    def named(self, source: str) -> dict[str, str]:
        """What a manifest says of a source, its ``name`` and what else tells it from others: no paths, no times. Raises
        BadInput for a source that is none."""
        return {"name": source}

    @property
    def at_hand(self) -> str:
        """A source that every machine has, to measure on if nobody names one. Raises BadInput where there is none."""
        raise BadInput(f"No {self.name} are at hand to measure on. Record some, and measure on their activations.")

    def typed(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of what a person wrote, as documents. Raises BadInput where that is not how documents come."""
        raise BadInput(f"This model reads {self.name}, which cannot be typed. Choose features from lists and the map.")

    @property
    def bos_id(self) -> int | None:
        """The id that contexts can begin with; None where there is none."""
        return None

    @property
    def separator_id(self) -> int | None:
        """The id that follows each document; None where nothing does."""
        return None

    @property
    def ends(self) -> Collection[int]:
        """Ids with which a document is over, where a model makes one."""
        return ()

    @cached_property
    def fingerprint(self) -> str:
        """sha256 that is equal exactly where ids mean the same."""
        ids = sorted(self.ids)
        said = (self.name, self.shape, self.bos_id, self.separator_id, ids, self.pieces(ids))
        return hashlib.sha256(repr(said).encode()).hexdigest()

    def check_context(self, context: int, *, bos: bool) -> None:
        """Raise BadInput for contexts that no documents of this kind fit."""
        if self.shape is None:
            return
        sides, fits = " x ".join(map(str, self.shape)), prod(self.shape)
        if bos and (self.bos_id, self.separator_id) != (None, None):
            sides, fits = f"{sides} and one that contexts begin with,", fits + 1
        if context != fits:
            raise BadInput(
                f"A context holds one of the {self.name}, {sides} positions; received {context}. Give a context of "
                f"{fits}."
            )

    def around(self, before: int, after: int) -> tuple[int, int]:
        """How many positions are shown before and after one, of those asked for: all of a document that is shown
        whole."""
        if self.shape is None:
            return before, after
        return prod(self.shape) - 1, prod(self.shape) - 1
