"""feature_pages: one feature's page as a fixed-size record of arrays, compressed, and back to records. No torch.

A page holds token ids, never strings; codes are 16-bit fractions of the feature's largest code. -1 pads every list of
ids. The sizes are one PageShape for a whole atlas, kept in its store, so a reader needs no other knowledge.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import zstandard
from jaxtyping import Float64, Int, UInt16

from physalis.atlas.compression import inflate
from physalis.atlas.records import Example, ExampleGroup, Histogram, Neighbour, TokenCount, TokenEffect
from physalis.corpora.characters import Piece, alone, in_text

FULL = 65535
"""A stored code of this means the feature's largest code."""


LEVEL = 1
"""Of zstd. Level 3 takes a quarter longer and saves 1 % (real pages)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageShape:
    """How much every page holds."""

    top: int
    """Examples of the largest codes."""
    intervals: int
    """Equal intervals of code over (0, largest]."""
    per_interval: int
    """Examples of each interval."""
    before: int
    """Tokens of text kept before a firing, where the document has them."""
    after: int
    tokens: int
    """Tokens listed with their share of the code."""
    effects: int
    """Tokens listed as promoted, and as suppressed."""
    neighbours: int
    bins: int
    """Of both histograms."""
    token_bytes: int
    """Of the ids of example tokens, which are most of a page: 2 where every id is below 65,535, else 4."""

    @property
    def examples(self) -> int:
        return self.top + self.intervals * self.per_interval

    @property
    def width(self) -> int:
        return self.before + 1 + self.after

    def group(self, number: int) -> slice:
        """Which of the examples are the top (0) or those of an interval (1 and on)."""
        first = self.top + (number - 1) * self.per_interval if number else 0
        return slice(first, first + (self.per_interval if number else self.top))


def page_dtype(shape: PageShape) -> np.dtype:
    """The record of one page in memory. Examples are one list: ``top`` first, then each interval's, highest first."""
    return _dtype(shape, 4)


@lru_cache
def _dtype(shape: PageShape, token_bytes: int) -> np.dtype:
    examples, width = shape.examples, shape.width
    return np.dtype(
        [
            ("max_code", "<f4"),
            ("n_fired", "<u4"),
            ("counts", "<u4", (shape.bins,)),
            ("share_of_firings", "<f4", (1 + shape.intervals,)),
            ("share_of_code", "<f4", (1 + shape.intervals,)),
            ("top_low", "<f4"),
            ("example_tokens", f"<i{token_bytes}", (examples, width)),
            ("example_codes", "<u2", (examples, width)),
            ("example_peak", "<i2", (examples,)),
            ("example_document", "<i4", (examples,)),
            ("token", "<i4", (shape.tokens,)),
            ("token_count", "<u4", (shape.tokens,)),
            ("token_share", "<f4", (shape.tokens,)),
            ("promoted", "<i4", (shape.effects,)),
            ("promoted_logit", "<f4", (shape.effects,)),
            ("suppressed", "<i4", (shape.effects,)),
            ("suppressed_logit", "<f4", (shape.effects,)),
            ("logit_counts", "<u4", (shape.bins,)),
            ("logit_range", "<f4", (2,)),
            ("nearest", "<i4", (shape.neighbours,)),
            ("nearest_cosine", "<f4", (shape.neighbours,)),
            ("cofiring", "<i4", (shape.neighbours,)),
            ("cofiring_correlation", "<f4", (shape.neighbours,)),
        ]
    )


def empty_pages(shape: PageShape, n: int) -> np.ndarray:
    """``n`` pages that say nothing: no examples, no tokens, no neighbours."""
    pages = np.zeros(n, page_dtype(shape))
    for name in ("example_tokens", "example_peak", "token", "promoted", "suppressed", "nearest", "cofiring"):
        pages[name] = -1
    return pages


def pack(pages: np.ndarray, shape: PageShape) -> list[bytes]:
    """Each page compressed."""
    compressor = zstandard.ZstdCompressor(level=LEVEL)
    stored = pages.astype(_dtype(shape, shape.token_bytes))
    return [compressor.compress(page.tobytes()) for page in stored]


def unpack(blob: object, shape: PageShape) -> np.void:
    """A page from its compressed form. Raises BadInput if it is none of that shape."""
    kind = _dtype(shape, shape.token_bytes)
    stored = np.frombuffer(inflate(blob, least=kind.itemsize, most=kind.itemsize), kind)
    page = stored.astype(page_dtype(shape))[0]
    if shape.token_bytes == 2:  # ids from 32,768 on were stored as negative numbers, -1 as itself
        tokens = page["example_tokens"]
        tokens[tokens < -1] += 1 << 16
    return page


class StringTable:
    """The text of token ids: alone, and in a text, where characters that tokens cut are whole (see ``characters``)."""

    def __init__(self, ids: Sequence[int], pieces: Sequence[Piece]) -> None:
        # Arrays, from which thousands are taken at once; the last entry, which is also -1, pads.
        self.size = max(ids, default=-1) + 1
        """Ids lie below; what lies below and has no text is written as none."""
        padded = self.size + 1
        self._alone, self._pieces = np.full(padded, "", object), np.full(padded, "", object)
        self._cuts = np.zeros(padded, bool)
        self._alone[ids] = [alone(each) for each in pieces]
        self._pieces[ids] = pieces
        self._cuts[ids] = [isinstance(each, bytes) for each in pieces]

    def __getitem__(self, id: int) -> str:
        """Of one token by itself."""
        return self._alone[id]

    def pieces(self) -> list[Piece]:
        """Of each id from 0 on, nothing for those without a text."""
        return self._pieces[:-1].tolist()

    def in_text(self, ids: Int[np.ndarray, "texts n"]) -> list[list[str]]:
        """Of the tokens of some texts, each in its order."""
        texts = self._alone[ids].tolist()
        for i in np.flatnonzero(self._cuts[ids].any(1)).tolist():
            texts[i] = in_text(self._pieces[ids[i]].tolist())
        return texts


class Shown(NamedTuple):
    """The examples of a feature as token ids, for whoever reads them as a model does."""

    tokens: Int[np.ndarray, "examples width"]
    """Filled up with -1 after the last."""
    place: list[tuple[int, int]]
    """Which of ``groups`` each is in, and its number there."""
    n_groups: int

    @classmethod
    def of(cls, page: np.void, shape: PageShape) -> "Shown":
        """Those of a page, as ``groups_of`` has them."""
        tokens = page["example_tokens"].astype(np.int64)
        place, kept = [], []
        groups = 1 + shape.intervals if page["max_code"] > 0 else 0
        for group in range(groups):
            there = [e for e in range(*shape.group(group).indices(shape.examples)) if (tokens[e] >= 0).any()]
            kept += there
            place += [(group, i) for i in range(len(there))]
        return cls(tokens[kept], place, groups)


def decode(
    page: np.void, shape: PageShape, strings: StringTable, headlines: Callable[[Sequence[int]], dict[int, str]]
) -> dict[str, Any]:
    """The fields of a Feature that its page holds. The records are built without validation: their content was checked
    when it was written, and validating some thousand codes would take longer than everything else."""
    largest = float(page["max_code"])
    nearest, cofiring = _ids(page["nearest"]), _ids(page["cofiring"])
    named = headlines([*nearest, *cofiring])

    def neighbours(ids: list[int], values: np.ndarray) -> list[Neighbour]:
        pairs = zip(ids, _rounded(values, 4), strict=False)
        return [Neighbour.trusted(id=i, value=v, headline=named[i]) for i, v in pairs]

    def effects(ids: np.ndarray, logits: np.ndarray) -> list[TokenEffect]:
        pairs = zip(_ids(ids), _rounded(logits, 4), strict=False)
        return [TokenEffect.trusted(token=strings[i], id=i, logit=v) for i, v in pairs]

    counted = zip(_ids(page["token"]), page["token_count"].tolist(), _rounded(page["token_share"], 5), strict=False)
    low, high = (float(v) for v in page["logit_range"])
    has_logits = page["promoted"][0] >= 0
    return {
        "histogram": _histogram(page["counts"], 0.0, largest),
        "groups": groups_of(page, shape, strings),
        "top_tokens": [TokenCount.trusted(token=strings[i], id=i, count=n, share_of_code=s) for i, n, s in counted],
        "promoted": effects(page["promoted"], page["promoted_logit"]),
        "suppressed": effects(page["suppressed"], page["suppressed_logit"]),
        "logit_histogram": _histogram(page["logit_counts"], low, high)
        if has_logits
        else Histogram.trusted(edges=[], counts=[]),
        "nearest": neighbours(nearest, page["nearest_cosine"]),
        "cofiring": neighbours(cofiring, page["cofiring_correlation"]),
    }


def codes_of(stored: np.ndarray, largest: float) -> list[float]:
    """Stored 16-bit codes as numbers, to four significant digits of the largest: more would be false precision."""
    return codes_of_each(stored[None], np.array([largest]))[0]


def codes_of_each(
    stored: UInt16[np.ndarray, "features n"], largest: Float64[np.ndarray, " features"]
) -> list[list[float]]:
    """Stored codes of several features, each with a largest of its own."""
    codes: np.ndarray = np.zeros(stored.shape)
    fires = largest > 0
    places = 3 - np.floor(np.log10(np.where(fires, largest, 1))).astype(int)
    for place in set(places[fires].tolist()):
        those = fires & (places == place)
        codes[those] = np.round(stored[those] * (largest[those, None] / FULL), place)
    return codes.tolist()


def groups_of(page: np.void, shape: PageShape, strings: StringTable) -> list[ExampleGroup]:
    """A page's examples, the largest codes first, then level by level."""
    largest = float(page["max_code"])
    if largest <= 0:
        return []
    codes = codes_of(page["example_codes"].reshape(-1), largest)
    tokens = page["example_tokens"]
    lengths = (tokens >= 0).sum(1).tolist()
    texts, peaks, documents = strings.in_text(tokens), page["example_peak"].tolist(), page["example_document"].tolist()

    def examples(group: slice) -> list[Example]:
        return [
            Example.trusted(
                document=documents[e],
                position=peaks[e],
                tokens=texts[e][: lengths[e]],
                codes=codes[e * shape.width : e * shape.width + lengths[e]],
            )
            for e in range(group.start, group.stop)
            if lengths[e]
        ]

    bounds = [(float(page["top_low"]), largest)]
    step = largest / shape.intervals
    bounds += [(step * (shape.intervals - 1 - i), step * (shape.intervals - i)) for i in range(shape.intervals)]
    firings, code = _rounded(page["share_of_firings"], 5), _rounded(page["share_of_code"], 5)
    groups = []
    for g, (low, high) in enumerate(bounds):
        groups.append(
            ExampleGroup.trusted(
                name=f"interval {g}" if g else "top",
                low=_significant(low),
                high=_significant(high),
                share_of_firings=firings[g],
                share_of_code=code[g],
                examples=examples(shape.group(g)),
            )
        )
    return groups


def _histogram(counts: np.ndarray, low: float, high: float) -> Histogram:
    edges = [_significant(v) for v in np.linspace(low, high, len(counts) + 1).tolist()]
    return Histogram.trusted(edges=edges, counts=counts.tolist())


def _ids(padded: np.ndarray) -> list[int]:
    return padded[padded >= 0].tolist()


def _rounded(values: np.ndarray, places: int) -> list[float]:
    return np.round(values.astype(np.float64), places).tolist()


def _significant(value: float) -> float:
    return float(f"{value:.4g}")
