"""subject: a dictionary at its place inside a model, ready to be edited there, and the text it is edited on."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from physalis.activations import Hygiene
from physalis.atlas.pages import PageShape
from physalis.atlas.profiles import Profiles, Text
from physalis.dictionaries import Linear
from physalis.models import Model
from physalis.models.model import ORDER
from physalis.site import Site

ENOUGH = 8
"""Tokens wanted beside an example's peak, where one of its group has so many: fewer say little."""

LARGEST = 4
"""Of the examples of the largest codes, so many are asked which tokens they depend on, and one answers."""

_PICK = np.dtype([("place", "<i8"), ("example", "<i2"), ("peak", "<i2"), ("length", "<i2")])


class Subject(NamedTuple):
    """What is edited, and where. An autoencoder writes where it reads."""

    model: Model
    coder: Linear
    reads: Site
    writes: Site
    hygiene: Hygiene
    """Of ``reads``: the positions it leaves out have no codes and are never edited."""

    def codes(self, x: Float[Tensor, "rows d_in"], features: Int[Tensor, " rows"]) -> Float[Tensor, " rows"]:
        """Each row's code of its own feature."""
        if len(x) == 0:
            return x.new_zeros(0, dtype=torch.float32)
        with torch.no_grad():
            found = self.coder.encode(x.float())
        return (found.values * (found.ids == features[:, None])).sum(1)


def can_edit(reads: Site, writes: Site) -> bool:
    """Whether codes read at one site are known in time to be removed at the other, in the same forward pass."""
    if reads.layer is None or writes.layer is None:
        return reads == writes
    return (reads.layer, ORDER[reads.name]) <= (writes.layer, ORDER[writes.name])


class Case(NamedTuple):
    """An example as the model read it: its context from the first token to the last one of the example's window."""

    feature: int
    group: int
    """0 for the top, then the intervals."""
    example: int
    """Within the group."""
    tokens: np.ndarray
    """[length] int64."""
    start: int
    """Where the window begins."""
    peak: int
    """Where the firing is that the example was kept for."""


class Picks:
    """The examples of every feature that would be edited, chosen part by part while the pages are made.

    The model computes all that comes before a firing only to reach it. So of the examples of a group, which were chosen
    without regard to where they stand, the one that stands earliest in its context is taken: on contexts of 128 tokens
    that halves the cost, and nothing is cut off that the recording had.
    """

    def __init__(self, n_features: int, shape: PageShape, text: Text) -> None:
        self._shape = shape
        self._text = text
        self._after = np.zeros((n_features, 1 + shape.intervals), _PICK)
        self._before = np.zeros((n_features, 1), _PICK)
        for picks in (self._after, self._before):
            picks["example"] = -1

    def add(self, part: Profiles) -> None:
        """The next features."""
        here = slice(part.first, part.first + len(part.pages))
        lengths = (part.pages["example_tokens"] >= 0).sum(2)
        peaks = part.pages["example_peak"].astype(np.int64)
        for number in range(1 + self._shape.intervals):
            group = self._shape.group(number)
            self._pick(self._after[here, number], part, lengths, peaks, group, lengths - peaks - 1)
        self._pick(self._before[here, 0], part, lengths, peaks, slice(0, min(LARGEST, self._shape.top)), peaks)

    def _pick(
        self, out: np.ndarray, part: Profiles, lengths: np.ndarray, peaks: np.ndarray, group: slice, room: np.ndarray
    ) -> None:
        if group.start == group.stop:
            return
        context = self._text.context
        rank = part.places[:, group] % context + context * (room[:, group] < ENOUGH)
        rank = np.where((lengths[:, group] > 0) & (room[:, group] > 0), rank, 2 * context)
        best = rank.argmin(1)
        found = np.take_along_axis(rank, best[:, None], 1)[:, 0] < 2 * context
        rows = np.arange(len(best))
        out["place"] = part.places[rows, group.start + best]
        out["peak"] = peaks[rows, group.start + best]
        out["length"] = lengths[rows, group.start + best]
        out["example"] = np.where(found, best, -1)

    def n_ablated(self, feature: int) -> int:
        """How many groups have an example with a next token."""
        return int((self._after["example"][feature] >= 0).sum())

    def ablated(self, feature: int) -> Sequence[Case]:
        """An example of each group that has one with a next token."""
        return [case for number, pick in enumerate(self._after[feature]) for case in self._case(feature, number, pick)]

    def left_out(self, feature: int) -> Sequence[Case]:
        """An example of the largest codes that has text before its peak; none if none has."""
        return [case for pick in self._before[feature] for case in self._case(feature, 0, pick)]

    def _case(self, feature: int, group: int, pick: np.void) -> list[Case]:
        if pick["example"] < 0:
            return []
        place, start = int(pick["place"]), int(pick["place"]) - int(pick["peak"])
        context = place - place % self._text.context
        tokens = self._text.tokens[context : start + int(pick["length"])].astype(np.int64)
        return [Case(feature, group, int(pick["example"]), tokens, start - context, place - context)]
