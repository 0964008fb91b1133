"""Which firings of a feature are shown, and the text around them.

1. ``choose`` keeps, for each feature, the firings with the largest codes, and for each level of code some drawn evenly
   from all firings at that level; never two from one context. A draw is the largest of a hash of (seed, feature,
   place), so it depends on neither the order nor the number of pieces in which firings arrive.
2. ``cut`` takes more candidates than will be shown, cuts each one's window out of its context and document, and skips a
   window whose text near the firing was already shown: a licence that heads a hundred files is one example.
"""

from typing import no_type_check

import numpy as np
from numba import njit

from physalis.atlas.build.counting import level_of

SPARE = 3
"""Candidates kept for each example shown."""

SAME = (6, 2)
"""Two windows of text with the same tokens this far before and after their firings count as one."""


@njit(cache=True, nogil=True)
@no_type_check
def choose(first, offsets, at, values, max_code, context, seed, top, drawn):
    """Fill ``top`` [features, n] and ``drawn`` [features, levels, n] with indexes into the block's firings, -1 where
    there are fewer; ``top`` by falling code, ``drawn`` in the order of drawing."""
    n_top, levels, n_drawn = top.shape[1], drawn.shape[1], drawn.shape[2]
    top_key, drawn_key = np.empty(n_top, np.float32), np.empty((levels, n_drawn), np.uint64)
    enough, drawn_enough = np.float32(0), np.empty(levels, np.uint64)
    for f in range(offsets.shape[0] - 1):
        top_key[:], drawn_key[:], drawn_enough[:] = 0, 0, 0
        enough = np.float32(0)
        top[f], drawn[f] = -1, -1
        key = _mix(_mix(np.uint64(seed)) + np.uint64(first + f))
        for e in range(offsets[f], offsets[f + 1]):
            if values[e] > enough:
                _keep(top_key, top[f], values[e], e, at, context)
                enough = top_key[n_top - 1]
            level = level_of(values[e] / max_code[f], levels)
            draw = _mix(key ^ np.uint64(at[e]))
            if draw > drawn_enough[level]:
                _keep(drawn_key[level], drawn[f, level], draw, e, at, context)
                drawn_enough[level] = drawn_key[level, n_drawn - 1]


@njit(cache=True, nogil=True)
@no_type_check
def _keep(keys, kept, key, e, at, context):
    """Keep firing ``e`` in the list that falls by key, in place of a lesser one of the same context."""
    last = keys.shape[0] - 1
    here = at[e] // context
    end = last
    for i in range(last + 1):
        if kept[i] < 0:
            end = i
            break
        if at[kept[i]] // context == here:
            if keys[i] >= key:
                return
            end = i
            break
    slot = end
    while slot > 0 and keys[slot - 1] < key:
        keys[slot], kept[slot] = keys[slot - 1], kept[slot - 1]
        slot -= 1
    keys[slot], kept[slot] = key, e


@njit(cache=True, nogil=True)
@no_type_check
def _mix(x):
    """splitmix64: every bit of the result depends on every bit of ``x``."""
    x += np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@njit(cache=True, nogil=True)
@no_type_check
def cut(
    offsets, at, values, max_code, top, drawn, text, document, context, lead, same, before, per_top, per_drawn,
    tokens, codes, peak, documents, places, top_low, top_firings, top_code,
):  # fmt: skip
    """Fill the windows of each feature: ``per_top`` of the top, then ``per_drawn`` of each level, each group by
    falling code. ``text`` and ``document`` hold every token's id and document by ``at``; codes are out of 65535.
    The first ``lead`` places of a context are no text. Windows with the same tokens ``same`` (before, after) around
    their firings count as one. ``places`` are those of the firings. ``top_firings``
    and ``top_code`` count what reaches the top group's lowest code, ``top_low``."""
    shown = np.empty(tokens.shape[1], np.uint64)
    order = np.empty(max(per_top, per_drawn), np.int64)
    for f in range(offsets.shape[0] - 1):
        n_shown, out = 0, 0
        for group in range(1 + drawn.shape[1]):
            room = per_top if group == 0 else per_drawn
            candidates = top[f] if group == 0 else drawn[f, group - 1]
            n = 0
            for i in range(candidates.shape[0]):
                e = candidates[i]
                if e < 0 or n == room:
                    break
                near = _near(at[e], text, document, context, lead, same)
                if _among(near, shown, n_shown):
                    continue
                shown[n_shown] = near
                n_shown += 1
                slot = n
                while slot > 0 and values[order[slot - 1]] < values[e]:
                    order[slot] = order[slot - 1]
                    slot -= 1
                order[slot] = e
                n += 1
            for i in range(n):
                e = order[i]
                _window(
                    e, offsets[f], offsets[f + 1], at, values, max_code[f], text, document, context, lead, before,
                    tokens[f, out + i], codes[f, out + i], peak[f], out + i,
                )  # fmt: skip
                documents[f, out + i] = document[at[e]]
                places[f, out + i] = at[e]
                if group == 0:
                    top_low[f] = values[e]
            out += room
        for e in range(offsets[f], offsets[f + 1]):
            if values[e] >= top_low[f]:
                top_firings[f] += 1
                top_code[f] += values[e]


@njit(cache=True, nogil=True)
@no_type_check
def _among(value, values, n):
    for i in range(n):
        if values[i] == value:
            return True
    return False


@njit(cache=True, nogil=True)
@no_type_check
def _bounds(place, document, context, lead, before, after):
    """The places from ``before`` to ``after`` around one, inside its context and document."""
    start, end = place, place + 1
    floor, ceiling = place - place % context + lead, place - place % context + context
    while start > floor and place - start < before and document[start - 1] == document[place]:
        start -= 1
    while end < ceiling and end - place <= after and document[end] == document[place]:
        end += 1
    return start, end


@njit(cache=True, nogil=True)
@no_type_check
def _near(place, text, document, context, lead, same):
    start, end = _bounds(place, document, context, lead, same[0], same[1])
    h = np.uint64(end - start)
    for p in range(start, end):
        h = _mix(h ^ np.uint64(text[p]))
    return h


@njit(cache=True, nogil=True)
@no_type_check
def _window(e, low, high, at, values, largest, text, document, context, lead, before, tokens, codes, peak, slot):
    place, width = at[e], tokens.shape[0]
    start, end = _bounds(place, document, context, lead, before, width - 1)
    # A firing near the start of its text leaves room for more of what follows.
    end = min(end, start + width)
    for p in range(start, end):
        tokens[p - start] = text[p]
        codes[p - start] = 0
    peak[slot] = place - start
    i = e
    while i >= low and at[i] >= start:
        codes[at[i] - start] = _stored(values[i], largest)
        i -= 1
    i = e + 1
    while i < high and at[i] < end:
        codes[at[i] - start] = _stored(values[i], largest)
        i += 1


@njit(cache=True, nogil=True)
@no_type_check
def _stored(value, largest):
    """At least 1: a firing never reads as silence."""
    return max(1, int(np.rint(65535.0 * value / largest)))
