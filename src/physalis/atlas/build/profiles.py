"""profiles: all features' pages, and the numbers and tokens that lists and headlines need, computed by threads.

Features are divided into parts; a part's arrays are made by the kernels of counting and examples, which let threads run
side by side, and handed on in order. What is held at once is a block of firings and a few parts.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import Any, NamedTuple, TypeVar

import numpy as np

from physalis.atlas.build.counting import (
    Counted,
    beyond_chance,
    count_codes,
    count_cofiring,
    count_preceding,
    count_tokens,
    empty_counted,
)
from physalis.atlas.build.effects import Effects, Nearest
from physalis.atlas.build.examples import SAME, SPARE, choose, cut
from physalis.atlas.feature_pages import PageShape, empty_pages, pack
from physalis.codes.segments import Block, Segments, TokenFeatures

WORKERS = os.cpu_count() or 1

PART = 128
"""Features a thread takes at a time."""

TELLING = 6
"""Tokens kept for the headline."""

COFIRING_BUDGET = 1 << 27
"""Firings of the tokens over which co-firing is counted, 2 or 4 bytes each. Larger texts are sampled evenly."""

A = TypeVar("A")
B = TypeVar("B")


class Text(NamedTuple):
    """The recorded corpus, flat: place ``at`` is context * ``context`` + position."""

    tokens: np.ndarray
    """[places] int32."""
    documents: np.ndarray
    """[places] int32."""
    context: int
    lead: int
    """Places at the start of every context that are no text: 1 where a BOS token was put there."""
    share: np.ndarray
    """[vocabulary] float64: each token's share of the places that were encoded."""
    same: tuple[int, int] = SAME
    """How far before and after a firing two examples have to be alike to count as one."""


class Profiles(NamedTuple):
    """Features ``first`` and on."""

    first: int
    pages: np.ndarray
    places: np.ndarray
    """[features, examples] int64: where in the text each example's firing is; -1 pads."""
    packed: list[bytes]
    counted: Counted


def profiles(
    firings: Segments, text: Text, shape: PageShape, nearest: Nearest, effects: Effects, *, seed: int, pool: Executor
) -> Iterator[Profiles]:
    """Every feature's page and counts, in order."""
    together = firings.tokens(COFIRING_BUDGET)
    fired = np.bincount(together.ids, minlength=firings.n_features)

    def profile(part: tuple[Block, int]) -> Profiles:
        block, begin = part
        return _profile(block, begin, text, shape, together, fired, nearest, effects, seed)

    for block in firings.blocks(together):
        parts = ((block, begin) for begin in range(0, len(block.offsets) - 1, PART))
        yield from _in_order(pool, profile, parts)


def _profile(
    block: Block, begin: int, text: Text, shape: PageShape, together: TokenFeatures, fired: np.ndarray,
    nearest: Nearest, effects: Effects, seed: int,
) -> Profiles:  # fmt: skip
    offsets = block.offsets[begin : begin + PART + 1]
    first, n = block.first + begin, len(offsets) - 1
    c = empty_counted(
        n, bins=shape.bins, intervals=shape.intervals, tokens=shape.tokens, telling=TELLING, neighbours=shape.neighbours
    )
    count_codes(offsets, block.values, c.max_code, c.sum_code, c.counts, c.level_firings, c.level_code)
    count_tokens(
        offsets, block.at, block.values, text.tokens, text.share,
        c.entropy, c.token, c.token_count, c.token_share, c.telling, c.telling_share,
    )  # fmt: skip
    count_preceding(
        offsets, block.at, block.values, text.tokens, text.share, text.context, text.lead, c.telling_share, c.preceding
    )
    z = beyond_chance(len(fired))
    count_cofiring(first, offsets, block.row, together.offsets, together.ids, fired, z, c.cofiring, c.correlation)
    pages = empty_pages(shape, n)
    _fill_counts(pages, c, np.diff(offsets))
    places = fill_examples(pages, c, block, offsets, first, text, shape, seed)
    here = slice(first, first + n)
    for name, values in (
        ("promoted", effects.promoted), ("promoted_logit", effects.promoted_logit),
        ("suppressed", effects.suppressed), ("suppressed_logit", effects.suppressed_logit),
        ("logit_counts", effects.counts), ("logit_range", effects.range),
        ("nearest", nearest.ids[:, : shape.neighbours]), ("nearest_cosine", nearest.cosine[:, : shape.neighbours]),
    ):  # fmt: skip
        pages[name] = values[here]
    return Profiles(first, pages, places, pack(pages, shape), c)


def _fill_counts(pages: np.ndarray, c: Counted, n_fired: np.ndarray) -> None:
    pages["max_code"], pages["n_fired"], pages["counts"] = c.max_code, n_fired, c.counts
    pages["share_of_firings"][:, 1:] = c.level_firings / np.maximum(n_fired, 1)[:, None]
    pages["share_of_code"][:, 1:] = c.level_code / np.maximum(c.sum_code, 1e-30)[:, None]
    pages["token"], pages["token_count"], pages["token_share"] = c.token, c.token_count, c.token_share
    pages["cofiring"], pages["cofiring_correlation"] = c.cofiring, c.correlation


def fill_examples(
    pages: np.ndarray, c: Counted, block: Block, offsets: np.ndarray, first: int, text: Text, shape: PageShape,
    seed: int,
) -> np.ndarray:  # fmt: skip
    """Choose and cut the examples of the pages' features into ``pages``; returns the place of each one's firing."""
    n = len(pages)
    top = np.empty((n, SPARE * shape.top), np.int64)
    drawn = np.empty((n, shape.intervals, SPARE * shape.per_interval), np.int64)
    choose(first, offsets, block.at, block.values, c.max_code, text.context, seed, top, drawn)
    tokens = np.full((n, shape.examples, shape.width), -1, np.int32)
    codes = np.zeros((n, shape.examples, shape.width), np.uint16)
    peak, documents = (np.full((n, shape.examples), -1, np.int32) for _ in range(2))
    places = np.full((n, shape.examples), -1, np.int64)
    low = np.zeros(n, np.float32)
    firings, code = np.zeros(n), np.zeros(n)
    cut(
        offsets, block.at, block.values, c.max_code, top, drawn, text.tokens, text.documents, text.context,
        text.lead, text.same, shape.before, shape.top, shape.per_interval, tokens, codes, peak, documents, places, low,
        firings, code,
    )  # fmt: skip
    pages["example_tokens"], pages["example_codes"] = tokens, codes
    pages["example_peak"], pages["example_document"], pages["top_low"] = peak, documents, low
    pages["share_of_firings"][:, 0] = firings / np.maximum(np.diff(offsets), 1)
    pages["share_of_code"][:, 0] = code / np.maximum(c.sum_code, 1e-30)
    return places


def _in_order(pool: Executor, function: Callable[[A], B], items: Iterable[A]) -> Iterator[B]:
    """``map`` that keeps only a few results waiting."""
    waiting: deque[Future[Any]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) > 2 * WORKERS:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
