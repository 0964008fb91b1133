"""edge_ablation: what a model measures with only some of its edges: along all others corrupted outputs are read.

A node's input is the sum of what each sender adds: computed in this pass where the edge is kept, and of the corrupted
run where it is not (MIB: Mueller et al. 2025, arXiv 2504.13151; ACDC: Conmy et al. 2023, arXiv 2304.14997).

Heads of a layer read different streams then, and no model has as many inputs. So a pass has a copy of its contexts for
each head and one for the MLP: at ``resid_pre`` every copy gets what its own node reads; at ``z`` each head's part is
taken from its own copy, and given to all. It is exact, and costs as many passes as a layer has heads, and one.
"""

from collections.abc import Callable, Collection
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from physalis.errors import BadInput
from physalis.models import Model, Write
from physalis.patching.edges import Edge, NodeGraph
from physalis.patching.metric import Copies, Metric, check_alike, check_tokens, measure
from physalis.patching.nodes import Node
from physalis.site import Site


def ablating_edges(
    model: Model,
    clean: Int[Tensor, "contexts context"],
    corrupted: Int[Tensor, "_ _"],
    metric: Metric,
) -> Callable[[Collection[Edge]], Float[Tensor, " contexts"]]:
    """A function of the edges that are kept: the metric of the clean run where along all others the corrupted run is
    read. The corrupted run is computed once, here.

    Raises BadInput as ``NodeGraph``, and for runs of different shapes; the function, for an edge that there is not."""
    check_alike(clean, corrupted)
    check_tokens(model, clean)
    check_tokens(model, corrupted)
    graph = NodeGraph(model, metric)
    before = graph.sent(corrupted)
    of = {node: i for i, node in enumerate(graph.senders)}, {node: i for i, node in enumerate(graph.receivers)}

    def measured(kept: Collection[Edge]) -> Tensor:
        chosen = torch.zeros_like(graph.exists)
        for edge in kept:
            i, j = of[0].get(edge.sender), of[1].get(edge.receiver)
            if i is None or j is None or not graph.exists[i, j]:
                raise BadInput(
                    f"There is no edge {edge} in {model.name}. Choose among NodeGraph(model, metric).edges()."
                )
            chosen[i, j] = True
        return _Pass(graph, before, chosen.to(before.device)).measure(clean, metric)

    return measured


class _Pass:
    """One pass of the clean run with some edges kept."""

    def __init__(self, graph: NodeGraph, before: Tensor, kept: Tensor) -> None:
        self.graph, self.before, self.kept = graph, before, kept.float()
        self.copies = 1 + max(map(len, graph.heads))
        self.contexts = before.shape[1]
        self.columns = {node: j for j, node in enumerate(graph.receivers)}
        self.rows = {node: i for i, node in enumerate(graph.senders)}
        self.sent = torch.zeros_like(before)
        """What each sender has added, where it has."""
        self.biases = torch.zeros(())
        """What attention has added that no head did."""
        self.shares = torch.zeros(())

    def measure(self, clean: Tensor, metric: Metric) -> Tensor:
        """The metric, of each context."""
        write: dict[Site, Write] = {}
        for layer in range(self.graph.model.n_layers):
            write[Site("resid_pre", layer)] = partial(self.enters, layer)
            write[Site("z", layer)] = partial(self.mixed, layer)
            write[Site("attn_out", layer)] = partial(self.attended, layer)
            if not self.graph.parallel[layer]:
                write[Site("resid_mid", layer)] = partial(self.between, layer)
            write[Site("mlp_out", layer)] = partial(self.transformed, layer)
        write[self.graph.stream] = partial(self.leaves, metric.site)
        tokens = clean.repeat(self.copies, 1)
        return measure(self.graph.model, Copies(metric, self.copies), tokens, write=write)[: self.contexts]

    def read(self, node: Node) -> Tensor:
        """What a node reads: of each sender before it the kept or the corrupted output."""
        column = self.columns[node]
        some = self.graph.exists[:, column].to(self.sent.device)
        kept = self.kept[some, column].view(-1, 1, 1, 1)
        return (kept * self.sent[some] + (1 - kept) * self.before[some]).sum(0) + self.biases

    def enters(self, layer: int, x: Tensor) -> Tensor:
        if layer == 0:
            self.sent[0] = x[: self.contexts]
        nodes = self.graph.heads[layer]
        inputs = [self.read(node) for node in nodes]
        inputs += [self.read(Node(Site("mlp_out", layer))) if self.graph.parallel[layer] else inputs[0]]
        inputs += inputs[-1:] * (self.copies - len(inputs))
        return torch.cat(inputs).to(x.dtype)

    def mixed(self, layer: int, z: Tensor) -> Tensor:
        each = z.unflatten(0, (self.copies, -1))
        whole = each[0].clone()
        for copy, node in enumerate(self.graph.heads[layer]):
            whole[..., node.span] = each[copy][..., node.span]
        self.shares = self.graph.outputs[layer](whole)
        return whole.repeat(self.copies, 1, 1)

    def attended(self, layer: int, x: Tensor) -> Tensor:
        first = self.rows[self.graph.heads[layer][0]]
        self.sent[first : first + len(self.shares)] = self.shares
        self.biases = self.biases.to(x.device) + x[: self.contexts].float() - self.shares.sum(0)
        return x

    def between(self, layer: int, x: Tensor) -> Tensor:
        return self.read(Node(Site("mlp_out", layer))).to(x.dtype).repeat(self.copies, 1, 1)

    def transformed(self, layer: int, x: Tensor) -> Tensor:
        own = x[-self.contexts :]  # the last copy's: in parallel blocks, the MLP's
        self.sent[self.rows[Node(Site("mlp_out", layer))]] = own
        return own.repeat(self.copies, 1, 1)

    def leaves(self, site: Site, x: Tensor) -> Tensor:
        return self.read(Node(site)).to(x.dtype).repeat(self.copies, 1, 1)
