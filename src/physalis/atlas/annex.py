"""annex: Annex, what is known of an atlas's features besides it and shown wherever they are: what they are called,
and how their rules fare.

``naming`` makes one of what lies beside an atlas; ``Atlas.with_annex`` shows it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from physalis.atlas.records import NamedBy, RuleInShort

RULES: dict[str, str] = {
    "rule_f1": "F1 of its rule on held-out text.",
    "rule_size": "Leaves of its rule: how much there is to read.",
}
"""What lists sort and filter by besides, where there are rules."""

Rows = list[tuple[str, bytes, bytes]]
"""Of an index of words: a word, its features and their weights."""


class Called(NamedTuple):
    """What a feature is called, and whence."""

    text: str
    by: NamedBy


def _nothing(low: str, high: str) -> Rows:
    return []


@dataclass(frozen=True, eq=False)
class Annex:
    """One as it is now: another one is another object."""

    names: Mapping[int, Called] = field(default_factory=dict)
    """In place of their tokens."""
    rules: Mapping[int, RuleInShort] = field(default_factory=dict)
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Entries of ``RULES``, a number a feature, NaN where there is none."""
    find: Callable[[str, str], Rows] = _nothing
    """As ``search_index.Find``: words that features are found by besides their own."""
    texts: Mapping[int, Sequence[str]] = field(default_factory=dict)
    """What is said of features, to be searched by meaning."""


NONE = Annex()
