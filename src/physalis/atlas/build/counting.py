"""What is counted over all firings of a feature: histogram, levels, tokens, and the features that fire with it.

Every kernel takes some features of a Block (their offsets into its firings), fills one row of each output a feature,
and lets go of the interpreter's lock, so that threads share a block; the result does not depend on how it is divided.
``no_type_check`` keeps the tests' shape checks out of compiled code, which cannot hold them.
"""

from typing import NamedTuple, no_type_check

import numpy as np
from numba import njit
from scipy.special import ndtri

ENOUGH = 1024
"""Firings of a feature among which its co-firing features are counted."""


ONE_TOKEN = 0.6
"""Share of its code that a feature of one token has on that token."""

AHEAD = 16
"""Tokens asked of memory at a time."""


class Counted(NamedTuple):
    """One row a feature of a block. Ids are padded with -1."""

    max_code: np.ndarray
    sum_code: np.ndarray
    counts: np.ndarray
    """[features, bins]: firings by code, equal bins over (0, largest]."""
    level_firings: np.ndarray
    """[features, intervals]: highest interval first."""
    level_code: np.ndarray
    entropy: np.ndarray
    """Bits of the distribution of its code over tokens."""
    token: np.ndarray
    """[features, tokens]: most code first."""
    token_count: np.ndarray
    token_share: np.ndarray
    telling: np.ndarray
    """[features, telling]: tokens by what they add to the divergence of its code from the text:
    share * log(share / share of the text). The most telling first."""
    telling_share: np.ndarray
    preceding: np.ndarray
    """The token that most of its code has before it, for a feature of one token; -1 if there is none or for others."""
    cofiring: np.ndarray
    """[features, neighbours]"""
    correlation: np.ndarray


def empty_counted(n: int, *, bins: int, intervals: int, tokens: int, telling: int, neighbours: int) -> Counted:
    return Counted(
        max_code=np.zeros(n, np.float32),
        sum_code=np.zeros(n, np.float64),
        counts=np.zeros((n, bins), np.uint32),
        level_firings=np.zeros((n, intervals), np.int64),
        level_code=np.zeros((n, intervals), np.float64),
        entropy=np.zeros(n, np.float32),
        token=np.full((n, tokens), -1, np.int32),
        token_count=np.zeros((n, tokens), np.uint32),
        token_share=np.zeros((n, tokens), np.float32),
        telling=np.full((n, telling), -1, np.int32),
        telling_share=np.zeros((n, telling), np.float32),
        preceding=np.full(n, -1, np.int32),
        cofiring=np.full((n, neighbours), -1, np.int32),
        correlation=np.zeros((n, neighbours), np.float32),
    )


@njit(cache=True, nogil=True)
@no_type_check
def count_codes(offsets, values, max_code, sum_code, counts, level_firings, level_code):
    """Largest and total code, histogram, and firings and code by level, of each feature."""
    bins, levels = counts.shape[1], level_firings.shape[1]
    for f in range(offsets.shape[0] - 1):
        largest, total = np.float32(0), 0.0
        for e in range(offsets[f], offsets[f + 1]):
            largest = max(largest, values[e])
            total += values[e]
        max_code[f], sum_code[f] = largest, total
        for e in range(offsets[f], offsets[f + 1]):
            share = values[e] / largest
            counts[f, min(bins - 1, int(share * bins))] += 1
            level = level_of(share, levels)
            level_firings[f, level] += 1
            level_code[f, level] += values[e]


@njit(cache=True, nogil=True, inline="always")
@no_type_check
def level_of(share, levels):
    """Which of the equal intervals (low, high] holds a share in (0, 1]; 0 is the highest."""
    return levels - max(1, min(levels, int(np.ceil(share * levels))))


@njit(cache=True, nogil=True)
@no_type_check
def count_tokens(
    offsets, at, values, text, text_share, entropy, token, token_count, token_share, telling, telling_share
):
    """The tokens each feature fires on. ``text`` is all tokens by ``at``, ``text_share`` each one's share of it."""
    code = np.zeros(text_share.shape[0], np.float64)
    count = np.zeros(text_share.shape[0], np.int64)
    seen = np.empty(text_share.shape[0], np.int32)
    for f in range(offsets.shape[0] - 1):
        n, total = 0, 0.0
        for e in range(offsets[f], offsets[f + 1]):
            t = text[at[e]]
            if count[t] == 0:
                seen[n] = t
                n += 1
            count[t] += 1
            code[t] += values[e]
            total += values[e]
        bits = 0.0
        best = np.full(token.shape[1], -1.0)
        tell = np.full(telling.shape[1], 0.0)
        for i in range(n):
            t = seen[i]
            share = code[t] / total
            bits -= share * np.log2(share)
            slot = _enter(best, share)
            if slot >= 0:
                _shift(token[f], slot, t)
                _shift(token_count[f], slot, count[t])
                _shift(token_share[f], slot, share)
            slot = _enter(tell, share * np.log(share / text_share[t]))
            if slot >= 0:
                _shift(telling[f], slot, t)
                _shift(telling_share[f], slot, share)
            code[t] = 0
            count[t] = 0
        entropy[f] = max(bits, 0.0)


@njit(cache=True, nogil=True)
@no_type_check
def count_preceding(offsets, at, values, text, text_share, context, lead, telling_share, preceding):
    """The token before the firings, for features with ONE_TOKEN of their code on a single token, if half of the code
    has the same one. The first ``lead`` places of a context are no text."""
    code = np.zeros(text_share.shape[0], np.float64)
    for f in range(offsets.shape[0] - 1):
        if telling_share[f, 0] < ONE_TOKEN:
            continue
        total, best = 0.0, -1
        for e in range(offsets[f], offsets[f + 1]):
            total += values[e]
            if at[e] % context > lead:
                t = text[at[e] - 1]
                code[t] += values[e]
                if best < 0 or code[t] > code[best]:
                    best = t
        if best >= 0 and code[best] >= 0.5 * total:
            preceding[f] = best
        for e in range(offsets[f], offsets[f + 1]):
            if at[e] > 0:
                code[text[at[e] - 1]] = 0


@njit(cache=True, nogil=True)
@no_type_check
def count_cofiring(first, offsets, row, token_offsets, token_ids, sampled_fired, z, cofiring, correlation):
    """The features whose firings correlate most with each feature's, over the sampled tokens.

    With n tokens, a and b firings and c together, the correlation is (c n - a b) / sqrt(a (n - a) b (n - b)).
    Only features that fire together at least twice are considered: a single coincidence of two rare ones correlates
    perfectly and means nothing. Of a feature that fires more often than ENOUGH, so many firings spread evenly are
    looked at, which gives c to within 1.5 % of a: beside a rare feature a few chance coincidences would then look like
    a correlation. So the share of the looked-at firings on which the other fires must exceed the share of all tokens
    beyond chance: by Wilson's lower bound at ``z`` standard deviations, which ``beyond_chance`` chooses for as many
    features as are compared.
    """
    together = np.empty(sampled_fired.shape[0], np.int32)
    begin, end = np.empty(AHEAD, np.int64), np.empty(AHEAD, np.int64)
    touched = np.int64(0)
    n = float(token_offsets.shape[0] - 1)
    for f in range(offsets.shape[0] - 1):
        a = float(sampled_fired[first + f])
        if a < 2 or a >= n:
            continue
        together[:] = 0
        looked = 0
        n_fired = offsets[f + 1] - offsets[f]
        n_looked = min(n_fired, ENOUGH)
        for start in range(0, n_looked, AHEAD):
            # Tokens lie far apart in memory. Asking for several at once, before any is needed, hides most of the wait.
            n_ahead = 0
            for i in range(start, min(n_looked, start + AHEAD)):
                r = row[offsets[f] + i * n_fired // n_looked]
                if r >= 0:
                    begin[n_ahead], end[n_ahead] = token_offsets[r], token_offsets[r + 1]
                    n_ahead += 1
            for i in range(n_ahead):
                touched += token_ids[begin[i]] + token_ids[end[i] - 1]
            looked += n_ahead
            for i in range(n_ahead):
                for j in range(begin[i], end[i]):
                    together[token_ids[j]] += 1
        together[first + f] = 0
        if looked == 0 or touched < 0:
            continue
        best = np.full(cofiring.shape[1], 0.0)
        for g in range(together.shape[0]):
            if together[g] < 2:
                continue
            c, b = together[g] * a / looked, float(sampled_fired[g])
            if b >= n or _least(float(together[g]), float(looked), z) <= b / n:
                continue
            value = (c * n - a * b) / np.sqrt(a * (n - a) * b * (n - b))
            slot = _enter(best, value)
            if slot >= 0:
                _shift(cofiring[f], slot, g)
                _shift(correlation[f], slot, value)


def beyond_chance(n_features: int) -> float:
    """How many standard deviations a share must be away so that one false one is listed in twenty features, when each
    is compared with ``n_features``: 3.9 for 1,000, 4.9 for 100,000."""
    return float(-ndtri(0.05 / max(1, n_features)))


@njit(cache=True, nogil=True, inline="always")
@no_type_check
def _least(hits, trials, z):
    """Wilson's lower bound of a share."""
    p, square = hits / trials, z * z / trials
    middle = p + square / 2
    return (middle - z * np.sqrt(p * (1 - p) / trials + square / trials / 4)) / (1 + square)


@njit(cache=True, nogil=True)
@no_type_check
def _enter(best, value):
    """Insert ``value`` into the falling list ``best``, after its equals; the place it took, or -1."""
    if value <= best[-1]:
        return -1
    slot = best.shape[0] - 1
    while slot > 0 and best[slot - 1] < value:
        best[slot] = best[slot - 1]
        slot -= 1
    best[slot] = value
    return slot


@njit(cache=True, nogil=True)
@no_type_check
def _shift(row, slot, value):
    """Put ``value`` at ``slot``, pushing what follows one place on."""
    for i in range(row.shape[0] - 1, slot, -1):
        row[i] = row[i - 1]
    row[slot] = value
