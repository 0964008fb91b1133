"""supernodes: a graph's features in groups that do one thing together, made in several ways, edited, named, kept.

``group`` puts features together that are alike: ``by_edges``, ``by_decoders``, ``by_behaviour`` on texts, ``by_rules``,
or by several ``together``.
``agreement`` says how far two groupings are the same, ``by_chance`` what the same rules make of noise.
"""

from physalis.circuits.supernodes.agreement import adjusted_rand, agreement
from physalis.circuits.supernodes.behaviour import by_behaviour
from physalis.circuits.supernodes.grouping import group
from physalis.circuits.supernodes.labels import Phrases, labelled, phrases_of_atlases, phrases_of_rules, relabelled
from physalis.circuits.supernodes.likeness import Likeness, by_chance, by_decoders, by_edges, by_rules, together
from physalis.circuits.supernodes.signs import signed_effects
from physalis.circuits.supernodes.supernodes import Member, Supernode, Supernodes

__all__ = [
    "Likeness", "Member", "Phrases", "Supernode", "Supernodes", "adjusted_rand", "agreement", "by_behaviour",
    "by_chance", "by_decoders", "by_edges", "by_rules", "group", "labelled", "phrases_of_atlases",
    "phrases_of_rules", "relabelled", "signed_effects", "together",
]  # fmt: skip
