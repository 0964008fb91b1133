"""language: what rules are made of, and how they are run on a text.

A ``Rule`` is a list of clauses, a clause some leaves; ``Surroundings`` say of every position of a text which leaves are
true there, ``Fields`` which tokens are alike.
"""

from physalis.explanations.language.fields import Fields
from physalis.explanations.language.leaves import Leaf
from physalis.explanations.language.rules import Clause, Rule
from physalis.explanations.language.surroundings import Surroundings

__all__ = ["Clause", "Fields", "Leaf", "Rule", "Surroundings"]
