"""attached: a dictionary at its place inside a model, ready to be edited there, and the text it is edited on."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from physalis.atlas.build.profiles import Profiles, Text
from physalis.atlas.feature_pages import PageShape
from physalis.dictionaries import Dictionary
from physalis.models import Model
from physalis.placement.place import Place

ENOUGH = 8
"""Tokens wanted beside an example's peak, where one of its group has so many: fewer say little."""

LARGEST = 4
"""Of the examples of the largest codes, so many are asked which tokens they depend on, and one answers."""

SAMPLED = 7
"""Examples of the intervals that the model is edited on."""

_PICK = np.dtype(
    [("place", "<i8"), ("share", "<f4"), ("group", "<i2"), ("example", "<i2"), ("peak", "<i2"), ("length", "<i2")]
)


class Attached(NamedTuple):
    """A dictionary at its place inside a model."""

    model: Model
    coder: Dictionary
    place: Place

    def read(
        self, tokens: Int[Tensor, "contexts context"]
    ) -> tuple[Float[Tensor, "contexts context d_in"], Bool[Tensor, "contexts context"]]:
        """What the dictionary reads of the model as it is, and which positions are kept: others have no codes and are
        never edited."""
        got = self.model.run(tokens, read={*self.place.reads, *self.place.hygienes})
        return self.place.joined(got), self.place.keep(got)

    def codes(self, x: Float[Tensor, "rows d_in"], features: Int[Tensor, " rows"]) -> Float[Tensor, " rows"]:
        """Each row's code of its own feature."""
        if len(x) == 0:
            return x.new_zeros(0, dtype=torch.float32)
        with torch.no_grad():
            found = self.coder.encode(x.float())
        return (found.values * (found.ids == features[:, None])).sum(1)

    def gain(self, x: Float[Tensor, "rows d_in"]) -> Float[Tensor, " rows"]:
        """How much of a feature's direction one unit of its code writes on each row."""
        return self.coder.gain(x.float())[:, 0]


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
    share: float
    """The share of the feature's firings that its interval of code has. 0 for the top: the largest codes are no sample
    of any interval."""


class Picks:
    """The examples of every feature that would be edited, chosen part by part while the pages are made.

    Of the largest codes one is taken, and of the intervals SAMPLED together: one at least of each that has any, and
    more of those with a larger share of the feature's firings. The model computes all that comes before a firing only
    to reach it. So of the examples of a group, which were chosen without regard to where they stand, those that stand
    earliest in their contexts are taken: on contexts of 128 tokens that halves the cost, and nothing is cut off that
    the recording had.
    """

    def __init__(self, n_features: int, shape: PageShape, text: Text) -> None:
        self._shape = shape
        self._text = text
        self._after = np.zeros((n_features, 1 + SAMPLED), _PICK)
        self._before = np.zeros((n_features, 1), _PICK)
        for picks in (self._after, self._before):
            picks["example"] = -1

    def add(self, part: Profiles) -> None:
        """The next features."""
        here = slice(part.first, part.first + len(part.pages))
        lengths = (part.pages["example_tokens"] >= 0).sum(2)
        peaks = part.pages["example_peak"].astype(np.int64)
        largest = slice(0, min(LARGEST, self._shape.top))
        self._before[here] = self._ranked(part, lengths, peaks, largest, peaks)[:, :1]
        groups = [
            self._ranked(part, lengths, peaks, self._shape.group(number), lengths - peaks - 1)
            for number in range(1 + self._shape.intervals)
        ]
        after = self._after[here]
        after[:, :1] = groups[0][:, :1]
        if self._shape.intervals == 0:
            return
        shares = part.pages["share_of_firings"][:, 1:].astype(np.float64)
        there = np.stack([(group["example"] >= 0).sum(1) for group in groups[1:]], 1)
        taken = divided(shares, there, SAMPLED)
        filled = np.ones(len(after), np.int64)
        for number, group in enumerate(groups[1:], start=1):
            for i in range(min(SAMPLED, group.shape[1])):
                rows = np.flatnonzero(taken[:, number - 1] > i)
                pick = group[rows, i]
                pick["group"], pick["share"] = number, shares[rows, number - 1]
                after[rows, filled[rows]] = pick
                filled[rows] += 1

    def _ranked(
        self, part: Profiles, lengths: np.ndarray, peaks: np.ndarray, group: slice, room: np.ndarray
    ) -> np.ndarray:
        """[features, examples] the examples of a group that have text where it is wanted, the best first."""
        context, n = self._text.context, max(1, group.stop - group.start)
        out = np.zeros((len(lengths), n), _PICK)
        out["example"] = -1
        if group.start == group.stop:
            return out
        rank = part.places[:, group] % context + context * (room[:, group] < ENOUGH)
        rank = np.where((lengths[:, group] > 0) & (room[:, group] > 0), rank, 2 * context)
        order = rank.argsort(1, kind="stable")

        def sorted_(values: np.ndarray) -> np.ndarray:
            return np.take_along_axis(values[:, group], order, 1)

        out["place"], out["peak"], out["length"] = sorted_(part.places), sorted_(peaks), sorted_(lengths)
        out["example"] = np.where(np.take_along_axis(rank, order, 1) < 2 * context, order, -1)
        return out

    def n_ablated(self, feature: int) -> int:
        """How many examples of intervals would be measured."""
        picks = self._after[feature, 1:]
        return int((picks["example"] >= 0).sum())

    def ablated(self, feature: int) -> Sequence[Case]:
        """The examples with a next token, of the top and of the intervals."""
        return [case for pick in self._after[feature] for case in self._case(feature, pick)]

    def left_out(self, feature: int) -> Sequence[Case]:
        """An example of the largest codes that has text before its peak; none if none has."""
        return [case for pick in self._before[feature] for case in self._case(feature, pick)]

    def _case(self, feature: int, pick: np.void) -> list[Case]:
        if pick["example"] < 0:
            return []
        place, start = int(pick["place"]), int(pick["place"]) - int(pick["peak"])
        context = place - place % self._text.context
        tokens = self._text.tokens[context : start + int(pick["length"])].astype(np.int64)
        where = (int(pick["group"]), int(pick["example"]), tokens, start - context, place - context)
        return [Case(feature, *where, float(pick["share"]))]


def divided(
    shares: Float[np.ndarray, "features groups"], there: Int[np.ndarray, "features groups"], most: int
) -> Int[np.ndarray, "features groups"]:
    """How many of each group's examples to take: one of each that has any, then by share, ``most`` together."""
    taken = np.zeros_like(there)
    rows = np.arange(len(taken))
    for _ in range(most):
        want = np.where(taken < there, shares / (taken + 1) + (taken == 0), -1.0)
        best = want.argmax(1)
        taken[rows, best] += want[rows, best] >= 0
    return taken
