"""qk: qk_attribution, why a head looks from one position to another: its score as a sum over pairs of sources.

A score is a query times a key, and each of these is linear in what features, errors and tokens write, once the patterns
of earlier layers and norms are held. So it is a sum over pairs, one source on the query's side and one on the key's,
rotary positions included (Anthropic, "Tracing Attention Computation Through Feature Interactions", 2025: QK
attributions). A graph holds patterns as they were; this says what made them so.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from physalis.circuits.bases.basis import Basis
from physalis.circuits.graph import Graph
from physalis.circuits.local import LocalReplacementModel
from physalis.circuits.nodes import Nodes
from physalis.circuits.sweep import Active, Sweep
from physalis.errors import BadInput
from physalis.models import Model
from physalis.site import Site

APART = 1e-3
"""Share by which a query may miss what its parts add up to: more is not linear."""


class Pair(NamedTuple):
    """One source on each side, and what both together add to the score."""

    query: str
    key: str
    amount: float


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class QKAttribution:
    """Of one head, from one position to another. Float32 on the CPU."""

    layer: int
    head: int
    query: int
    key: int
    score: float
    """Query times key, scaled as the model scales it, before masks, caps and the softmax."""
    pairs: Float[Tensor, "sources sources"]
    """What each source on the query's side (rows) and on the key's (columns) add together. Sources are the graph's
    columns, then all features that are not in the graph, then what biases make of themselves. Sums to the score."""
    names: tuple[str, ...]
    """Of the sources."""

    def top(self, n: int = 10) -> list[Pair]:
        """The largest pairs, by size."""
        if n < 1:
            raise BadInput(f"At least 1 pair is listed; received {n}.")
        size, at = self.pairs.abs().flatten().topk(min(n, self.pairs.numel()))
        rows, columns = at // self.pairs.shape[1], at % self.pairs.shape[1]
        found = zip(rows.tolist(), columns.tolist(), strict=True)
        return [Pair(self.names[i], self.names[j], float(self.pairs[i, j])) for i, j in found]

    @property
    def by_query(self) -> Float[Tensor, " sources"]:
        """What each source adds on the query's side, whatever stands at the key."""
        return self.pairs.sum(1)

    @property
    def by_key(self) -> Float[Tensor, " sources"]:
        """Likewise on the key's side."""
        return self.pairs.sum(0)


def qk_attribution(
    graph: Graph, model: Model, basis: Basis, *, layer: int, head: int, query: int, key: int
) -> QKAttribution:
    """Why head ``head`` of ``layer`` looks from position ``query`` to position ``key`` of the graph's prompt.

    Raises BadInput for a layer, head or position that there is not, for a key behind its query, and for heads that
    normalise their queries or keys (Qwen3's, Gemma 3's): these are not linear in what is read.
    """
    local = LocalReplacementModel.of(model, basis, graph.tokens.tolist())
    nodes = Nodes.of(graph, local)
    _check(graph, local, layer, head, query, key)
    sites = Site("q", layer), Site("k", layer)
    n_heads = local.frozen.values[Site("attn_pattern", layer)].shape[1]
    d_head = model.width(sites[0]) // n_heads
    key_head = head * (model.width(sites[1]) // d_head) // n_heads
    active = Active.of(local, 2 * d_head, memory=1 << 40)
    sweep = Sweep(local, active, reads=sites)
    own = model.run(local.tokens, read=sites)
    sides = [
        _side(sweep, graph, nodes, site, at, slice(i * d_head, (i + 1) * d_head))
        for site, at, i in ((sites[0], query, head), (sites[1], key, key_head))
    ]
    for side, site, at, i in zip(sides, sites, (query, key), (head, key_head), strict=True):
        wanted = own[site][0, at, i * d_head : (i + 1) * d_head].float()
        if (side.sum(1) - wanted).norm() > APART * side.abs().sum(1).norm():
            raise BadInput(
                f"The heads of layer {layer} of {model.name} normalise what they compare, so a score is no sum over "
                "pairs of sources. Nothing is said of it."
            )
    pairs = (sides[0].T @ sides[1]) * model.attention_scale(layer)
    names = [graph.node(i) for i in range(graph.edges.shape[1])] + ["features not in the graph", "biases"]
    return QKAttribution(
        layer=layer, head=head, query=query, key=key, score=float(pairs.sum()), pairs=pairs.cpu(), names=tuple(names)
    )


def _side(
    sweep: Sweep, graph: Graph, nodes: Nodes, site: Site, at: int, part: slice
) -> Float[Tensor, "d_head sources"]:
    """What every source puts into one head's query or key at one position."""
    n = part.stop - part.start
    grad = torch.zeros(n, *sweep.seen[site].shape, device=sweep.local.model.device)
    grad[torch.arange(n), 0, at, torch.arange(part.start, part.stop)] = 1
    rows = sweep.rows({site: grad}, n)
    columns = torch.empty(graph.n_features, dtype=torch.long, device=rows.device)
    for layer, place in sweep.local.places.items():
        own = (graph.layer == layer).nonzero()[:, 0]
        columns[own] = sweep.columns[layer][nodes.within[own].to(rows.device)]
        assert len(sweep.columns[layer]) == len(place.features.ids)
    features = rows[:, : len(sweep.active.codes)]
    others = features.sum(1) - features[:, columns].sum(1)
    biases = sweep.alone[site][0, at, part].float()
    return torch.cat([features[:, columns], rows[:, features.shape[1] : -2], others[:, None], biases[:, None]], 1)


def _check(graph: Graph, local: LocalReplacementModel, layer: int, head: int, query: int, key: int) -> None:
    if not 0 <= layer < local.model.n_layers:
        raise BadInput(f"{local.model.name} has layers 0 to {local.model.n_layers - 1}; received {layer}.")
    n_heads = local.frozen.values[Site("attn_pattern", layer)].shape[1]
    if not 0 <= head < n_heads:
        raise BadInput(f"Layer {layer} of {local.model.name} has heads 0 to {n_heads - 1}; received {head}.")
    if not (0 <= query < graph.n_tokens and 0 <= key < graph.n_tokens):
        raise BadInput(f"The prompt has positions 0 to {graph.n_tokens - 1}; received {query} and {key}.")
    if not float(local.frozen.values[Site("attn_pattern", layer)][0, head, query, key]):
        raise BadInput(
            f"Head {head} of layer {layer} cannot look from position {query} to {key}: that place is masked, or its "
            "weight is 0."
        )
