"""edges: Edge, from what one node adds to the stream to what a later one reads of it, and estimates of what each does.

The graph (Syed et al. 2023, EAP, arXiv 2310.10348): senders are the embedding, every head and every MLP; receivers are
every head, every MLP, and the stream at the end. What a head reads is the stream as attention's norm does, for its
queries, keys and values together, but for each head apart.

An edge's score is, to first order, what the metric of the clean run loses where the receiver reads the sender's
corrupted output instead of the clean one: above 0 the edge helps.

1. Each sender's outputs in both runs, and their difference.
2. Gradients of the metric at every head's ``z``, every ``mlp_out`` and the last stream.
3. From there to what each node reads: one more pass, cut at each ``resid_pre`` and ``resid_mid``, in which each head's
   gradient is taken back alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from physalis.errors import BadInput
from physalis.models import Frozen, Model, Write
from physalis.models.freezing import NOTHING
from physalis.patching.attribution_patching import EMBED, STEPS, gradients, mixed
from physalis.patching.head_outputs import HeadOutputs
from physalis.patching.linearising import held, linear_mlps
from physalis.patching.metric import LOGITS, Metric, check_alike, check_tokens
from physalis.patching.nodes import Node, graph_nodes, heads
from physalis.site import Site


class Edge(NamedTuple):
    """From a sender's output to a receiver's input."""

    sender: Node
    receiver: Node

    def __str__(self) -> str:
        return f"{self.sender} -> {self.receiver}"


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class EdgeScores:
    """A number for each pair of nodes; 0 where there is no edge."""

    senders: tuple[Node, ...]
    receivers: tuple[Node, ...]
    values: Float[Tensor, "senders receivers"]
    """Mean over contexts, in the metric's unit."""
    exists: Bool[Tensor, "senders receivers"]

    def __repr__(self) -> str:
        return f"EdgeScores({int(self.exists.sum()):,} edges, {len(self.senders)} senders)"

    def edges(self) -> tuple[Edge, ...]:
        """All there are, as in ``NodeGraph.edges``."""
        return _listed(self.senders, self.receivers, self.exists)

    def scores(self) -> Float[Tensor, " edges"]:
        """Of ``edges()``, in their order."""
        return self.values.T[self.exists.T]


def _listed(senders: Sequence[Node], receivers: Sequence[Node], exists: Tensor) -> tuple[Edge, ...]:
    return tuple(Edge(senders[i], receivers[j]) for j, i in exists.T.nonzero().tolist())


class NodeGraph:
    """The senders and receivers of a model for a metric, and which edges there are."""

    def __init__(self, model: Model, metric: Metric) -> None:
        """Raises BadInput for a metric that is not of the logits or the last stream, and for a model that has a layer
        without ``z``, ``attn_out`` or ``mlp_out``."""
        self.model = model
        self.stream = Site("resid_post", model.n_layers - 1)
        if metric.site not in (LOGITS, self.stream):
            raise BadInput(
                f"Edges end in what the model predicts; received a metric of {metric.site}. Measure at logits or "
                f"{self.stream}."
            )
        for layer in range(model.n_layers):
            for name in ("z", "attn_out", "mlp_out"):
                model.check(Site(name, layer))
        has = {each.site for each in model.sites()}
        self.parallel = tuple(Site("resid_mid", layer) not in has for layer in range(model.n_layers))
        self.senders = graph_nodes(model)
        self.receivers = (*self.senders[1:], Node(metric.site))
        self.heads = [heads(model, layer) for layer in range(model.n_layers)]
        self.outputs = [HeadOutputs(model, layer) for layer in range(model.n_layers)]
        self.exists = torch.tensor([[self._written(s) < self._read(r) for r in self.receivers] for s in self.senders])

    def _written(self, node: Node) -> tuple[float, int]:
        """When a sender's output enters the stream."""
        return (-1, 0) if node.site.layer is None else (node.site.layer, 1 if node.site.name == "z" else 2)

    def _read(self, node: Node) -> tuple[float, int]:
        """Before which time a receiver's input was written."""
        if node.site.layer is None or node.site == self.stream:
            return (float("inf"), 0)
        late = node.site.name == "mlp_out" and not self.parallel[node.site.layer]
        return (node.site.layer, 2 if late else 1)

    def edges(self) -> tuple[Edge, ...]:
        """All there are, by receiver in the order of a pass, then by sender."""
        return _listed(self.senders, self.receivers, self.exists)

    def sent(self, tokens: Int[Tensor, "contexts context"]) -> Float[Tensor, "senders contexts context d_model"]:
        """What each sender adds to the stream, float32."""
        sites = [EMBED] + [Site(n, layer) for layer in range(self.model.n_layers) for n in ("z", "mlp_out")]
        got = self.model.run(tokens, read=sites)
        parts = [got[EMBED][None].float()]
        for layer, outputs in enumerate(self.outputs):
            parts += [outputs(got[Site("z", layer)]), got[Site("mlp_out", layer)][None].float()]
        return torch.cat(parts)


def attribute_edges(
    model: Model, clean: Int[Tensor, "contexts context"], corrupted: Int[Tensor, "_ _"], metric: Metric
) -> EdgeScores:
    """EAP: gradients of the clean run. Raises BadInput as ``NodeGraph``, and for runs of different shapes."""
    return _scored(model, clean, corrupted, metric, [None])


def attribute_edges_by_integrated_gradients(
    model: Model,
    clean: Int[Tensor, "contexts context"],
    corrupted: Int[Tensor, "_ _"],
    metric: Metric,
    *,
    steps: int = STEPS,
) -> EdgeScores:
    """EAP-IG's inputs: mean gradients of runs whose embeddings are mixed (arXiv 2403.17806), which do not miss what
    saturates. Raises BadInput as ``attribute_edges``, and for no steps."""
    check_alike(clean, corrupted)
    check_tokens(model, clean)
    check_tokens(model, corrupted)
    start, end = (model.run(tokens, read=[EMBED])[EMBED] for tokens in (corrupted, clean))
    return _scored(model, clean, corrupted, metric, mixed(start, end, steps))


def attribute_edges_by_relevance(
    model: Model, clean: Int[Tensor, "contexts context"], corrupted: Int[Tensor, "_ _"], metric: Metric
) -> EdgeScores:
    """RelP: gradients of the clean run with norms, patterns, nonlinearities and gates held (arXiv 2508.21258). Raises
    BadInput as ``attribute_edges`` and ``relevances``."""
    check_alike(clean, corrupted)
    check_tokens(model, clean)
    check_tokens(model, corrupted)
    freeze = held(model, clean)
    with linear_mlps(model):
        return _scored(model, clean, corrupted, metric, [None], freeze)


def _scored(
    model: Model,
    clean: Tensor,
    corrupted: Tensor,
    metric: Metric,
    points: Sequence[Write | None],
    freeze: Frozen = NOTHING,
) -> EdgeScores:
    check_alike(clean, corrupted)
    check_tokens(model, clean)
    check_tokens(model, corrupted)
    graph = NodeGraph(model, metric)
    sites = [Site(n, layer) for layer in range(model.n_layers) for n in ("z", "mlp_out")] + [graph.stream]
    inputs: list[Tensor] | None = None
    for point in points:
        write: dict[Site, Write] = {} if point is None else {EMBED: point}
        found = gradients(model, clean, metric, sites, write=write, freeze=freeze)
        read = [*_taken_back(graph, clean, found, write, freeze), found[graph.stream].float()]
        inputs = read if inputs is None else [a + b for a, b in zip(inputs, read, strict=True)]
    assert inputs is not None
    difference = graph.sent(clean) - graph.sent(corrupted)
    values = torch.stack([torch.einsum("sctd,ctd->s", difference, each) for each in inputs], 1)
    values = values.cpu() * graph.exists / (len(points) * len(clean))
    return EdgeScores(senders=graph.senders, receivers=graph.receivers, values=values, exists=graph.exists)


def _taken_back(
    graph: NodeGraph, tokens: Tensor, at: dict[Site, Tensor], write: dict[Site, Write], freeze: Frozen
) -> Iterator[Tensor]:
    """From gradients at what nodes make to gradients at what they read of the stream, in the receivers' order."""
    layers = range(graph.model.n_layers)
    starts = {Site("resid_pre", layer): _Start() for layer in layers}
    starts |= {Site("resid_mid", layer): _Start() for layer in layers if not graph.parallel[layer]}
    ends = [Site(n, layer) for layer in layers for n in ("z", "mlp_out")]
    with torch.enable_grad():
        got = graph.model.run_with_gradients(tokens, read=ends, write={**write, **starts}, freeze=freeze)
    for layer in layers:
        z, mlp = Site("z", layer), Site("mlp_out", layer)
        stream = starts[Site("resid_pre", layer)].value
        between = stream if graph.parallel[layer] else starts[Site("resid_mid", layer)].value
        for node in graph.heads[layer]:
            of_one = torch.zeros_like(at[z])
            of_one[..., node.span] = at[z][..., node.span]
            yield torch.autograd.grad(got[z], stream, of_one, retain_graph=True)[0].float()
        yield torch.autograd.grad(got[mlp], between, at[mlp], retain_graph=True)[0].float()


class _Start:
    """Cuts a pass: what follows depends on this value, and on nothing before it."""

    def __init__(self) -> None:
        self.value: Tensor = torch.zeros(())

    def __call__(self, x: Tensor) -> Tensor:
        self.value = x.detach().requires_grad_()
        return self.value
