"""group(): the features of a graph put into supernodes by how alike they are, whatever that was measured by.

Complete linkage: two features are in one group only if all its members are as alike as was asked for, so no chain of
near neighbours joins what has nothing to do with each other. Three kinds of pairs are never joined, however alike:
1. at other positions: what a node does in a graph it does there, and the same feature elsewhere is another node;
2. of layers too far apart: a group that spans many hides the order in which its members, and what lies between, follow;
3. one that speaks for the ends and one that speaks against them: their sum would say that neither does anything.
A group of one is no group: such a feature stands alone.
"""

import torch
from jaxtyping import Bool, Float64, Int64
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform
from torch import Tensor

from physalis.circuits.graph import Graph
from physalis.circuits.supernodes.labels import labelled
from physalis.circuits.supernodes.likeness import Likeness
from physalis.circuits.supernodes.signs import signed_effects
from physalis.circuits.supernodes.supernodes import Member, Supernodes
from physalis.errors import BadInput

NEUTRAL = 0.01
"""Share of the largest effect on the ends below which a feature counts neither for them nor against."""
APART = -1.0
"""How alike two features are that are never joined."""


def group(graph: Graph, likeness: Likeness, *, least: float = 0.5, span: int = 4) -> Supernodes:
    """Groups of two features or more, each pair of which is at least ``least`` alike and at most ``span`` layers apart,
    named by where they stand. The same graph and likeness give the same groups, in the order of their first members.

    Time and memory grow with the square of the features at one position. Raises BadInput for a ``least`` outside
    (0, 1], a negative ``span``, and as ``signed_effects`` does.
    """
    if not 0 < least <= 1 or span < 0:
        raise BadInput(
            f"Members are alike by more than 0 and at most 1, within 0 layers or more; received least={least:g} and "
            f"span={span}."
        )
    columns = likeness.columns
    values = torch.where(_joinable(graph, columns, span), likeness.values, APART)
    position, found = graph.position[columns], []
    for at in position.unique().tolist():
        here = (position == at).nonzero()[:, 0]
        found += [columns[here[own]].tolist() for own in _clusters(values[here][:, here], least)]
    members = [tuple(_member(graph, column) for column in own) for own in sorted(found)]
    return labelled(members, graph, {}, method=likeness.method)


def _joinable(graph: Graph, columns: Int64[Tensor, " n"], span: int) -> Bool[Tensor, "n n"]:
    """All but what is never joined; positions aside, for each is taken by itself."""
    effect, layer = signed_effects(graph)[columns], graph.layer[columns]
    sign = effect.sign() * (effect.abs() > NEUTRAL * effect.abs().max())
    near = (layer[:, None] - layer).abs() <= span
    return near & (sign[:, None] * sign >= 0)


def _clusters(values: Float64[Tensor, "n n"], least: float) -> list[Int64[Tensor, " members"]]:
    """Those of two or more."""
    if len(values) < 2:
        return []
    # One decimal more or less of a cosine is rounding, and decides nothing.
    distance = (1 - values).clamp_min(0).round(decimals=9).fill_diagonal_(0)
    tree = linkage(squareform(distance.numpy(), checks=False), "complete")
    labels = torch.from_numpy(fcluster(tree, round(1 - least, 9), "distance").astype("int64"))
    each = [(labels == label).nonzero()[:, 0] for label in labels.unique()]
    return [own for own in each if len(own) > 1]


def _member(graph: Graph, column: int) -> Member:
    return Member(int(graph.layer[column]), int(graph.position[column]), int(graph.feature[column]))
