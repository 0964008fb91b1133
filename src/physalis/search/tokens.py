"""tokens: on_token, which features fire on one kind of token in some texts, and how much more than on other tokens."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int64

from physalis.errors import BadInput
from physalis.search.contrast import interval, resampled
from physalis.search.reading import Reading
from physalis.search.records import OnToken, TokenFeature


class _Sums(NamedTuple):
    """Of the features ``ids``, text by text: firings on the token and elsewhere, and their codes."""

    fired_on: Float[np.ndarray, "texts features"]
    fired_off: Float[np.ndarray, "texts features"]
    code_on: Float[np.ndarray, "texts features"]
    code: Float[np.ndarray, "texts features"]
    on: Float[np.ndarray, " texts"]
    """Occurrences of the token that hygiene keeps."""
    off: Float[np.ndarray, " texts"]
    """Other tokens that it keeps."""


def on_token(
    readings: Sequence[Reading], token: int, *, top: int = 50, resamples: int = 1000, seed: int = 0
) -> OnToken:
    """The ``top`` features that fire on occurrences of a token (its id: see ``Reader.token``) more often than on other
    tokens of the same texts, with intervals from ``resamples`` bootstrap samples of the texts that have it.

    Raises BadInput if no text has the token where hygiene keeps it.
    """
    if not readings:
        raise BadInput("There is no text to look for the token in. Give at least one.")
    firing = [np.unique(_fired(reading).ids[_fired(reading).on(token)]) for reading in readings]
    ids = np.unique(np.concatenate([np.empty(0, np.int64), *firing]))
    sums = _sums(readings, token, ids)
    n = sums.on.sum()
    if not n:
        raise BadInput(
            f"None of these texts has the token {token} at a position that counts (BOS and attention sinks do "
            "not). Give texts that have it; with and without a space before it are different tokens."
        )
    fires = sums.fired_on.sum(0) / n
    elsewhere = sums.fired_off.sum(0) / max(1.0, sums.off.sum())
    chosen = np.lexsort((-fires, elsewhere - fires))[:top]
    having = np.flatnonzero(sums.on)
    ends = None
    if len(having) > 1:
        few = sums.fired_on[having][:, chosen]
        ends = interval(resampled(few, sums.on[having], resamples, np.random.default_rng(seed)))
    mean_code, share_of_code = sums.code_on.sum(0) / n, sums.code_on.sum(0) / sums.code.sum(0)
    features = [
        TokenFeature(
            id=int(ids[f]),
            fires=float(fires[f]),
            low=None if ends is None else float(ends[0, j]),
            high=None if ends is None else float(ends[1, j]),
            elsewhere=float(elsewhere[f]),
            mean_code=float(mean_code[f]),
            share_of_code=float(share_of_code[f]),
        )
        for j, f in enumerate(chosen)
    ]
    return OnToken(id=token, n=int(n), n_texts=len(having), features=features)


class _Fired(NamedTuple):
    """The firings of one text."""

    ids: Int64[np.ndarray, " firings"]
    tokens: Int64[np.ndarray, " firings"]
    """The token that each is on."""
    codes: Float[np.ndarray, " firings"]

    def on(self, token: int) -> np.ndarray:
        return self.tokens == token


def _fired(reading: Reading) -> _Fired:
    values = reading.codes.values.numpy()
    at, column = np.nonzero(values > 0)
    ids = reading.codes.ids.numpy()[at, column].astype(np.int64)
    return _Fired(ids, np.array(reading.ids, np.int64)[at], values[at, column].astype(np.float64))


def _sums(readings: Sequence[Reading], token: int, ids: Int64[np.ndarray, " features"]) -> _Sums:
    rows = []
    for reading in readings:
        fired = _fired(reading)
        known = np.isin(fired.ids, ids)
        column, on, codes = np.searchsorted(ids, fired.ids[known]), fired.on(token)[known], fired.codes[known]
        each = [np.bincount(column[some], weights, len(ids)) for some, weights in (
            (on, None), (~on, None), (on, codes[on]), (slice(None), codes),
        )]  # fmt: skip
        kept = [i for i, why in zip(reading.ids, reading.left_out, strict=True) if why is None]
        rows.append((*each, kept.count(token), len(kept) - kept.count(token)))
    return _Sums(*(np.array(column, np.float64) for column in zip(*rows, strict=True)))
