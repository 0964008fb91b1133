"""agreement: adjusted_rand, how far two ways of grouping agree, less what chance gives (Hubert & Arabie 1985)."""

import numpy as np
from jaxtyping import Int64

from physalis.circuits.graph import Graph
from physalis.circuits.supernodes.supernodes import Supernodes, columns_of
from physalis.errors import BadInput


def adjusted_rand(a: Int64[np.ndarray, " a"], b: Int64[np.ndarray, " b"]) -> float:
    """Of two labellings of the same things: 1 where they are one grouping under other names, 0 on average where one is
    random, below 0 where they agree less than that. 1 where both join nothing, or both join all.

    Raises BadInput for labellings of different lengths, or of fewer than two things."""
    if len(a) != len(b) or len(a) < 2:
        raise BadInput(f"Two labellings of two things or more are compared; received {len(a)} and {len(b)} labels.")
    together = np.unique(np.stack([a, b]), axis=1, return_counts=True)[1]
    pairs = _pairs(together)
    in_a, in_b = (_pairs(np.unique(each, return_counts=True)[1]) for each in (a, b))
    by_chance = in_a * in_b / _pairs(np.array([len(a)]))
    most = (in_a + in_b) / 2
    return 1.0 if most == by_chance else float((pairs - by_chance) / (most - by_chance))


def agreement(a: Supernodes, b: Supernodes, graph: Graph) -> float:
    """``adjusted_rand`` of two groupings of a graph's kept features; one that is in no group is a group of its own.
    Raises BadInput for features that the graph does not have, and for a graph of fewer than two."""
    return adjusted_rand(labels_of(a, graph), labels_of(b, graph))


def labels_of(supernodes: Supernodes, graph: Graph) -> Int64[np.ndarray, " features"]:
    """The number of the group of each kept feature, in the order of the graph's columns."""
    order = {column: i for i, column in enumerate(columns_of(graph).values())}
    labels = np.arange(len(order)) + len(supernodes)
    for number, columns in enumerate(supernodes.columns(graph).values()):
        labels[[order[column] for column in columns]] = number
    return labels


def _pairs(counts: Int64[np.ndarray, " groups"]) -> int:
    return int((counts * (counts - 1) // 2).sum())
