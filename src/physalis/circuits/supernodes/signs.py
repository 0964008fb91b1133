"""signs: signed_effects, what each feature of a graph does to its ends over all paths, signed: for them, or against.

Influence counts sizes, so a feature that speaks for an answer and one that speaks against it have influence alike. Here
signs are kept: what a feature adds to another moves what that one adds, in proportion, and so on to the ends.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from physalis.circuits.graph import Graph
from physalis.circuits.influence import LEAST
from physalis.errors import BadInput


def signed_effects(graph: Graph) -> Float[Tensor, " features"]:
    """The sum over ends, by their weights, of what each feature adds over all paths of the graph. Raises BadInput for a
    graph that does not know its features' codes, as one of another tool's file may not."""
    n = graph.n_features
    if not bool(graph.value[:n].isfinite().all()):
        raise BadInput("The graph does not say what its features' codes are, so what they add to cannot be scaled.")
    total = graph.weights[n:].double() @ graph.edges[n:, :n].double()
    value = graph.value[:n].double()
    value = torch.where(value.abs() < LEAST, LEAST, value)  # of neurons it may be below 0
    for layer in sorted(graph.layers, reverse=True):
        rows = (graph.layer == layer).nonzero()[:, 0]
        total += (total[rows] / value[rows]) @ graph.edges[rows, :n].double()
    return total.float()
