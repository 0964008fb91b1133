"""nodes: Nodes, which of a local model's features each feature of a graph is."""

from typing import NamedTuple

import torch
from jaxtyping import Int64
from torch import Tensor

from physalis.circuits.graph import Graph
from physalis.circuits.local import LocalReplacementModel
from physalis.errors import BadInput


class Nodes(NamedTuple):
    """A graph's features among those of the local model."""

    layers: Int64[Tensor, " n"]
    within: Int64[Tensor, " n"]

    @classmethod
    def of(cls, graph: Graph, local: LocalReplacementModel) -> "Nodes":
        found = torch.full_like(graph.feature, -1)
        for layer, place in local.places.items():
            f = place.features
            index = {key: i for i, key in enumerate(zip(f.positions.tolist(), f.ids.tolist(), strict=True))}
            for i in (graph.layer == layer).nonzero()[:, 0].tolist():
                found[i] = index.get((int(graph.position[i]), int(graph.feature[i])), -1)
        if bool((found < 0).any()):
            i = int((found < 0).nonzero()[0])
            raise BadInput(
                f"{graph.node(i)} does not fire here: the graph was traced with other transcoders, or in another "
                "dtype. Trace it again with these."
            )
        return cls(graph.layer, found)
