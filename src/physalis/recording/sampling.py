"""sampling: which text is held out: a random sample of documents, spread over the corpus.

Documents are what is independent of each other, so they are what is drawn. One that is longer than an eighth of what is
to be held out is cut into slices that are drawn instead, and no document gives more than that eighth (or its equal
share where there are fewer than eight): a single book must not be most of what everything is judged by. Slices keep the
number of their document: whoever resamples documents resamples books, not chapters.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int64

PIECES = 8
"""The held-out part comes from at least so many places where the text allows it."""

STRATA = 64
"""Stretches of the corpus from each of which a share is drawn, at most."""

FEW = 16
"""A text of fewer contexts is cut once, near its end: slices would be all seams."""


class Slice(NamedTuple):
    """Tokens ``start`` up to ``stop`` of a text, all of one document."""

    start: int
    stop: int
    document: int


def split(
    lengths: Int64[np.ndarray, " documents"], *, share: float, context: int, seed: int
) -> tuple[list[Slice], list[Slice]]:
    """Cut a text, given the tokens of each document, into what is trained on and what is held out, each in its order.

    About ``share`` of the tokens are held out, at least a ``context`` of them if the text has two; none if ``share`` is
    0.
    """
    stops = np.cumsum(lengths)
    n = int(stops[-1])
    whole = [Slice(int(stop) - int(m), int(stop), i) for i, (stop, m) in enumerate(zip(stops, lengths, strict=True))]
    if share == 0 or n < 2 * context:
        return whole, []
    target = min(max(round(share * n), context), n - context)
    if n < FEW * context:
        at = n - max(1, target // context) * context
        before = [each._replace(stop=min(each.stop, at)) for each in whole if each.start < at]
        return before, [each._replace(start=max(each.start, at)) for each in whole if each.stop > at]
    slices = [piece for each in whole for piece in _sliced(each, max(context, target // PIECES))]
    sizes, owners = np.array([(each.stop - each.start, each.document) for each in slices]).T
    rng = np.random.default_rng([seed, len(lengths)])
    may = _eligible(owners, sizes, max(context, target // PIECES, -(-target // len(lengths))), rng)
    out = np.zeros(len(slices), bool)
    out[may] = _drawn(sizes[may], target, context, n - context, rng)
    parts = zip(slices, out, strict=True)
    kept: tuple[list[Slice], list[Slice]] = ([], [])
    for piece, held in parts:
        kept[held].append(piece)
    return kept


def _sliced(whole: Slice, longest: int) -> list[Slice]:
    # Equal parts, none longer than ``longest``.
    n = -(-(whole.stop - whole.start) // longest)
    edges = np.linspace(whole.start, whole.stop, n + 1).round().astype(int).tolist()
    return [Slice(start, stop, whole.document) for start, stop in zip(edges, edges[1:], strict=False)]


def _eligible(
    owners: Int64[np.ndarray, " slices"], sizes: Int64[np.ndarray, " slices"], most: int, rng: np.random.Generator
) -> Int64[np.ndarray, " eligible"]:
    """The slices that may be drawn: of each document at most ``most`` tokens, spread over it."""
    found = []
    for own in np.split(np.arange(len(owners)), np.flatnonzero(np.diff(owners)) + 1):
        n = max(1, round(most / sizes[own].mean()))
        found += list(own) if n >= len(own) else [rng.choice(part) for part in np.array_split(own, n)]
    return np.array(found)


def _drawn(
    sizes: Int64[np.ndarray, " eligible"], target: int, least: int, most: int, rng: np.random.Generator
) -> Bool[np.ndarray, " eligible"]:
    """A random choice of about ``target`` tokens, from ``least`` to ``most``, as much from each stretch of the
    corpus."""
    total, mean = int(sizes.sum()), sizes.mean()
    out = np.zeros(len(sizes), bool)
    strata = max(1, min(STRATA, int(target / (2 * mean))))
    stratum = ((np.cumsum(sizes) - sizes / 2) * strata / total).astype(int)
    held = 0
    for number, own in enumerate(np.split(np.arange(len(sizes)), np.searchsorted(stratum, np.arange(1, strata)))):
        for i in rng.permutation(own):
            if held + sizes[i] / 2 > target * (number + 1) / strata or held + sizes[i] > most:
                break
            out[i], held = True, held + sizes[i]
    for i in rng.permutation(np.flatnonzero(~out)):
        if held >= least:
            break
        out[i], held = True, held + sizes[i]
    return out
