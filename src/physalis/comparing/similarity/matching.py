"""matching: pairs of features of two dictionaries, by what they write or by when they fire.

One partner at most for each feature: the pairing with the largest sum of scores (Hungarian algorithm; for dictionaries
Paulo & Belrose 2025, arXiv 2501.16615). It holds 8 bytes for every pair of features and takes time that grows with the
cube of their number, so beyond ``most`` features another method stands in and is named: features that are each other's
nearest. That leaves features unpaired which the Hungarian algorithm would give a second choice.

Every feature of the narrower dictionary gets a partner whether or not there is one. Which pairs mean something is
judged by chance: the best scores of the same features against a dictionary that means nothing. No pairing can give a
feature more than its best, so what is found errs to the careful side.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from physalis.comparing.records import Chance
from physalis.comparing.similarity import directions
from physalis.comparing.similarity.chance import ROUNDS, judge
from physalis.comparing.similarity.codes import SparseCodes, beside, correlation, moves

MOST = 20_000
"""Features for which all pairs are held: 3.2 GB."""

HUNGARIAN, MUTUAL = "Hungarian", "mutual nearest neighbours"


@dataclass(frozen=True, eq=False)
class Matching:
    """Pairs by rising ``a``."""

    a: Int64[np.ndarray, " pairs"]
    b: Int64[np.ndarray, " pairs"]
    score: Float64[np.ndarray, " pairs"]
    """Cosine or correlation."""
    p: Float64[np.ndarray, " pairs"]
    """Share of chance's best that are as large."""
    found: Bool[np.ndarray, " pairs"]
    """More than chance gives, at the false-discovery rate."""
    chance: Chance
    drawn: Float64[np.ndarray, " drawn"]
    """Best scores by chance."""
    method: str

    def partners(self, n: int) -> Int64[np.ndarray, " n"]:
        """For each of A's ``n`` features its partner, -1 if it has none."""
        out = np.full(n, -1)
        out[self.a] = self.b
        return out

    def swapped(self) -> "Matching":
        """The same pairs seen from B."""
        order = np.argsort(self.b)
        a, b, score, p, found = (each[order] for each in (self.b, self.a, self.score, self.p, self.found))
        return Matching(a, b, score, p, found, self.chance, self.drawn, self.method)


def match_directions(
    a: Float[Tensor, "features_a d"],
    b: Float[Tensor, "features_b d"],
    *,
    rate: float = 0.05,
    rounds: int = ROUNDS,
    most: int = MOST,
    seed: int = 0,
) -> Matching:
    """Pair features by the cosine of their directions; signs count, for codes are never negative.

    Chance: the best cosine of each feature of the narrower dictionary among as many random directions as the wider one
    has, with that one's mean and covariance, in ``rounds`` draws.
    """
    if len(a) > len(b):
        return match_directions(b, a, rate=rate, rounds=rounds, most=most, seed=seed).swapped()
    a, b = directions.units(a), directions.units(b)
    if len(b) <= most:
        cost = np.empty((len(a), len(b)))
        for first, block in directions.cosines(a, b):
            np.subtract(1, block.numpy(), out=cost[first : first + len(block)])
        rows, columns = linear_sum_assignment(cost)
        score, method = 1 - cost[rows, columns], HUNGARIAN
    else:
        of_a, of_b = directions.bests(a, b)
        rows = np.flatnonzero(of_b.ids[of_a.ids] == np.arange(len(a)))
        columns, score, method = of_a.ids[rows], of_a.cosine[rows], MUTUAL
    drawn = directions.drawn(a, b, rounds=rounds, seed=seed)
    judged = judge(score, drawn, tested=len(a), rate=rate)
    return Matching(rows, columns, score, *judged, drawn, method)


def match_codes(
    a: SparseCodes, b: SparseCodes, *, rate: float = 0.05, rounds: int = ROUNDS, most: int = MOST, seed: int = 0
) -> Matching:
    """Pair features by the correlation of their codes over the same tokens; only those that fire ENOUGH take part.

    Chance: the best correlation of each feature of the narrower dictionary with the other's codes moved along the text,
    ``rounds`` times.
    """
    if a.n_features > b.n_features:
        return match_codes(b, a, rate=rate, rounds=rounds, most=most, seed=seed).swapped()
    rows, columns = np.flatnonzero(a.often), np.flatnonzero(b.often)
    if not len(rows) or not len(columns):
        none, nothing = np.empty(0, np.int64), np.empty(0)
        judged = judge(nothing, nothing, tested=1, rate=rate)
        return Matching(none, none, nothing, *judged, nothing, HUNGARIAN)
    if max(len(rows), len(columns)) <= most:
        cost = np.empty((len(rows), len(columns)))
        done = 0
        for here in beside(a, b, rows):
            np.subtract(1, correlation(a, b, here)[:, columns], out=cost[done : done + len(here.rows)])
            done += len(here.rows)
        i, j = linear_sum_assignment(cost)
        score, method = 1 - cost[i, j], HUNGARIAN
        first, second = rows[i], columns[j]
    else:
        best, which, back = _best_correlations(a, b, rows)
        mutual = back[which] == rows
        first, second, score, method = rows[mutual], which[mutual], best[mutual], MUTUAL
    drawn = correlations_by_chance(a, b, rounds=rounds, seed=seed)
    judged = judge(score, drawn, tested=len(rows), rate=rate)
    return Matching(first, second, score, *judged, drawn, method)


def correlations_by_chance(a: SparseCodes, b: SparseCodes, *, rounds: int, seed: int) -> Float64[np.ndarray, " drawn"]:
    """Best correlations of the features of ``a`` that fire ENOUGH, or of ``directions.ROWS`` of them a round, with
    codes of ``b`` that stand elsewhere in the text."""
    rng = np.random.default_rng(seed)
    often = np.flatnonzero(a.often)
    found = []
    for by in moves(a.n_tokens, rounds, seed):
        rows = np.sort(rng.permutation(often)[: directions.ROWS])
        found.append(_best_correlations(a, b.moved(by), rows)[0])
    return np.concatenate(found) if found else np.empty(0)


def _best_correlations(a: SparseCodes, b: SparseCodes, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each row's best correlation and which of ``b`` it is with; and for each of ``b`` which row is its best, or -1."""
    best, which = np.empty(len(rows)), np.empty(len(rows), np.int64)
    back, highest = np.full(b.n_features, -1), np.zeros(b.n_features)
    done = 0
    for here in beside(a, b, rows):
        found = correlation(a, b, here)
        part = slice(done, done + len(here.rows))
        which[part] = found.argmax(1)
        best[part] = np.take_along_axis(found, which[part, None], 1)[:, 0]
        top = found.argmax(0)
        value = found[top, np.arange(found.shape[1])]
        higher = value > highest
        back[higher], highest[higher] = here.rows[top[higher]], value[higher]
        done += len(here.rows)
    return best, which, back
