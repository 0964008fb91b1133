"""heads: head_loadings, which heads an edge of a graph goes through, layer by layer, and how much of it goes past them.

What a source writes reaches its target over the layers between. At each of them some of it is moved by heads, by where
they look and what they copy, and the rest stays in the stream and goes past. All of that is linear once patterns and
norms are held, so one sweep forward from a source and one backward from a target give every layer's shares, which sum
to the edge (Anthropic, "Tracing Attention Computation Through Feature Interactions", 2025: head loadings).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from physalis.circuits.bases.basis import Basis
from physalis.circuits.graph import Graph
from physalis.circuits.local import EMBED, LocalReplacementModel
from physalis.circuits.nodes import Nodes
from physalis.errors import BadInput
from physalis.models import Model, Write
from physalis.models.hooks import depth
from physalis.site import Site


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class HeadLoadings:
    """Of edges from some sources to one target; what a source adds to the target over all ways that go through no other
    feature. Float32 on the CPU."""

    heads: Float[Tensor, "sources layers heads"]
    """What reaches the target through each head, and from there over all later layers."""
    past: Float[Tensor, "sources layers"]
    """What goes past the layer's heads."""
    edges: Float[Tensor, " sources"]
    between: Bool[Tensor, "sources layers"]
    """Layers whose attention lies between source and target: there heads and past sum to the edge; elsewhere all are
    0."""


def head_loadings(graph: Graph, model: Model, basis: Basis, target: int, sources: Sequence[int]) -> HeadLoadings:
    """Loadings of the edges into row ``target`` of the graph (a feature, or one of its ends) from columns ``sources``.

    Two passes of the model. Raises BadInput for rows and columns that the graph does not have, for a model whose heads'
    outputs are not side by side before a projection, and as ``verify`` does for another basis.
    """
    rows, columns = graph.edges.shape
    if not 0 <= target < rows or not sources or not all(0 <= i < columns for i in sources):
        raise BadInput(
            f"The graph has rows 0 to {rows - 1} and columns 0 to {columns - 1}; received row {target} and columns "
            f"{', '.join(map(str, sources)) or 'none'}."
        )
    local = LocalReplacementModel.of(model, basis, graph.tokens.tolist())
    nodes = Nodes.of(graph, local)
    moved = _moved(graph, local, nodes, sources)
    slopes = _slopes(graph, local, nodes, target)
    between = _between(graph, model, target, sources)
    parallel = not _has(model, Site("resid_mid", 0))
    heads, past = [], []
    for layer in range(model.n_layers):
        n_heads = local.frozen.values[Site("attn_pattern", layer)].shape[1]
        z = moved[Site("z", layer)] * slopes[Site("z", layer)]
        heads.append(z.unflatten(-1, (n_heads, -1)).sum((1, 3)))
        by = moved[Site("resid_pre", layer)]
        if parallel:  # a skip path of the layer's transcoder goes past its heads as well
            by = by + moved[Site("mlp_out", layer)]
        past.append((by * slopes[Site("attn_out", layer)]).sum((1, 2)))
    return HeadLoadings(
        heads=torch.stack(heads, 1).cpu() * between[..., None], past=torch.stack(past, 1).cpu() * between,
        edges=graph.edges[target, list(sources)], between=between,
    )  # fmt: skip


def _has(model: Model, site: Site) -> bool:
    try:
        model.check(site)
    except BadInput:
        return False
    return True


def _between(graph: Graph, model: Model, target: int, sources: Sequence[int]) -> Bool[Tensor, "sources layers"]:
    """Layers whose heads stand after each source and before the target."""
    last = model.n_layers - 1
    if target < graph.n_features:  # where the MLP stands beside attention it does not read what heads wrote
        last = int(graph.layer[target]) - (not _has(model, Site("resid_mid", 0)))
    first = torch.tensor([_layer(graph, column) + 1 for column in sources])
    layers = torch.arange(model.n_layers)
    return (layers >= first[:, None]) & (layers <= last)


def _layer(graph: Graph, column: int) -> int:
    """Where a source writes; -1 for tokens."""
    if column < graph.n_features:
        return int(graph.layer[column])
    return graph.layers[(column - graph.n_features) // graph.n_tokens] if column < graph.errors.stop else -1


@torch.no_grad()
def _moved(
    graph: Graph, local: LocalReplacementModel, nodes: Nodes, sources: Sequence[int]
) -> dict[Site, Float[Tensor, "sources context _"]]:
    """What the sources, each alone, put into every layer's heads and stream."""
    names = ("resid_pre", "z", "mlp_out")
    reads = [Site(name, layer) for layer in range(local.model.n_layers) for name in names]
    none = {site: torch.zeros_like(value) for site, value in local.sources().items()}
    alone = {site: value.repeat(len(sources), 1, 1) for site, value in none.items()}
    for i, column in enumerate(sources):
        if column < graph.n_features:
            place, within = local.places[int(graph.layer[column])], nodes.within[column]
            for site, writes in place.writes_of(within[None]).items():
                alone[site][i, int(graph.position[column])] = place.features.codes[within] * writes[0]
        elif column < graph.errors.stop:
            number, at = divmod(column - graph.n_features, graph.n_tokens)
            place = local.places[graph.layers[number]]
            alone[place.writes][i, at] = place.error[at]
        else:
            at = column - graph.errors.stop
            alone[EMBED][i, at] = local.embedded[at]
    got, nothing = local.run(alone, reads), local.run(none, reads)
    return {site: (got[site] - nothing[site]).float() for site in reads}


def _slopes(
    graph: Graph, local: LocalReplacementModel, nodes: Nodes, target: int
) -> dict[Site, Float[Tensor, "context _"]]:
    """What the target grows by, per unit of what is added to heads' outputs and to what attention writes."""
    sites = [Site(name, layer) for layer in range(local.model.n_layers) for name in ("z", "attn_out")]
    added = {
        site: torch.zeros(1, graph.n_tokens, local.model.width(site), device=local.model.device, requires_grad=True)
        for site in sites
    }

    def adding(site: Site) -> Write:
        return lambda x: x + added[site].to(x.dtype)

    reads = local.last if target >= graph.n_features else local.places[int(graph.layer[target])].reads
    got = local.run(local.sources(), [reads], {site: adding(site) for site in _reached_before(sites, reads)})
    x = got[reads][0].float()
    if target >= graph.n_features:
        direction = graph.directions[target - graph.n_features].to(x.device)
        value = x[-1] @ direction / local.scale[-1]
    else:
        place = local.places[int(graph.layer[target])]
        value = x[int(graph.position[target])] @ place.reads_of(nodes.within[target][None])[0]
    grads = torch.autograd.grad(value, list(added.values()), allow_unused=True)
    return {
        site: torch.zeros_like(leaf[0]) if grad is None else grad[0]
        for (site, leaf), grad in zip(added.items(), grads, strict=True)
    }


def _reached_before(sites: Sequence[Site], end: Site) -> list[Site]:
    """Those that a pass reaches before ``end``: it stops there."""
    return [site for site in sites if depth(site) < depth(end)]
