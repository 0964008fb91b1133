"""prune(): the nodes and edges of a graph through which nearly all influence goes, by circuit-tracer's rule.

What is left says that little influence goes elsewhere. It does not say that the model computes its answer with these
nodes: that is for ``verify`` to find out.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from physalis.circuits.graph import Graph
from physalis.circuits.influence import LEAST, covering
from physalis.errors import BadInput


def prune(graph: Graph, *, nodes: float = 0.8, edges: float = 0.98) -> Graph:
    """Keep features and errors that hold ``nodes`` of the influence on the ends, all tokens and ends, and of the edges
    between them those that hold ``edges`` of what is left; then drop features without an edge in or out and errors
    without one out, until there are none. No node changes its place. Raises BadInput for shares outside (0, 1]."""
    for name, share in (("nodes", nodes), ("edges", edges)):
        if not 0 < share <= 1:
            raise BadInput(f"{name} is a share of influence, above 0 and at most 1; received {share}.")
    through = graph.influence()
    kept = through >= covering(through, nodes)
    kept[graph.embeddings] = True
    among = _between(graph, kept)
    weighted = _edge_scores(graph, among)
    strong = weighted >= covering(weighted.flatten(), edges)
    n, errors = graph.n_features, graph.errors
    while True:
        live = strong & among
        goes_out = live.any(0)
        comes_in = live[:n].any(1)
        now = kept.clone()
        now[:n] &= goes_out[:n] & comes_in
        now[errors] &= goes_out[errors]
        if bool((now == kept).all()):
            return graph.kept_only(kept, live)
        kept, among = now, _between(graph, now)


def _between(graph: Graph, kept: Bool[Tensor, " columns"]) -> Bool[Tensor, "rows columns"]:
    rows = torch.cat([kept[: graph.n_features], torch.ones(len(graph.ends), dtype=torch.bool)])
    return rows[:, None] & kept


def _edge_scores(graph: Graph, among: Bool[Tensor, "rows columns"]) -> Float[Tensor, "rows columns"]:
    """How much influence goes along each edge."""
    left = graph.kept_only(torch.ones_like(graph.kept), among)
    through = left.influence()
    arriving = graph.weights.clone()
    arriving[: graph.n_features] += through[: graph.n_features]
    size = left.edges.abs()
    return size / size.sum(1, keepdim=True).clamp_min(LEAST) * arriving[:, None]
