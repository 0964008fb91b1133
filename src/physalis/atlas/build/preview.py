"""preview: a few features of a dictionary, read off a few thousand tokens in a second: for a look before any atlas.

Each is counted and its examples are chosen and cut as an atlas does it, by the same kernels. Which features are shown:
those that fire often enough here to be read, and mostly on a few telling tokens; by turns one that has a token or two
of its own and one that fires on several words; among equals those whose tokens are least like the text.
"""

from collections.abc import Sequence

import numpy as np

from physalis.atlas.build.counting import Counted, count_codes, count_preceding, count_tokens, empty_counted
from physalis.atlas.build.profiles import TELLING, Text, fill_examples
from physalis.atlas.build.rows import Strings
from physalis.atlas.feature_pages import PageShape, StringTable, empty_pages, groups_of
from physalis.atlas.headlines import LISTED, headline, readable
from physalis.atlas.records import Example, Record
from physalis.codes.segments import Block, Coded

LEAST = 12
"""Firings of a feature that can be read."""

DENSE = 0.05
"""Features that fire on a larger share of tokens say little in a few examples."""

TOLD = 0.4
"""Share of its code that a feature's most telling tokens have at least: else they do not say what it reads."""

FEW = 1.5
"""Bits: with less entropy over tokens a feature has a token or two of its own."""


class Preview(Record):
    """One feature on a few thousand tokens."""

    id: int
    headline: str
    """The tokens that carry most of its code."""
    density: float
    """Share of the tokens on which it fires."""
    max_code: float
    examples: list[Example]
    """The largest codes first, no two from one context."""


def preview(
    coded: Coded, text: Text, strings: Strings, *, n_features: int, n: int, examples: int, before: int = 24,
    after: int = 12, kept: Sequence[int] = (), seed: int = 0,
) -> list[Preview]:  # fmt: skip
    """``n`` features of the ``n_features`` that gave these codes, each with up to ``examples`` examples of up to
    ``before`` and ``after`` tokens round the firing. Fewer where fewer fire often enough. Those in ``kept`` are shown
    again, at their places, while they fire often enough: so a reader can follow them."""
    shape = PageShape(
        top=examples, intervals=1, per_interval=1, before=before, after=after, tokens=1, effects=1, neighbours=1,
        bins=1, token_bytes=4,
    )  # fmt: skip
    block = _block(coded, n_features)
    c = empty_counted(n_features, bins=1, intervals=1, tokens=1, telling=TELLING, neighbours=1)
    count_codes(block.offsets, block.values, c.max_code, c.sum_code, c.counts, c.level_firings, c.level_code)
    count_tokens(
        block.offsets, block.at, block.values, text.tokens, text.share,
        c.entropy, c.token, c.token_count, c.token_share, c.telling, c.telling_share,
    )  # fmt: skip
    count_preceding(
        block.offsets, block.at, block.values, text.tokens, text.share, text.context, text.lead, c.telling_share,
        c.preceding,
    )  # fmt: skip
    pages = empty_pages(shape, n_features)
    pages["max_code"] = c.max_code
    fill_examples(pages, c, block, block.offsets, 0, text, shape, seed)
    n_fired = np.diff(block.offsets)
    known = strings.learn(c.telling, c.preceding, pages["example_tokens"])
    chosen = _choose(c, n_fired, len(coded.values), text, known, kept, n)
    table = StringTable(list(strings.pieces), list(strings.pieces.values()))
    return [
        Preview(
            id=i, headline=_headline(c, i, strings, pages["example_tokens"][i]),
            density=_significant(float(n_fired[i] / len(coded.values))),
            max_code=_significant(float(c.max_code[i])), examples=groups_of(pages[i], shape, table)[0].examples,
        )
        for i in chosen
    ]  # fmt: skip


def _block(coded: Coded, n_features: int) -> Block:
    """All firings by feature, each feature's in the order of the text."""
    row, column = np.nonzero(coded.values > 0)
    ids, at = coded.ids[row, column].astype(np.int64), coded.at[row].astype(np.int64)
    order = np.lexsort((at, ids))
    offsets = np.append(0, np.cumsum(np.bincount(ids, minlength=n_features)))
    values = coded.values[row, column][order].astype(np.float32)
    return Block(0, offsets, at[order], row[order].astype(np.int64), values)


def _headline(c: Counted, i: int, strings: Strings, texts: np.ndarray) -> str:
    told = strings.told([t for t in c.telling[i].tolist() if t >= 0], texts.tolist())
    pair = strings.pair(int(c.preceding[i]), int(c.telling[i, 0]))
    return headline(told, c.telling_share[i].tolist()[: len(told)], [], pair)


def _choose(
    c: Counted, n_fired: np.ndarray, n_tokens: int, text: Text, strings: dict[int, str], kept: Sequence[int], n: int
) -> list[int]:
    told = c.telling_share[:, :LISTED].sum(1)
    fit = (n_fired >= LEAST) & (n_fired <= DENSE * n_tokens) & (told >= TOLD)
    real = c.telling >= 0
    share = np.where(real, c.telling_share, 1)
    usual = np.where(real, text.share[np.maximum(c.telling, 0)], 1)
    # How far its tokens are from those of the text; words over marks, which everything is full of.
    score = (share * np.log(share / usual)).sum(1)
    wordy = np.array([all(_is_word(strings[t]) for t in row[row >= 0][:2].tolist()) for row in c.telling])
    score *= np.where(wordy, 1.0, 0.5)
    few = c.entropy < FEW
    chosen: list[int | None] = [i if fit[i] else None for i in list(kept)[:n]]
    chosen += [None] * (n - len(chosen))
    said = {_first(c, i, strings) for i in chosen if i is not None}
    ranked = [
        np.flatnonzero(fit & kind)[np.argsort(-score[fit & kind], kind="stable")].tolist() for kind in (few, ~few)
    ]
    for place in [p for p, i in enumerate(chosen) if i is None]:
        for kind in (ranked[1 - place % 2], ranked[place % 2]):
            found = next((i for i in kind if i not in chosen and _first(c, i, strings) not in said), None)
            if found is not None:
                chosen[place] = found
                said.add(_first(c, found, strings))
                break
    return [i for i in chosen if i is not None]


def _first(c: Counted, i: int, strings: dict[int, str]) -> str:
    """Its most telling token, alike for those that differ in case or the space before them."""
    return readable(strings[int(c.telling[i, 0])]).casefold()


def _is_word(token: str) -> bool:
    return len(token.strip()) > 2 and token.strip().isalpha()


def _significant(value: float) -> float:
    return float(f"{value:.4g}")
