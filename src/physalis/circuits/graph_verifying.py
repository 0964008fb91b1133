"""verify(): what a graph says, tried on the model: single edges, whole effects, and what was pruned, by an adversary.

A graph can be sufficient and still not be how the model does it: nodes that cancel each other can all be dropped, and
what is left answers as well, or better. So what was dropped is not only set to 0 but to any mixture, the worst that a
few steps of gradient ascent find (the adversary of VPD, 2026). What falls then was not as irrelevant as it was called.
"""

from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from physalis.circuits.graph import Graph
from physalis.circuits.local import LocalReplacementModel
from physalis.circuits.masks import Masks
from physalis.circuits.nodes import Nodes
from physalis.circuits.sets.transcoder_set import TranscoderSet
from physalis.errors import BadInput
from physalis.models import Model
from physalis.site import Site

BATCH = 32
"""Interventions of one pass."""
NOTICED = 0.02
"""Share of a feature's code that an effect on it has to have to be compared."""
LEAST = 1e-10


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What came of a graph's trial."""

    sources: int
    """Nodes that were knocked out one at a time, those with most influence."""
    edge_gap: float
    """The largest difference between an edge and the change of its target where its source alone is silenced and all
    else is held, absolute: the graph's arithmetic."""
    edge_r: float | None
    """Correlation of edges into the next layer with what happens there in the model, where nothing is held. None where
    fewer than three are to be compared, or all are the same; likewise the next two."""
    path_r: float | None
    """Of effects on features of any later layer, over all paths: errors of what is held add up."""
    end_r: float | None
    """Of effects on the ends."""
    answer: float
    """The probability that the model gives the graph's first token; of another direction, its value as a share of that
    on the prompt, which is 1."""
    kept_only: float
    """The same where all features that were pruned are silent."""
    stochastic: float
    """The same where each is at a random share of its code, on average."""
    adversarial: float
    """The same at the worst shares that were found."""
    none_kept: float
    """The same where no feature is left: what errors and biases alone predict."""
    dropped: int
    """Features that fire and are not in the graph, or were pruned."""
    kept: int

    @property
    def beats_the_model(self) -> bool:
        """Whether less does better than all: a sign that the graph leaves out what speaks against its answer."""
        return self.kept_only > self.answer + 0.01

    @property
    def survives(self) -> bool:
        """Whether against the adversary half is left of what features do: of the answer less what it is without any.
        Never where that is less than half of the answer: then the graph has nothing to prove."""
        by_features = self.answer - self.none_kept
        return by_features >= 0.5 * self.answer and self.adversarial - self.none_kept >= 0.5 * by_features

    def record(self) -> dict[str, Any]:
        """As plain data, with what follows from it."""
        return asdict(self) | {"beats_the_model": self.beats_the_model, "survives": self.survives}


def verify(
    graph: Graph,
    model: Model,
    transcoders: TranscoderSet,
    *,
    sources: int = 64,
    samples: int = 16,
    steps: int = 4,
    seed: int = 0,
) -> Verdict:
    """Try a pruned graph on the model that it is of.

    The ``sources`` kept features with most influence are knocked out one by one; ``samples`` random mixtures of what
    was dropped are tried, and each is where an adversary begins, who takes ``steps``. Errors and positions that the
    set's rules leave out stay as the prompt had them: ``Verdict.none_kept`` says how much they know by themselves.

    Raises BadInput for a graph of other tokens than the model has, without a feature, or whose transcoders are others.
    """
    for name, value, least in (("sources", sources, 1), ("samples", samples, 1), ("steps", steps, 0)):
        if value < least:
            raise BadInput(f"{name} is at least {least}; received {value}.")
    if not graph.n_features:
        raise BadInput("No feature of the transcoders reaches what the graph ends in, so there is nothing to try.")
    local = LocalReplacementModel.of(model, transcoders, graph.tokens.tolist())
    nodes = Nodes.of(graph, local)
    n = graph.n_features
    through = graph.influence()[: graph.n_features] * graph.kept[: graph.n_features]
    tried = through.topk(min(sources, int((through > 0).sum()))).indices
    if not len(tried):
        raise BadInput(
            "No feature of the graph was kept, so there is nothing to try. Keep more of its influence (--nodes and "
            "--edges), or trace more features (--features)."
        )
    held, free = _knocked_out(graph, local, nodes, tried)
    edges, effects = graph.edges[:, tried].T, torch.stack([_foretold(graph, int(i)) for i in tried])
    edge = edges != 0
    reached = effects[:, :n].abs() > NOTICED * graph.value[:n].abs()
    step = _steps(graph)
    near = reached & (step[:n] - step[tried][:, None] == 1)
    masks = Masks(local, graph, nodes.within)
    generator = torch.Generator().manual_seed(seed)
    mixed = torch.rand(samples, masks.n, generator=generator).to(model.device)
    with torch.no_grad():
        all_on, all_off = masks.answer(torch.ones(1, masks.n, device=model.device)), masks.none()
        kept_only = masks.answer(torch.zeros(1, masks.n, device=model.device))
        stochastic = masks.answer(mixed).mean()
    return Verdict(
        sources=len(tried), edge_gap=float((held + edges)[edge].abs().max()) if bool(edge.any()) else 0.0,
        edge_r=_correlation(-effects[:, :n][near], free[:, :n][near]),
        path_r=_correlation(-effects[:, :n][reached], free[:, :n][reached]),
        end_r=_correlation(-effects[:, n:].flatten(), free[:, n:].flatten()),
        answer=float(all_on), kept_only=float(kept_only), stochastic=float(stochastic),
        adversarial=masks.worst(mixed, steps), none_kept=float(all_off), dropped=masks.n,
        kept=int(graph.kept[:n].sum()),
    )  # fmt: skip


def _knocked_out(
    graph: Graph, local: LocalReplacementModel, nodes: Nodes, tried: Int64[Tensor, " n"]
) -> tuple[Float[Tensor, "n rows"], Float[Tensor, "n rows"]]:
    """How far every row of the graph moves where one feature is silenced: with all else held, and with nothing held."""
    held, free = [], []
    reads = [*{place.reads for place in local.places.values()}, local.last]
    stood = local.sources()
    codes = torch.cat([graph.value[: graph.n_features], torch.full((len(graph.ends),), torch.inf)])
    with torch.no_grad():
        as_it_was, plain = local.run(stood, reads), local.model.run(local.tokens, read=[*reads, *local.ends])
        for part in tried.split(BATCH):
            changes = _silenced(graph, local, nodes, part)
            moved = local.run({site: value + changes.get(site, 0) for site, value in stood.items()}, reads)
            writes = {site: partial(_plus, change) for site, change in changes.items()}
            live = local.model.run(local.tokens.expand(len(part), -1), read=[*reads, *local.ends], write=writes)
            scale = local.scale[-1]
            held.append(_rows(graph, local, nodes, moved, scale) - _rows(graph, local, nodes, as_it_was, scale))
            change = _rows(graph, local, nodes, live, local.divided_by(live)[:, -1:])
            change = change - _rows(graph, local, nodes, plain, local.divided_by(plain)[:, -1:])
            free.append(torch.maximum(change, -codes))  # no code falls below 0
    return torch.cat(held), torch.cat(free)


def _plus(change: Tensor, x: Tensor) -> Tensor:
    return x + change.to(x.dtype)


def _silenced(
    graph: Graph, local: LocalReplacementModel, nodes: Nodes, which: Int64[Tensor, " n"]
) -> dict[Site, Float[Tensor, "n context d"]]:
    """What is to be added where layers write, so that one feature in each context is silent."""
    changes: dict[Site, Tensor] = {}
    for j, i in enumerate(which.tolist()):
        place = local.places[int(graph.layer[i])]
        if place.writes not in changes:
            changes[place.writes] = torch.zeros(len(which), *place.error.shape, device=local.model.device)
        f, w = place.features, int(nodes.within[i])
        changes[place.writes][j, int(graph.position[i])] -= f.codes[w] * f.writes[w]
    return changes


def _rows(
    graph: Graph, local: LocalReplacementModel, nodes: Nodes, got: dict[Site, Tensor], scale: Tensor
) -> Float[Tensor, "n rows"]:
    """What every row of the graph reads in a pass, less intercepts; the ends' ``scale`` may be each context's own."""
    n = len(got[local.last])
    out = torch.zeros(n, len(graph.value))
    for layer, place in local.places.items():
        rows = (graph.layer == layer).nonzero()[:, 0]
        x = got[place.reads][:, graph.position[rows]].float()
        out[:, rows] = (x * place.features.reads[nodes.within[rows]]).sum(-1).cpu()
    ends = got[local.last][:, -1].float() @ graph.directions.to(local.model.device).T
    out[:, graph.n_features :] = (ends / scale).cpu()
    return out


def _foretold(graph: Graph, source: int) -> Float[Tensor, " rows"]:
    """What a node adds to every row by the graph, over all paths: what it adds to features moves what they add."""
    n = graph.n_features
    share = torch.zeros(graph.edges.shape[1])
    share[source] = 1.0
    out = torch.zeros(len(graph.value))
    for layer in graph.layers:
        rows = (graph.layer == layer).nonzero()[:, 0]
        out[rows] = graph.edges[rows] @ share
        share[rows] += out[rows] / graph.value[rows].clamp_min(LEAST)
    out[n:] = graph.edges[n:] @ share
    return out


def _steps(graph: Graph) -> Int64[Tensor, " features"]:
    """The number of each feature's layer among those that have transcoders."""
    return torch.bucketize(graph.layer, torch.tensor(graph.layers))


def _correlation(a: Float[Tensor, " n"], b: Float[Tensor, " n"]) -> float | None:
    """Pearson's; None where there is nothing to correlate."""
    if len(a) < 3 or not a.std() or not b.std():
        return None
    return float(torch.corrcoef(torch.stack([a, b]))[0, 1])
