"""fields: Fields, words that are used and spelled alike in a text: what "like" means in a rule. See ``grouping``."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from physalis.corpora.characters import Piece, alone
from physalis.explanations.language.leaves import TOKEN_KINDS, Kind

GRAINS: dict[Kind, int] = dict(zip(TOKEN_KINDS[-3:], (8, 32, 128), strict=True))
"""Tokens in a group, on average."""


class Fields(NamedTuple):
    """The group of every token of the vocabulary in each grain, -1 where it has none; and a name for each group."""

    groups: Int[np.ndarray, "grains vocabulary"]
    heads: list[Int[np.ndarray, " groups"]]
    """The token that each group of a grain is called after: of its members the one that is nearest to them all."""

    def numbers(self, kind: Kind, pieces: Sequence[Piece]) -> tuple[Int[np.ndarray, " vocabulary"], list[str]]:
        """The group of each token in one grain, and what the groups are called."""
        grain = list(GRAINS).index(kind)
        names, same = np.unique([alone(pieces[head]) for head in self.heads[grain]], return_inverse=True)
        groups = self.groups[grain]
        return np.where(groups < 0, -1, same[groups]).astype(np.int32), names.tolist()

    def members(self, kind: Kind, head: str, pieces: Sequence[Piece]) -> list[int]:
        """The tokens that are like ``head``, none if no group is called so."""
        groups, names = self.numbers(kind, pieces)
        return np.flatnonzero(groups == names.index(head)).tolist() if head in names else []

    def save(self, path: Path) -> None:
        """Into one file of arrays."""
        ends = np.cumsum([len(each) for each in self.heads])
        with path.open("wb") as file:
            np.save(file, self.groups)
            np.save(file, np.concatenate(self.heads))
            np.save(file, ends)

    @classmethod
    def load(cls, path: Path) -> "Fields":
        """What ``save`` wrote."""
        with path.open("rb") as file:
            groups, heads, ends = (np.load(file, allow_pickle=False) for _ in range(3))
        return cls(groups, np.split(heads, ends[:-1]))
