"""parents: which feature of one dictionary a feature of another lies within, judged by when they fire; and where
several lie within one.

1. A feature's parent fires wherever it does: P(parent fires | child fires), less what chance gives. A dense feature
   fires beside everything, so the score is (P - density) / (1 - density): 0 is chance, 1 is always.
2. Among those that do so equally well (to within ``TIE``) the parent has the largest share of its own code on the
   child's tokens; of equals there (to within ``TIE`` of that share) it is the one that writes most alike.
3. There is none where the best score is no more than chance gives, at the false-discovery rate, or below ``least``: at
   the default of one half the feature fires without it more than with it, and nobody would call it a parent.

That wider dictionaries split features is Bricken et al. 2023 ("Towards Monosemanticity").
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from physalis.comparing.records import Chance
from physalis.comparing.similarity import directions
from physalis.comparing.similarity.chance import ROUNDS, judge
from physalis.comparing.similarity.codes import Beside, SparseCodes, beside, moves
from physalis.errors import BadInput

TIE = 0.1

COVERED = 0.5
"""A feature is split only if its parts together fire on this share of its tokens."""

ALONE = 0.8
"""... and if no part alone has more than this share of what they have together."""


@dataclass(frozen=True, eq=False)
class Parents:
    """One entry a child. Numbers are those of the parent, 0 where there is none."""

    parent: Int64[np.ndarray, " children"]
    """-1 where there is none."""
    fires: Float64[np.ndarray, " children"]
    """P(parent fires | child fires)."""
    share: Float64[np.ndarray, " children"]
    """Share of the parent's code that lies on the child's tokens."""
    cosine: Float64[np.ndarray, " children"]
    chance: Chance
    least: float

    @property
    def bar(self) -> float:
        """What a score must exceed."""
        return 1.0 if self.chance.threshold is None else max(self.chance.threshold, self.least)

    def children_of(self, n: int) -> list[Int64[np.ndarray, " children"]]:
        """For each of ``n`` parents its children, rising."""
        order = np.argsort(self.parent, kind="stable")
        ends = np.searchsorted(self.parent[order], np.arange(n + 1))
        return [order[ends[i] : ends[i + 1]] for i in range(n)]


def find_parents(
    children: SparseCodes,
    parents: SparseCodes,
    write_children: Float[Tensor, "children d"],
    write_parents: Float[Tensor, "parents d"],
    *,
    rate: float = 0.05,
    least: float = 0.5,
    rounds: int = ROUNDS,
    seed: int = 0,
) -> Parents:
    """The parent of each child that fires ENOUGH; parents have to as well.

    Chance: the best score of each child beside the parents' codes moved along the text, ``rounds`` times.
    """
    if not 0 <= least < 1:
        raise BadInput(f"A parent fires on more than a share of 0 to 1 of its child's tokens; received {least:g}.")
    rows = np.flatnonzero(children.often)
    drawn = _by_chance(children, parents, rows, rounds, seed)
    units = directions.units(write_children), directions.units(write_parents)
    found = _nearest(children, parents, rows, units)
    judged = judge(found.score, drawn, tested=max(1, len(rows)), rate=rate)
    return _kept(children.n_features, rows, found, judged.chance, least)


def parents_by_chance(
    children: SparseCodes, parents: SparseCodes, real: Parents, *, seed: int
) -> tuple[Parents, SparseCodes]:
    """What the same bar lets through where the parents' codes stand elsewhere in the text, and those codes. Cosines are
    not looked at."""
    rows = np.flatnonzero(children.often)
    moved = parents.moved(moves(parents.n_tokens, 1, seed)[0])
    return _kept(children.n_features, rows, _nearest(children, moved, rows, None), real.chance, real.least), moved


class _Found(NamedTuple):
    """One entry a row."""

    score: np.ndarray
    parent: np.ndarray
    fires: np.ndarray
    share: np.ndarray
    cosine: np.ndarray


def _kept(n: int, rows: np.ndarray, found: _Found, chance: Chance, least: float) -> Parents:
    none = np.zeros(n)
    empty = Parents(np.full(n, -1), none, none.copy(), none.copy(), chance, least)
    keep = found.score > empty.bar if empty.bar < 1 else np.zeros(len(rows), bool)
    for column, values in zip((empty.parent, empty.fires, empty.share, empty.cosine), found[1:], strict=True):
        column[rows[keep]] = values[keep]
    return empty


def _scores(children: SparseCodes, parents: SparseCodes, here: Beside) -> np.ndarray:
    """[rows, parents]: P(parent | child) beyond chance."""
    density = np.where(parents.often & (parents.density < 1), parents.density, np.nan)
    fires = here.together / children.n_fired[here.rows, None]
    return np.nan_to_num((fires - density) / (1 - density), copy=False)


def _nearest(
    children: SparseCodes, parents: SparseCodes, rows: np.ndarray, units: tuple[Tensor, Tensor] | None
) -> _Found:
    pieces: list[_Found] = []
    total = np.maximum(parents.total, 1e-300)
    for here in beside(children, parents, rows):
        score = _scores(children, parents, here)
        best = score.max(1)
        share = np.where(score >= best[:, None] - TIE, here.code / total, -1.0)
        equal = share >= (1 - TIE) * share.max(1)[:, None]
        if units is None:
            cosine = np.zeros_like(score)
        else:
            cosine = (units[0][here.rows] @ units[1].T).numpy().astype(np.float64)
        chosen = np.where(equal, cosine, -2.0).argmax(1)[:, None]
        together = np.take_along_axis(here.together, chosen, 1)[:, 0]
        own = (np.take_along_axis(each, chosen, 1)[:, 0] for each in (share, cosine))
        pieces.append(_Found(best, chosen[:, 0], together / children.n_fired[here.rows], *own))
    if not pieces:
        return _Found(np.empty(0), np.empty(0, np.int64), *(np.empty(0) for _ in range(3)))
    return _Found(*(np.concatenate(column) for column in zip(*pieces, strict=True)))


def _by_chance(children: SparseCodes, parents: SparseCodes, rows: np.ndarray, rounds: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    found = [np.empty(0)]
    for by in moves(children.n_tokens, rounds, seed):
        moved = parents.moved(by)
        some = np.sort(rng.permutation(rows)[: directions.ROWS])
        found += [_scores(children, moved, here).max(1) for here in beside(children, moved, some)]
    return np.concatenate(found)


class Group(NamedTuple):
    """One feature, and those of the other dictionary that lie within it."""

    whole: int
    members: Int64[np.ndarray, " members"]
    member_coverage: Float64[np.ndarray, " members"]
    """P(member fires | the whole fires)."""
    coverage: float
    """P(one of them fires | the whole fires)."""
    purity: float
    """P(the whole fires | one of them fires)."""

    @property
    def alone(self) -> float:
        return float(self.member_coverage.max())

    @property
    def is_split(self) -> bool:
        """Whether it takes several to cover the whole: otherwise one carries on, whatever else lies within."""
        return self.coverage >= COVERED and self.alone <= ALONE * self.coverage


def groups(whole: SparseCodes, parts: SparseCodes, parents: Parents) -> list[Group]:
    """Every feature of ``whole`` that is the parent of two features of ``parts`` or more."""
    found = []
    mark = np.zeros(whole.n_tokens, bool)
    for feature, members in enumerate(parents.children_of(whole.n_features)):
        if len(members) < 2:
            continue
        own = whole.tokens_of(feature)
        lists = [parts.tokens_of(int(member)) for member in members]
        mark[own] = True
        each = np.array([mark[tokens].sum() for tokens in lists]) / len(own)
        mark[own] = False
        union = np.unique(np.concatenate(lists))
        mark[union] = True
        both = int(mark[own].sum())
        mark[union] = False
        found.append(Group(feature, members, each, both / len(own), both / len(union)))
    return found
