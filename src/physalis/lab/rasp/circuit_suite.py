"""run_circuit_suite(): bring your own method for circuits, and see how much of compiled programs' true ones it finds.

A method is given a model, clean and corrupted inputs and a metric, and says how much each edge does: a number for each
pair of a sender (the embedding, a head, an MLP) and a receiver (a head, an MLP, the logits). It is tried on programs
whose circuit is known, as they were compiled and with every coordinate turned. An edge is true where the receiver reads
what the sender wrote, and the answer depends on it; edges that carry what is the same in all inputs are not asked for.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from sklearn.metrics import roc_auc_score
from torch import Tensor

from physalis.errors import BadInput
from physalis.lab.rasp.algorithms import TASKS, Task
from physalis.lab.rasp.compiling import Compiled
from physalis.lab.rasp.hiding import hidden
from physalis.lab.rasp.wiring import EMBED, LOGITS, head_name, mlp_name
from physalis.models import Model
from physalis.patching import (
    EdgeScores,
    LogitDifference,
    Metric,
    Node,
    NodeGraph,
    ablating_edges,
    attribute_by_gradient,
    attribute_edges,
    attribute_edges_by_integrated_gradients,
    attribute_edges_by_relevance,
)

NOTICED = 0.01
"""Share of the largest score from which an edge counts as found."""
CONTEXTS = 8
"""Inputs of one position."""


@runtime_checkable
class CircuitMethod(Protocol):
    """What scores edges. Sizes count, signs do not."""

    def __call__(
        self, model: Model, clean: Int[Tensor, "contexts context"], corrupted: Int[Tensor, "contexts context"],
        metric: Metric, /,
    ) -> EdgeScores: ...  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitLine:
    """How a method fared on one program, one draw of inputs."""

    program: str
    hidden: bool
    seed: int
    auroc: float
    """Of edges by the sizes of their scores: the chance that a true one stands before a false one."""
    precision: float
    """Of edges that score at least ``NOTICED`` of the largest, the share that is true."""
    recall: float
    """Of true edges, the share that scores so much."""
    true: int
    edges: int


def run_circuit_suite(
    method: CircuitMethod,
    *,
    tasks: Sequence[Callable[[], Task]] = TASKS,
    seeds: Sequence[int] = (0, 1, 2),
    positions: int = 6,
) -> list[CircuitLine]:
    """Two lines for each program and seed: as it was compiled, and hidden.

    Inputs are as long as the program reads; each has another beside it whose answer differs at the position that is
    asked about, ``positions`` of them for a seed. Scores of positions are added by size. Raises BadInput for no seed,
    no position, and for a method whose scores are of other nodes."""
    if not seeds or positions < 1:
        raise BadInput(f"At least 1 seed and 1 position; received {len(seeds)} and {positions}.")
    lines = []
    for make in tasks:
        task = make()
        compiled = task.compiled()
        for seed in seeds:
            pairs = [_pairs(compiled, task, seed=1_000 * seed + i) for i in range(positions)]
            for is_hidden, each in ((False, compiled), (True, hidden(compiled, seed))):
                lines.append(_line(method, each, task, pairs, seed, is_hidden))
    return lines


class _Pairs:
    """Inputs, others with another answer at a position, and both answers."""

    def __init__(self, clean: Tensor, corrupted: Tensor, right: Tensor, wrong: Tensor, position: int) -> None:
        self.clean, self.corrupted = clean, corrupted
        self.metric = LogitDifference(right, wrong, position)


def _pairs(compiled: Compiled, task: Task, *, seed: int) -> _Pairs:
    random = np.random.default_rng(seed)
    spelling = compiled.model.tokenizer
    while True:
        at = int(random.integers(task.longest))
        drawn = [tuple(map(str, task.draw(random, task.longest))) for _ in range(16 * CONTEXTS)]
        answers = [str(task.answer(each)[at]) for each in drawn]
        found = []
        for i in range(0, len(drawn), 2):
            if answers[i] != answers[i + 1]:
                found.append((i, i + 1))
        if len(found) >= CONTEXTS:
            break
    clean, corrupted = (compiled.encode([drawn[pair[side]] for pair in found[:CONTEXTS]]) for side in range(2))
    right, wrong = (
        torch.tensor([spelling.id_of(answers[pair[side]]) for pair in found[:CONTEXTS]]) for side in range(2)
    )
    return _Pairs(clean, corrupted, right, wrong, at + 1)  # an input begins with a token of its own


def _line(
    method: CircuitMethod, compiled: Compiled, task: Task, pairs: Sequence[_Pairs], seed: int, is_hidden: bool
) -> CircuitLine:
    total: Tensor | None = None
    scored: EdgeScores | None = None
    for pair in pairs:
        scored = method(compiled.model, pair.clean, pair.corrupted, pair.metric)
        total = scored.values.abs() if total is None else total + scored.values.abs()
    assert scored is not None and total is not None
    names = {node: component(compiled.model, node) for node in (*scored.senders, *scored.receivers)}
    true = {(edge.source, edge.target) for edge in compiled.circuit.edges if not edge.is_constant}
    unasked = {(edge.source, edge.target) for edge in compiled.wiring.edges} - true
    scores, labels = [], []
    for i, j in scored.exists.nonzero().tolist():
        edge = names[scored.senders[i]], names[scored.receivers[j]]
        if edge not in unasked:
            scores.append(float(total[i, j]))
            labels.append(edge in true)
    return _judged(np.array(scores), np.array(labels), task.name, is_hidden, seed)


def _judged(
    scores: Float[np.ndarray, " edges"], labels: Bool[np.ndarray, " edges"], program: str, is_hidden: bool, seed: int
) -> CircuitLine:
    if not np.isfinite(scores).all() or not labels.any() or labels.all():
        raise BadInput(f"The method scored {program} with numbers that are not finite, or without its true edges.")
    found = scores >= max(NOTICED * scores.max(), 1e-12)
    return CircuitLine(
        program=program, hidden=is_hidden, seed=seed, auroc=float(roc_auc_score(labels, scores)),
        precision=float(labels[found].mean()) if found.any() else 0.0, recall=float(found[labels].mean()),
        true=int(labels.sum()), edges=len(labels),
    )  # fmt: skip


def component(model: Model, node: Node) -> str:
    """What a node is called in a wiring."""
    site = node.site
    if site.layer is None:
        return EMBED if site.name == "embed" else LOGITS
    if site.name == "mlp_out":
        return mlp_name(site.layer)
    if site.name == "resid_post":
        return LOGITS
    assert node.columns is not None
    return head_name(site.layer, node.columns[0] // (node.columns[1] - node.columns[0]))


def patch_edges(model: Model, clean: Tensor, corrupted: Tensor, metric: Metric) -> EdgeScores:
    """Exact: what the metric loses where one receiver alone reads one sender's corrupted output. A pass for each."""
    graph = NodeGraph(model, metric)
    edges = graph.edges()
    measured = ablating_edges(model, clean, corrupted, metric)
    whole = measured(edges)
    values = torch.zeros(graph.exists.shape)
    of = {node: i for i, node in enumerate(graph.senders)}, {node: i for i, node in enumerate(graph.receivers)}
    for edge in edges:
        lost = whole - measured([other for other in edges if other != edge])
        values[of[0][edge.sender], of[1][edge.receiver]] = float(lost.abs().mean())
    return EdgeScores(senders=graph.senders, receivers=graph.receivers, values=values, exists=graph.exists)


def between_nodes(model: Model, clean: Tensor, corrupted: Tensor, metric: Metric) -> EdgeScores:
    """AtP scores nodes: an edge counts as much as the lesser of its two ends."""
    graph = NodeGraph(model, metric)
    effects = attribute_by_gradient(model, clean, corrupted, metric, graph.senders).values.abs().mean((1, 2))
    received = torch.cat([effects[1:], torch.full((1,), torch.inf)])
    values = torch.minimum(effects[:, None], received[None]) * graph.exists
    return EdgeScores(senders=graph.senders, receivers=graph.receivers, values=values, exists=graph.exists)


CIRCUIT_METHODS: dict[str, CircuitMethod] = {
    "exact": patch_edges,
    "EAP": attribute_edges,
    "EAP-IG": attribute_edges_by_integrated_gradients,
    "RelP": attribute_edges_by_relevance,
    "AtP": between_nodes,
}
"""Those of ``physalis.patching``."""
