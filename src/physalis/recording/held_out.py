"""held_out: which text is held out: a random sample of documents, spread over the corpus.

Documents are what is independent of each other, so they are what is drawn. One that is longer than an eighth of what is
to be held out is cut into slices that are drawn instead, and no document gives more than about that eighth (or its
equal share where there are fewer than eight): a single book must not be most of what everything is judged by. Slices
keep the number of their document: whoever resamples documents resamples books, not chapters.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int64

PIECES = 8
"""The held-out part comes from at least so many places where the text allows it."""

STRATA = 64
"""Stretches of the corpus from each of which a share is drawn, at most."""

DRAWS = 20
"""Samples that are drawn, of which one is taken: documents differ in length, and the share is one of tokens."""

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
    longest = max(context, target // PIECES)
    slices = [piece for each in whole for piece in _sliced(each, longest)]
    sizes, owners = np.array([(each.stop - each.start, each.document) for each in slices]).T
    rng = np.random.default_rng([seed, len(lengths)])
    most = max(longest, _level(lengths, target))
    large = _large(lengths, target, most)
    out = np.zeros(len(slices), bool)
    owed = 0.0  # a document gives whole slices: what one gives too little, the next makes up for, or it would add up
    for document in np.flatnonzero(large):
        own = np.flatnonzero(owners == document)
        few = min(len(own), max(1, round((owed + most) / sizes[own].mean())))
        owed += most - few * sizes[own].mean()
        out[[rng.choice(part) for part in np.array_split(own, few)]] = True
    left, others = target - int(sizes[out].sum()), np.flatnonzero(~large[owners])
    out[others] = _drawn(sizes[others], left, rng)
    # Where a slice or two are all that is drawn, the one or the other part could be left without a context.
    held = int(sizes[out].sum())
    for i in rng.permutation(len(out)):
        if context <= held <= n - context:
            break
        if out[i] != (held < context):
            held += -int(sizes[i]) if out[i] else int(sizes[i])
            out[i] = ~out[i]
    train = [each for each, held in zip(slices, out, strict=True) if not held]
    return train, [each for each, held in zip(slices, out, strict=True) if held]


def _sliced(whole: Slice, longest: int) -> list[Slice]:
    # Equal parts, none longer than ``longest``.
    n = -(-(whole.stop - whole.start) // longest)
    edges = np.linspace(whole.start, whole.stop, n + 1).round().astype(int).tolist()
    return [Slice(start, stop, whole.document) for start, stop in zip(edges, edges[1:], strict=False)]


def _level(lengths: Int64[np.ndarray, " documents"], target: int) -> int:
    """The least that the longest documents must give, so that all together give ``target`` tokens."""
    short = np.sort(lengths)
    given = np.cumsum(short) + short * np.arange(len(short) - 1, -1, -1)  # if none gave more than this one has
    i = int(np.searchsorted(given, target))
    before = int(short[:i].sum())
    return -(-(target - before) // (len(short) - i))


def _large(lengths: Int64[np.ndarray, " documents"], target: int, most: int) -> Bool[np.ndarray, " documents"]:
    """Documents that would give more than ``most`` tokens if all gave in proportion to their length."""
    large = np.zeros(len(lengths), bool)
    while not large.all():
        share = (target - most * int(large.sum())) / int(lengths[~large].sum())
        more = ~large & (share * lengths > most)
        if not more.any():
            break
        large |= more
    return large


def _drawn(sizes: Int64[np.ndarray, " slices"], target: int, rng: np.random.Generator) -> Bool[np.ndarray, " slices"]:
    """A random choice of slices, as many from each stretch of the corpus, each as likely as any other whatever its
    length: of several such draws the one whose tokens come nearest to ``target``."""
    out = np.zeros(len(sizes), bool)
    if target <= 0 or not len(sizes):
        return out
    share = min(1.0, target / int(sizes.sum()))
    strata = np.array_split(np.arange(len(sizes)), max(1, min(STRATA, int(share * len(sizes) / 2))))
    stops = np.array([0, *np.cumsum([len(own) for own in strata])])
    nearest, best = out, target
    for _ in range(DRAWS):
        counts = np.diff(np.floor(share * stops + rng.random()).astype(int))
        pairs = zip(strata, counts, strict=True)
        chosen = np.concatenate([rng.permutation(own)[: max(0, n)] for own, n in pairs])
        if (off := abs(int(sizes[chosen].sum()) - target)) < best:
            nearest, best = np.isin(np.arange(len(sizes)), chosen), off
    return nearest
