"""graph_json: attribution_json, a graph as the JSON that circuit-tracer writes, and its pages and Neuronpedia's read.

Ids are theirs: a feature is ``{layer}_{feature}_{position}``, an error ``0_{layer}_{position}``, a token
``E_{token}_{position}``, a logit ``{layers + 1}_{token}_{position}``. An error's id is also a feature's where a feature
of layer 0 has the number of a layer; only then it is written ``0_{layer}_{position}_error``, for an id is of one node.
"""

from typing import Any

import torch

from physalis import __version__
from physalis.circuits.graph import Graph
from physalis.circuits.supernodes.supernodes import Supernodes
from physalis.errors import BadInput

VIRTUAL = 1_000_000
"""Where ids begin of ends that are no token's logit: as there, beyond any vocabulary."""


def attribution_json(
    graph: Graph,
    *,
    slug: str,
    scan: str,
    supernodes: Supernodes = Supernodes(),  # noqa: B008 (frozen)
    description: str = "",
) -> dict[str, Any]:
    """The graph in that layout, to be written with ``json.dump``: nodes that were kept and edges that are not 0.

    ``slug`` names the graph and ``scan`` the model, as their pages know it (``gemma-2-2b``). A node's ``influence`` is
    the share that it and all with more of it hold, as there. ``read_attribution_json`` reads it again. Raises BadInput
    for a slug with other characters than letters, digits, - and _, and for supernodes of features that the graph does
    not have, or not any more.
    """
    if not slug or not all(c.isalnum() or c in "-_" for c in slug):
        raise BadInput(f"A slug has letters, digits, - and _, as it is part of an address; received {slug!r}.")
    ids = _ids(graph)
    groups = [[name, *(ids[i] for i in columns)] for name, columns in supernodes.columns(graph).items()]
    n, rows = graph.n_features, graph.edges.shape[0]
    shares = _cumulative(graph)
    nodes = [_node(graph, i, ids[i], shares[i]) for i in graph.kept.nonzero()[:, 0].tolist()]
    nodes += [_end(graph, i) for i in range(len(graph.ends))]
    targets = [ids[i] for i in range(n)] + [_end(graph, i)["node_id"] for i in range(rows - n)]
    links = [
        {"source": ids[column], "target": targets[row], "weight": float(graph.edges[row, column])}
        for row, column in (graph.edges != 0).nonzero().tolist()
    ]
    metadata = {
        "slug": slug, "scan": scan, "transcoder_list": [], "prompt_tokens": list(graph.token_strings),
        "prompt": graph.prompt, "schema_version": 1,
        "info": {"description": description, "generator": {"name": "physalis", "version": __version__}},
    }  # fmt: skip
    about = {"pinnedIds": [], "supernodes": groups, "linkType": "both", "clickedId": "", "sg_pos": ""}
    return {"metadata": metadata, "qParams": about, "nodes": nodes, "links": links}


def cantor(x: int, y: int) -> int:
    """One number for two, as Cantor pairs them: what ``feature`` holds of layer and number."""
    return (x + y) * (x + y + 1) // 2 + y


def _ids(graph: Graph) -> list[str]:
    """Of every column."""
    features = zip(graph.layer.tolist(), graph.feature.tolist(), graph.position.tolist(), strict=True)
    ids = [f"{layer}_{feature}_{at}" for layer, feature, at in features]
    taken = set(ids)
    for layer in graph.layers:
        for at in range(graph.n_tokens):
            plain = f"0_{layer}_{at}"
            ids.append(f"{plain}_error" if plain in taken else plain)
    return ids + [f"E_{token}_{at}" for at, token in enumerate(graph.tokens.tolist())]


def _cumulative(graph: Graph) -> list[float]:
    """The share of influence that a node and all with more of it hold together; small is important."""
    through = graph.influence() * graph.kept
    order = through.argsort(descending=True, stable=True)
    out = torch.empty_like(through)
    out[order] = through[order].cumsum(0) / through.sum().clamp_min(1e-10)
    return out.tolist()


def _node(graph: Graph, column: int, name: str, share: float) -> dict[str, Any]:
    n = graph.n_features
    if column < n:
        layer, feature, at = int(graph.layer[column]), int(graph.feature[column]), int(graph.position[column])
        own = {
            "feature": cantor(layer, feature), "layer": str(layer), "feature_type": "cross layer transcoder",
            "jsNodeId": f"{layer}_{feature}-0", "activation": float(graph.value[column]),
        }  # fmt: skip
    elif column < graph.errors.stop:
        number, at = divmod(column - n, graph.n_tokens)
        layer = graph.layers[number]
        own = {
            "feature": -1, "layer": str(layer), "feature_type": "mlp reconstruction error",
            "jsNodeId": f"{layer}_{at}-0", "activation": None,
        }  # fmt: skip
    else:
        at = column - graph.errors.stop
        own = {
            "feature": at, "layer": "E", "feature_type": "embedding",
            "jsNodeId": f"E_{int(graph.tokens[at])}-{at}", "activation": None,
        }  # fmt: skip
    clerp = f'Emb: "{graph.token_strings[at]}"' if own["layer"] == "E" else ""
    return {
        "node_id": name, "ctx_idx": at, "run_idx": 0, "reverse_ctx_idx": 0, "token_prob": 0.0,
        "is_target_logit": False, "clerp": clerp, "influence": share, **own,
    }  # fmt: skip


def _end(graph: Graph, i: int) -> dict[str, Any]:
    end, last, at = graph.ends[i], max(graph.layers) + 2, graph.n_tokens - 1
    token = VIRTUAL + i if end.token is None else end.token
    says = f'Output "{end.name}"' + ("" if end.token is None else f" (p={end.probability:.3f})")
    return {
        "node_id": f"{last}_{token}_{at}", "feature": token, "layer": str(last), "ctx_idx": at,
        "feature_type": "logit", "jsNodeId": f"L_{token}-{at}", "clerp": says, "token_prob": end.probability,
        "is_target_logit": i == 0, "run_idx": 0, "reverse_ctx_idx": 0, "influence": None, "activation": None,
    }  # fmt: skip
