"""likeness: Likeness, how alike the features of a graph are, pair by pair: by edges, directions, rules, or chance.

Every way gives numbers from -1 to 1, so that one ``group`` does for all of them, and they can be held against each
other. By what features do on texts is in ``behaviour``: it needs the model.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from physalis.circuits.graph import Graph
from physalis.circuits.sets.transcoder_set import TranscoderSet
from physalis.dictionaries import Dictionary
from physalis.errors import BadInput


class Likeness(NamedTuple):
    """Of some features of a graph."""

    method: str
    columns: Int64[Tensor, " n"]
    """Which they are: those that the graph has kept."""
    values: Float64[Tensor, "n n"]
    """From -1 to 1. 0 means that nothing is known of one of the two."""


@runtime_checkable
class Program(Protocol):
    """A rule, as ``physalis.explanations`` has it: clauses of leaves, each clause with the code to be expected."""

    @property
    def clauses(self) -> Sequence[Any]: ...


def kept_features(graph: Graph) -> Int64[Tensor, " n"]:
    """The columns of features that pruning has left. Raises BadInput where there is none."""
    columns = graph.kept[: graph.n_features].nonzero()[:, 0]
    if not len(columns):
        raise BadInput("The graph has no feature to group. Keep more of its influence, or trace more features.")
    return columns


def by_edges(graph: Graph, whole: Graph | None = None) -> Likeness:
    """The mean of two cosines: of what enters two features, and of what they add to others, each as a signed share of
    all that enters there. A feature to which nothing leads, or from which nothing goes on, has 0 for that half.

    ``whole`` is the same graph before it was pruned, and says more: what of it is left out of profiles changes them.
    Raises BadInput for another graph's.
    """
    columns, source = kept_features(graph), graph if whole is None else whole
    if source.edges.shape != graph.edges.shape or not torch.equal(source.feature, graph.feature):
        raise BadInput("The whole graph has other nodes than the pruned one. Give that which it was pruned from.")
    size = source.edges.abs().sum(1, keepdim=True).clamp_min(1e-10)
    shares = (source.edges / size).double()
    return Likeness("edges", columns, (cosines(shares[columns]) + cosines(shares[:, columns].T)) / 2)


def by_decoders(graph: Graph, transcoders: TranscoderSet) -> Likeness:
    """The cosine of what two features write. Says nothing of what they read. Raises BadInput for transcoders that lack
    a layer or a feature of the graph, and for a graph of other nodes than transcoders' features."""
    columns = kept_features(graph)
    return Likeness("decoders", columns, cosines(writes_of(graph, transcoders)[columns].double()))


def by_rules(graph: Graph, rules: Mapping[tuple[int, int], Program]) -> Likeness:
    """The cosine of what two rules look for: their leaves, each by the codes of the clauses that it is in.

    ``rules`` are by layer and feature: ``explanations[feature].program``. A feature without a rule is like none."""
    columns = kept_features(graph)
    leaves: dict[str, int] = {}
    found: list[dict[int, float]] = []
    for i in columns.tolist():
        rule = rules.get((int(graph.layer[i]), int(graph.feature[i])))
        said: dict[int, float] = {}
        for clause in () if rule is None else rule.clauses:
            for leaf in clause.leaves:
                at = leaves.setdefault(str(leaf), len(leaves))
                said[at] = said.get(at, 0.0) + clause.level / len(clause.leaves)
        found.append(said)
    vectors = torch.zeros(len(columns), max(1, len(leaves)), dtype=torch.float64)
    for row, said in enumerate(found):
        for at, weight in said.items():
            vectors[row, at] = weight
    return Likeness("rules", columns, cosines(vectors))


def together(*likenesses: Likeness) -> Likeness:
    """The mean of several: alike is what is so by one way and is not contradicted by another. Raises BadInput for
    likenesses of other features, and for none."""
    if not likenesses or any(not torch.equal(each.columns, likenesses[0].columns) for each in likenesses):
        raise BadInput(f"Likenesses of the same features are put together; received {len(likenesses)} that are not.")
    mean = torch.stack([each.values for each in likenesses]).mean(0)
    return Likeness(" and ".join(each.method for each in likenesses), likenesses[0].columns, mean)


def by_chance(graph: Graph, seed: int = 0) -> Likeness:
    """Cosines of random directions, eight numbers each: what a method has to do better than under the same rules."""
    columns = kept_features(graph)
    generator = torch.Generator().manual_seed(seed)
    return Likeness("chance", columns, cosines(torch.randn(len(columns), 8, generator=generator, dtype=torch.float64)))


def writes_of(graph: Graph, transcoders: TranscoderSet) -> Float[Tensor, "features d_model"]:
    """What one unit of each feature of a graph adds to the stream, on the CPU. Raises BadInput as ``by_decoders``."""
    check_basis(graph)
    found: list[Tensor] = []
    order: list[Tensor] = []
    for layer in graph.layer.unique().tolist():
        rows = (graph.layer == layer).nonzero()[:, 0]
        ids = graph.feature[rows]
        dictionary = transcoder_with(transcoders, layer, int(ids.max()))
        found.append(dictionary.writes(ids.to(transcoders.device)).detach().float().cpu())
        order.append(rows)
    return torch.cat(found)[torch.cat(order).argsort()]


def check_basis(graph: Graph) -> None:
    """Raise BadInput for a graph whose nodes are no features of transcoders, a layer each."""
    if graph.basis != "features":
        raise BadInput(
            f"The nodes of this graph are {graph.basis}, and a set of transcoders says nothing of them. Group them by "
            "edges, or trace the prompt in the features of the set."
        )


def transcoder_with(transcoders: TranscoderSet, layer: int, feature: int) -> Dictionary:
    """A layer's transcoder. Raises BadInput where there is none, or it does not have that feature."""
    dictionary = transcoders[layer]
    if feature >= (n := dictionary.config.n_features):
        raise BadInput(
            f"The graph has feature {feature} of layer {layer}, and the transcoder there has {n:,}: the graph was "
            "traced with others."
        )
    return dictionary


def cosines(vectors: Float64[Tensor, "n d"]) -> Float64[Tensor, "n n"]:
    """Of all pairs of rows; 0 with a row of zeros."""
    length = vectors.norm(dim=1, keepdim=True)
    units = torch.where(length > 0, vectors / length.clamp_min(1e-300), 0.0)
    return (units @ units.T).clamp(-1, 1)
