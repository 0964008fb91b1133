"""records: what the page of a graph shows: nodes and edges as columns, what was found out about them, and what is known
of its features. No torch here."""

from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from physalis.atlas.records import Example, Record, RuleInShort, TokenEffect
from physalis.web.atlas.query import LAST
from physalis.web.graphs import groups
from physalis.web.graphs.stored import LEAST, End, Scores, StoredGraph, Verdict

MOST_NODES = 4_000
"""Nodes of a page, those of the most influence. What is more nobody looks at, and no browser draws it in time."""
MOST_EDGES = 20_000
"""Edges of a page, those along which most influence goes."""
DIGITS = 5
"""Of a number on a page."""

NodeKind = Literal["feature", "error", "token", "end"]


class Nodes(Record):
    """One entry a node in each: features, errors and tokens by layer and position, then the ends."""

    kind: list[NodeKind]
    layer: list[int]
    """-1 of a token; of an end, one above the last."""
    position: list[int]
    feature: list[int]
    """Its number in the dictionary; of a token and an end, the id in the vocabulary; else -1."""
    value: list[float | None]
    influence: list[float]
    """On the ends; of an end, its weight."""
    enters: list[float]
    """The size of all edges of the graph into it; 0 of what nothing enters."""
    left_out: list[float]
    """The size of what enters it besides, over edges that are not in the graph."""
    name: list[str]
    """As an atlas of its layer names a feature; empty without one."""


class Edges(Record):
    """One entry an edge in each, the most influential first: what ``source`` adds to ``target``."""

    source: list[int]
    target: list[int]
    weight: list[float]


class Supernode(Record):
    name: str
    members: list[int]
    """Which nodes."""


class GraphPage(Record):
    """A graph as its page shows it."""

    model: str
    prompt: str
    basis: str
    """What its features are: "features" of transcoders, "cross-layer features", or "neurons"."""
    tokens: list[str]
    layers: list[int]
    ends: list[End]
    verdict: Verdict
    scores: Scores
    n_active: int
    """Features that fire on the prompt."""
    n_nodes: int
    """Of the graph: there are no more here than a page has room for."""
    n_edges: int
    nodes: Nodes
    edges: Edges
    supernodes: list[Supernode]
    method: str
    """How supernodes were found; empty without any."""
    lack: str
    """Why there are no supernodes, where there should be some."""


class NodeFeature(Record):
    """What an atlas says of a node's feature."""

    headline: str
    rule: RuleInShort | None
    density: float
    max_code: float
    promoted: list[TokenEffect]
    examples: list[Example]
    page: str
    """Of the feature: its address."""


class Asked(BaseModel):
    """Which feature, as an address says it."""

    model_config = ConfigDict(extra="forbid")

    layer: int = Field(ge=0, le=LAST)
    feature: int = Field(ge=0, le=LAST)


def page_of(graph: StoredGraph) -> GraphPage:
    """What is shown of a graph, without names."""
    said, n = graph.said, graph.n_features
    columns = _shown(graph)
    nodes = _nodes(graph, columns)
    place = np.full(graph.edges.shape[1], -1)
    place[columns] = np.arange(len(columns))
    rows = np.concatenate([place[:n], len(columns) + np.arange(len(said.ends))])
    edges, n_edges = _edges(graph, rows, place)
    each = zip(nodes.kind, nodes.layer, nodes.position, nodes.feature, strict=True)
    places = {(layer, at, id): i for i, (kind, layer, at, id) in enumerate(each) if kind == "feature"}
    found = groups.read(graph.folder, places)
    return GraphPage(
        model=said.model, prompt=said.prompt, basis=said.basis, tokens=said.token_strings, layers=said.layers,
        ends=said.ends, verdict=graph.verdict, scores=graph.scores, n_active=said.n_active,
        n_nodes=int(graph.kept.sum()) + len(said.ends), n_edges=n_edges, nodes=nodes, edges=edges,
        supernodes=[Supernode(name=group.name, members=group.members) for group in found.groups],
        method=found.method, lack=found.lack,
    )  # fmt: skip


def _shown(graph: StoredGraph) -> np.ndarray:
    """The columns of the nodes that are shown: all tokens, and of the others those that were kept, or the first of
    them."""
    total, context = graph.edges.shape[1], len(graph.said.token_strings)
    kept = np.flatnonzero(graph.kept)
    first = kept[np.argsort(-graph.influence[kept], kind="stable")[:MOST_NODES]]
    return np.union1d(first, np.arange(total - context, total))


def _nodes(graph: StoredGraph, columns: np.ndarray) -> Nodes:
    said, n, context = graph.said, graph.n_features, len(graph.said.token_strings)
    tokens = n + len(said.layers) * context
    rows: list[tuple[NodeKind, int, int, int, float | None, float, float, float, str]] = []
    values = [*map(_short, graph.value.tolist())]
    entering = [*zip(map(_short, graph.enters.tolist()), map(_short, graph.left_out_size.tolist()), strict=True)]
    for c, through in zip(columns.tolist(), map(_short, graph.influence[columns].tolist()), strict=True):
        if c < n:
            place = int(graph.layer[c]), int(graph.position[c]), int(graph.feature[c])
            rows.append(("feature", *place, values[c], through, *entering[c], ""))
        elif c < tokens:
            layer, at = divmod(c - n, context)
            rows.append(("error", said.layers[layer], at, -1, None, through, 0.0, 0.0, ""))
        else:
            at = c - tokens
            rows.append(("token", -1, at, int(graph.tokens[at]), None, through, 0.0, 0.0, ""))
    for i, end in enumerate(said.ends):
        place = max(said.layers) + 1, context - 1, -1 if end.token is None else end.token
        rows.append(("end", *place, values[n + i], end.weight, *entering[n + i], ""))
    kind, layer, position, feature, value, influence, enters, left_out, name = map(list, zip(*rows, strict=True))
    return Nodes(
        kind=kind, layer=layer, position=position, feature=feature, value=value, influence=influence, enters=enters,
        left_out=left_out, name=name,
    )  # fmt: skip


def _edges(graph: StoredGraph, rows: np.ndarray, place: np.ndarray) -> tuple[Edges, int]:
    """Those between nodes that are shown, and how many the graph has."""
    n = graph.n_features
    target, source = np.nonzero(graph.edges)
    total = len(target)
    shown = (rows[target] >= 0) & (place[source] >= 0)
    target, source = target[shown], source[shown]
    arriving = np.concatenate([graph.influence[:n], graph.weights[n:]])
    weight = graph.edges[target, source]
    along = np.abs(weight) / np.maximum(graph.enters[target], LEAST) * arriving[target]
    first = np.argsort(-along, kind="stable")[:MOST_EDGES]
    return Edges(
        source=place[source[first]].tolist(), target=rows[target[first]].tolist(),
        weight=[*map(_short, weight[first].tolist())],
    ), total  # fmt: skip


def _short(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
