"""graph_reading: read_attribution_json, a Graph of the JSON that circuit-tracer and Neuronpedia write.

The file has nodes, their codes and edges, and so all that ``influence``, ``scores``, ``prune`` and ``group`` by edges
need. It does not have biases, what pruning left out, what ends read of the stream and their values: those are NaN here,
and ``directions`` has no columns, so that nothing can be made of them by mistake. ``unaccounted`` and
``left_out_share`` are NaN then, and what tries a graph on a model (``verify``) needs one that was traced here.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from physalis import artifact
from physalis.circuits.graph import End, Graph
from physalis.circuits.graph_json import VIRTUAL
from physalis.circuits.supernodes.supernodes import LONGEST, Member, Supernode, Supernodes
from physalis.errors import BadInput

FEATURES, ERROR, TOKEN, LOGIT = (
    ("cross layer transcoder", "transcoder"), "mlp reconstruction error", "embedding", "logit"
)  # fmt: skip
_FEATURE = re.compile(r"(\d{1,9})_(\d{1,9})_(\d{1,9})")
_TOKEN = re.compile(r"E_(\d{1,9})_(\d{1,9})")
_OUTPUT = re.compile(r'Output "(.*)"(?: \(p=[^)]*\))?', re.S)
UNKNOWN = -1
"""The id of a token that the file has no node of."""


class _Nodes(NamedTuple):
    """What a file's nodes are, by their ids."""

    features: dict[str, tuple[Member, float]]
    """With their codes, NaN where there is none."""
    errors: dict[str, tuple[int, int]]
    """Layer and position."""
    tokens: dict[str, tuple[int, int]]
    """Token and position."""
    ends: dict[str, End]
    last: int
    """The layer of the ends: that of the last block, and two."""


def read_attribution_json(source: Path | str | Mapping[str, Any], *, memory: int = 2 << 30) -> Graph:
    """The graph of a file, or of what ``json.load`` made of one. Its features and ends stand in the order of the
    file. ``n_active`` counts the features that there are, and a token without a node has the id -1.

    Raises BadInput, saying where, for what is no such graph: nodes of other kinds (attention features, say), ids that
    are none or of two nodes, edges between nodes that are not there, or that lead to no later layer; and for one whose
    edges would take more than ``memory`` bytes.
    """
    said, name = _opened(source)
    metadata = _field(said, "metadata", dict, name)
    strings = [str(each) for each in _field(metadata, "prompt_tokens", list, name)]
    nodes = _nodes(_field(said, "nodes", list, name), len(strings), name)
    own = list(nodes.features.items())
    highest = [member.layer for _, (member, _) in own] + [layer for layer, _ in nodes.errors.values()]
    depth = max([nodes.last - 1, *(layer + 1 for layer in highest), 1])
    n, t, ends = len(own), len(strings), list(nodes.ends)
    shape = n + len(ends), n + (depth + 1) * t
    if 4 * shape[0] * shape[1] > memory:
        raise BadInput(
            f"{name} has {n:,} features of {depth:,} layers over {t:,} tokens: their edges would take "
            f"{4 * shape[0] * shape[1]:,} bytes, more than memory={memory:,}. Prune it where it was made."
        )
    columns = {key: i for i, (key, _) in enumerate(own)}
    columns |= {key: n + layer * t + at for key, (layer, at) in nodes.errors.items()}
    columns |= {key: n + depth * t + at for key, (_, at) in nodes.tokens.items()}
    rows = {key: i for i, (key, _) in enumerate(own)} | {key: n + i for i, key in enumerate(ends)}
    edges = torch.zeros(shape)
    for link in _field(said, "links", list, name):
        row, column, weight = _link(link, rows, columns, name)
        if column < n and row < n and own[column][1][0].layer >= own[row][1][0].layer:
            raise BadInput(f"{name} has an edge from {own[column][0]} to {own[row][0]}, which is in no later layer.")
        edges[row, column] += weight
    tokens = torch.full((t,), UNKNOWN)
    for token, at in nodes.tokens.values():
        tokens[at] = token
    kept = torch.zeros(edges.shape[1], dtype=torch.bool)
    kept[list(columns.values())] = True
    members = torch.tensor([member for _, (member, _) in own], dtype=torch.long).view(-1, 3)
    codes = torch.tensor([code for _, (_, code) in own])
    unknown = torch.full((n + len(ends),), torch.nan)
    total = sum(end.weight for end in nodes.ends.values())
    return Graph(
        model=str(metadata.get("scan", "")), prompt=str(metadata.get("prompt", "")), tokens=tokens,
        token_strings=tuple(strings), layers=tuple(range(depth)),
        ends=tuple(end._replace(weight=end.weight / total) for end in nodes.ends.values()),
        layer=members[:, 0].clone(), position=members[:, 1].clone(), feature=members[:, 2].clone(),
        directions=torch.zeros(len(ends), 0), value=torch.cat([codes, unknown[n:]]), bias=unknown, edges=edges,
        left_out=unknown.clone(), left_out_size=unknown.clone(), n_active=n, kept=kept,
    )  # fmt: skip


def read_supernodes(source: Path | str | Mapping[str, Any]) -> Supernodes:
    """The groups of such a file, as far as they are of features: tokens, errors and logits in them are left out, and
    groups of nothing else. Two of one name are numbered. Raises BadInput for what are no groups."""
    said, name = _opened(source)
    strings = _field(_field(said, "metadata", dict, name), "prompt_tokens", list, name)
    features = _nodes(_field(said, "nodes", list, name), len(strings), name).features
    groups: dict[str, tuple[Member, ...]] = {}
    about = said.get("qParams") or {}
    for each in _field(about, "supernodes", list, name) if about.get("supernodes") else ():
        if not isinstance(each, list) or not each or not all(isinstance(part, str) for part in each):
            raise BadInput(f"{name} has a supernode {str(each)[:60]!r}, which is no list of a label and ids.")
        members = tuple(dict.fromkeys(features[key][0] for key in each[1:] if key in features))
        label, number = each[0].strip()[: LONGEST - 8] or "unnamed", 1
        while (key := label if number == 1 else f"{label} #{number}") in groups:
            number += 1
        if members:
            groups[key] = members
    return Supernodes(tuple(Supernode(*each) for each in groups.items()), f"read from {name}")


def _opened(source: Path | str | Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
    said = source if isinstance(source, Mapping) else artifact.read_json(Path(source))
    name = "The graph" if isinstance(source, Mapping) else str(source)
    if not isinstance(said, Mapping):
        raise BadInput(f"{name} is no graph: it should hold metadata, nodes and links.")
    return said, name


def _field(said: Any, key: str, kind: type, name: str) -> Any:
    found = said.get(key) if isinstance(said, Mapping) else None
    if not isinstance(found, kind):
        what = "list" if kind is list else "table"
        raise BadInput(f"{name} is no attribution graph: its {key} are no {what}. circuit-tracer writes one.")
    return found


def _nodes(given: list[Any], n_tokens: int, name: str) -> _Nodes:
    found, last = _Nodes({}, {}, {}, {}, 0), 0
    for node in given:
        key, kind = (node.get(each) if isinstance(node, Mapping) else None for each in ("node_id", "feature_type"))
        if not isinstance(key, str):
            raise BadInput(f"{name} has a node with the id {str(key)[:60]}, which is no text.")
        if any(key in part for part in found[:4]):
            raise BadInput(
                f"{name} has two nodes with the id {key[:60]!r}, so whose edges are whose cannot be told. An error's "
                "id is a feature's too where layer 0 has a feature of that number: physalis writes others there."
            )
        at, layer = node.get("ctx_idx"), str(node.get("layer"))
        if type(at) is not int or not 0 <= at < n_tokens:
            raise BadInput(f"{name}: node {key} is at position {at!r}; the prompt has {n_tokens} tokens.")
        if kind in FEATURES and (ids := _FEATURE.fullmatch(key)) and int(ids[3]) == at:
            found.features[key] = Member(int(ids[1]), at, int(ids[2])), _number(node.get("activation"))
        elif kind == ERROR and layer.isdecimal() and len(layer) < 9:
            found.errors[key] = int(layer), at
        elif kind == TOKEN and (ids := _TOKEN.fullmatch(key)) and int(ids[2]) == at:
            found.tokens[key] = int(ids[1]), at
        elif kind == LOGIT and (ids := _FEATURE.fullmatch(key)):
            last, token = max(last, int(ids[1])), int(ids[2])
            found.ends[key] = _end(node, token)
        else:
            raise BadInput(
                f"{name}: node {key[:60]!r} is of type {str(kind)[:40]!r}, and cannot be read. A graph has features of "
                f"transcoders ({FEATURES[0]!r}), errors ({ERROR!r}), tokens ({TOKEN!r}) and logits ({LOGIT!r}), with "
                "the ids that circuit-tracer gives them."
            )
    if not found.ends:
        raise BadInput(f"{name} has no logit, so it ends in nothing.")
    if len({*found.errors.values()}) < len(found.errors):
        raise BadInput(f"{name} has two errors at one place.")
    return found._replace(last=last)


def _end(node: Mapping[str, Any], token: int) -> End:
    said = _OUTPUT.fullmatch(str(node.get("clerp", "")))
    p = _number(node.get("token_prob"))
    p = p if 0 <= p <= 1 else 0.0
    return End(said[1] if said else str(node.get("clerp")), None if token >= VIRTUAL else token, p, max(p, 1e-10))


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else float("nan")


def _link(link: Any, rows: dict[str, int], columns: dict[str, int], name: str) -> tuple[int, int, float]:
    source, target, weight = (
        link.get(each) if isinstance(link, Mapping) else None for each in ("source", "target", "weight")
    )
    value = _number(weight)
    if source not in columns or target not in rows or not abs(value) < float("inf"):
        raise BadInput(
            f"{name} has an edge from {str(source)[:40]!r} to {str(target)[:40]!r} of weight {str(weight)[:20]}: edges "
            "lead from features, errors and tokens to features and logits, and are finite numbers."
        )
    return rows[target], columns[source], value
