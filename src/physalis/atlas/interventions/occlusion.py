"""occlusion: which tokens a feature's code depends on, found by leaving them out of its text one at a time.

A token that is taken out would move all that follow by one position, which is another change; so another token takes
its place. No single token is neutral: a newline begins a line and a space ends a word, and there are features for both.
So ordinary ones stand in, drawn as often as the text has them, never the token itself; what is told is the mean over a
few, with the least and the most that one of them did.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float64, Int, Int64

from physalis.atlas.interventions.attached import Attached, Case

TOKENS = 4096
"""Tokens of one pass."""


class Occlusions(NamedTuple):
    """What the code at one example's peak depends on."""

    case: Case
    code: float
    """At its peak."""
    shares: np.ndarray
    """[tokens of the window up to the peak, replacements] float64: what part of the code is gone, 1 being all of it."""


def leave_one_out(
    attached: Attached, case: Case, share: Float64[np.ndarray, " vocabulary"], *, replacements: int, seed: int
) -> Occlusions | None:
    """Replace each token of the window up to the peak, and the peak's own; None if the feature is silent at the peak
    although nothing was replaced, as one that barely fired can be once its activation is rounded anew.

    ``share`` is each token's share of the text.
    """
    before = case.tokens[: case.peak + 1]
    window = np.arange(case.start, case.peak + 1)
    rng = np.random.default_rng([seed, case.feature])
    instead = ordinary(share, before[window], replacements, rng)
    rows = np.tile(before, (1 + instead.size, 1))
    rows[1 + np.arange(instead.size), np.repeat(window, replacements)] = instead.reshape(-1)
    codes = np.concatenate([_codes(attached, case, part) for part in _parts(rows)])
    if codes[0] <= 0:
        return None
    return Occlusions(case, float(codes[0]), (1 - codes[1:] / codes[0]).reshape(instead.shape))


def ordinary(
    share: Float64[np.ndarray, " vocabulary"], unlike: Int[np.ndarray, " n"], draws: int, rng: np.random.Generator
) -> Int64[np.ndarray, "n draws"]:
    """For each token of ``unlike`` so many others, each as often as ``share`` has it among all others."""
    ends = np.cumsum(share)
    own = share[unlike][:, None]
    begin = ends[unlike][:, None] - own
    drawn = rng.random((len(unlike), draws)) * (ends[-1] - own)
    drawn = np.where(drawn >= begin, drawn + own, drawn)  # as if the token's own stretch were cut out of the scale
    return np.minimum(np.searchsorted(ends, drawn, side="right"), len(share) - 1)


def _parts(rows: np.ndarray) -> list[np.ndarray]:
    size = max(1, TOKENS // rows.shape[1])
    return [rows[first : first + size] for first in range(0, len(rows), size)]


def _codes(attached: Attached, case: Case, rows: np.ndarray) -> np.ndarray:
    """[rows] float64: the feature's code at the last token of each; 0 where hygiene leaves that out."""
    x, kept = attached.read(torch.from_numpy(rows))
    x, keep = x[:, -1], kept[:, -1]
    codes = torch.zeros(len(rows), device=x.device)
    features = torch.full((int(keep.sum()),), case.feature, device=x.device)
    codes[keep] = attached.codes(x[keep], features)
    return codes.cpu().double().numpy()
