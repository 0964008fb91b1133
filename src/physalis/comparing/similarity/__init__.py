"""How alike features of two dictionaries are, and which of it chance explains: by what they write (``directions``) and
by when they fire (``codes``).

``match_codes`` and ``match_directions`` pair features, ``find_parents`` says within which one each lies, ``judge``
holds scores against chance. docs/comparing.md has the definitions.
"""

from physalis.comparing.similarity.chance import judge
from physalis.comparing.similarity.codes import SparseCodes, correlation, pair_correlation
from physalis.comparing.similarity.counts import histogram, matched, share
from physalis.comparing.similarity.matching import Matching, match_codes, match_directions
from physalis.comparing.similarity.parents import Parents, find_parents, groups

__all__ = [
    "Matching", "Parents", "SparseCodes", "correlation", "find_parents", "groups", "histogram", "judge", "match_codes",
    "match_directions", "matched", "pair_correlation", "share",
]  # fmt: skip
