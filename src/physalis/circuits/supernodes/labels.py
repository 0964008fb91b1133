"""labels: labelled(), names for groups: what most of their members' rules or headlines say, and where they stand.

A name that is made of data says how far it is true: ``"def" (3 of 4) · L2-5 at ' def' (7)``. Where nothing is known of
the members, where they stand is all there is to say.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

from physalis.atlas import Atlas
from physalis.atlas.headlines import ARROW, MORE, SEPARATOR, SILENT, readable
from physalis.circuits.graph import Graph
from physalis.circuits.supernodes.likeness import Program
from physalis.circuits.supernodes.supernodes import Member, Supernode, Supernodes

LONGEST = 80
"""Characters of a phrase that a name begins with."""

Phrases = Mapping[tuple[int, int], Sequence[str]]
"""What is said of features, by layer and number, what tells most of it first."""


def labelled(
    members: Sequence[Sequence[Member]], graph: Graph, phrases: Phrases, *, method: str = "by hand"
) -> Supernodes:
    """Groups with names of their own. Two that would be called alike are numbered."""
    names: Counter[str] = Counter()
    groups = []
    for own in members:
        name = _name(own, graph, phrases)
        names[name] += 1
        groups.append(Supernode(name if names[name] == 1 else f"{name} #{names[name]}", tuple(own)))
    return Supernodes(tuple(groups), method)


def relabelled(supernodes: Supernodes, graph: Graph, phrases: Phrases) -> Supernodes:
    """The same groups named anew, by what is known of their members now."""
    return labelled([group.members for group in supernodes], graph, phrases, method=supernodes.method)


def phrases_of_rules(rules: Mapping[tuple[int, int], Program]) -> dict[tuple[int, int], list[str]]:
    """The clauses of each rule, that of the largest code first."""
    return {
        key: [
            " and ".join(map(str, clause.leaves))
            for clause in sorted(rule.clauses, key=lambda clause: clause.level, reverse=True)
        ]
        for key, rule in rules.items()
    }


def phrases_of_atlases(atlases: Mapping[int, Atlas], graph: Graph) -> dict[tuple[int, int], list[str]]:
    """The parts of each feature's headline, from an atlas for each layer or some; nothing of features that it finds
    silent. Raises BadInput for a feature that an atlas does not have."""
    found = {}
    for layer, atlas in atlases.items():
        ids = graph.feature[graph.layer == layer].unique().tolist()
        for row in atlas.rows(ids):
            said = row.headline.removeprefix(ARROW).removesuffix(MORE)
            if said != SILENT:
                found[layer, row.id] = said.split(SEPARATOR)
    return found


def _name(members: Sequence[Member], graph: Graph, phrases: Phrases) -> str:
    said = [[*dict.fromkeys(phrases.get((layer, feature), ()))] for layer, _, feature in members]
    counts = Counter(phrase for each in said for phrase in each)
    # Of those that as many say, the one that stands first in more of them, then the one said first.
    first = Counter(each[0] for each in said if each)
    best = max(counts, key=lambda phrase: (counts[phrase], first[phrase]), default=None)
    where = _where(members, graph)
    if best is None:
        return where
    short = best if len(best) <= LONGEST else f"{best[: LONGEST - 3]}..."
    return f"{short} ({counts[best]} of {len(members)}) · {where}"


def _where(members: Sequence[Member], graph: Graph) -> str:
    layers = [member.layer for member in members]
    low, high = min(layers), max(layers)
    span = f"L{low}" if low == high else f"L{low}-{high}"
    at = sorted({member.position for member in members})
    tokens = ", ".join(f"{readable(graph.token_strings[i])[:20]} ({i})" for i in at[:2])
    return f"{span} at {tokens}{' ...' if len(at) > 2 else ''}"
