"""similarity: which tokens are alike, for rules to say "like" of.

By their use and spelling in a text (``usage``) and by what they do to the network (``token_effects``), put into groups
(``grouping``).
"""

from physalis.explanations.similarity.grouping import group
from physalis.explanations.similarity.token_effects import token_effects
from physalis.explanations.similarity.usage import usage

__all__ = ["group", "token_effects", "usage"]
