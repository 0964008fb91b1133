"""judge_graph(): edges of a compiled program's graph beside those that it has to have by the program, not by weights.

A feature of the ``oracle`` is a neuron, of which is known what it reads and writes. One adds to another where a
coordinate that it writes is read there: at its own position as it stands, at others through heads that carry the
coordinate's variable from a position at which they look. Where heads look is the model's own.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from sklearn.metrics import roc_auc_score
from torch import Tensor

from physalis.circuits import Graph
from physalis.lab.rasp.compiling import Compiled
from physalis.lab.rasp.language import Aggregate, Indices, Tokens
from physalis.lab.rasp.transformer import blocks
from physalis.lab.rasp.wiring import EMBED, FIRST, Variable
from physalis.site import Site

NOTICED = 0.01
"""Share of all that makes a row, its bias too, from which an edge counts as found."""
MATTERS = 1e-3
"""Influence from which a feature's edges are asked for."""
LOOKS = 1e-6
"""Attention from which a head looks at a position."""
Carried = dict[int, tuple[int, ...]]
"""Of a head: to which coordinates it carries each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphLine:
    """How far a graph's edges are the program's."""

    right: int
    """Edges that were found and are true."""
    found: int
    true: int
    auroc: float | None
    """Of edges by the share that they make of their row; None where all are true, or none."""

    @property
    def precision(self) -> float:
        return self.right / self.found if self.found else 0.0

    @property
    def recall(self) -> float:
        return self.right / self.true if self.true else 1.0


def judge_graph(graph: Graph, compiled: Compiled) -> GraphLine:
    """Edges from features and tokens to features and ends of a graph that was traced with the oracle's dictionaries.
    Edges of features that hardly matter to the ends are not asked for: in hidden coordinates these are rounding."""
    size = graph.edges.abs()
    share = size / (size.sum(1) + graph.bias.abs() + graph.left_out_size).clamp_min(1e-12)[:, None]
    columns = torch.ones(size.shape[1], dtype=torch.bool)
    columns[graph.errors] = False
    matters = graph.influence()[: graph.n_features] >= MATTERS
    columns[: graph.n_features] = matters
    rows = torch.cat([matters, torch.ones(len(graph.ends), dtype=torch.bool)])
    shares, true = share[rows][:, columns], true_edges(compiled, graph)[rows][:, columns]
    found = shares >= NOTICED
    auroc = float(roc_auc_score(true.flatten(), shares.flatten())) if 0 < true.sum() < true.numel() else None
    return GraphLine(right=int((found & true).sum()), found=int(found.sum()), true=int(true.sum()), auroc=auroc)


def true_edges(compiled: Compiled, graph: Graph) -> Bool[Tensor, "rows columns"]:
    """For a graph that was traced with the oracle's dictionaries; columns of errors have no edge."""
    model, n_tokens = compiled.model, graph.n_tokens
    sites = [Site("attn_pattern", layer) for layer in range(model.n_layers)]
    patterns = model.run(graph.tokens[None], read=sites)
    looks = [patterns[site][0] > LOOKS for site in sites]
    heads = [[_carried(compiled, layer, i) for i in range(blocks(model.hf)[layer].attn.n_heads)]
             for layer in range(model.n_layers)]  # fmt: skip
    d = len(compiled.basis)
    found = torch.zeros(graph.edges.shape, dtype=torch.bool)
    reads = [_read_by(compiled, graph, row, d) for row in range(len(graph.value))]
    for column in [*range(graph.n_features), *range(graph.embeddings.start, graph.embeddings.stop)]:
        wrote = torch.zeros(n_tokens, d, dtype=torch.bool)
        if column < graph.n_features:
            first, at = int(graph.layer[column]), int(graph.position[column])
            wrote[at, list(compiled.neurons[first][int(graph.feature[column])].writes)] = True
        else:
            first, at = -1, column - graph.embeddings.start
            wrote[at, _written_by(compiled, graph, at)] = True
        for layer in range(model.n_layers + 1):
            if layer > first and layer < model.n_layers:  # heads of a layer read what stands before it
                for head, carries in enumerate(heads[layer]):
                    wrote = wrote | _moved(wrote, carries, looks[layer][head].float())
            rows = (graph.layer == layer).nonzero()[:, 0].tolist() if layer < model.n_layers else []
            if layer == model.n_layers:
                rows = list(range(graph.n_features, len(graph.value)))
            for row in rows if layer > first else ():
                position = int(graph.position[row]) if row < graph.n_features else n_tokens - 1
                found[row, column] = bool((wrote[position] & reads[row]).any())
    return found


def _moved(wrote: Bool[Tensor, "context d"], carries: Carried, looks: Float[Tensor, "query key"]) -> Tensor:
    out = torch.zeros_like(wrote)
    for source, targets in carries.items():
        reached = (looks @ wrote[:, source].float()) > 0
        for target in targets:
            out[:, target] |= reached
    return out


def _carried(compiled: Compiled, layer: int, head: int) -> Carried:
    """What a head that computes a variable does with the coordinates that it reads as values."""
    found: Carried = {}
    for variable in compiled.wiring.variables:
        if variable.component != f"L{layer}.H{head}":
            continue
        read = [compiled.wiring[each.variable] for each in variable.reads if each.via == "v"]
        for each in read:
            for i, place in enumerate(each.place):
                found[place] = _target(variable, each, i)
    return found


def _target(variable: Variable, read: Variable, i: int) -> tuple[int, ...]:
    if not variable.values:  # a number: a mean, or a share
        return variable.place
    if read.name == FIRST:  # what is answered where nothing is selected
        carried = variable.sop.default if isinstance(variable.sop, Aggregate) else None
    else:
        carried = read.values[i]
    return tuple(p for p, value in zip(variable.place, variable.values, strict=True) if value == carried)


def _read_by(compiled: Compiled, graph: Graph, row: int, d: int) -> Bool[Tensor, " d"]:
    reads = torch.zeros(d, dtype=torch.bool)
    if row < graph.n_features:
        neuron = compiled.neurons[int(graph.layer[row])][int(graph.feature[row])]
        reads[list(neuron.reads)] = True
    else:
        reads[list(compiled.wiring[compiled.wiring.output].place)] = True
    return reads


def _written_by(compiled: Compiled, graph: Graph, at: int) -> list[int]:
    """Coordinates that the embedding writes at a position."""
    found = []
    for variable in compiled.wiring.variables:
        if variable.component != EMBED:
            continue
        if variable.sop is None:
            found += list(variable.place) if at == 0 else []
        elif at and isinstance(variable.sop, Tokens | Indices):
            value = compiled.model.tokenizer.words[int(graph.tokens[at])]
            own = at - 1 if isinstance(variable.sop, Indices) else value
            found += [p for p, each in zip(variable.place, variable.values, strict=True) if each == own]
    return found
