"""verify(): what a graph says, tried on the model: single edges, whole effects, and what was pruned, by an adversary.

A graph can be sufficient and still not be how the model does it: nodes that cancel each other can all be dropped, and
what is left answers as well, or better. So what was dropped is not only set to 0 but to any mixture, the worst that a
few steps of gradient ascent find (the adversary of VPD, 2026). What falls then was not as irrelevant as it was called.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from physalis.circuits.bases.basis import Basis
from physalis.circuits.graph import Graph
from physalis.circuits.local import LocalReplacementModel
from physalis.circuits.masks import Masks
from physalis.circuits.nodes import Nodes
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
    basis: Basis,
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

    Raises BadInput for a graph of other tokens than the model has, without a feature, or whose basis is another.
    """
    for name, value, least in (("sources", sources, 1), ("samples", samples, 1), ("steps", steps, 0)):
        if value < least:
            raise BadInput(f"{name} is at least {least}; received {value}.")
    if not graph.n_features:
        raise BadInput("No feature of the transcoders reaches what the graph ends in, so there is nothing to try.")
    if graph.directions.shape[1] != model.d_model:
        raise BadInput(
            f"The graph's ends read {graph.directions.shape[1]} numbers and {model.name} has {model.d_model}: it is of "
            "another model, or was read from a file that does not say what its ends read. Trace the prompt here."
        )
    local = LocalReplacementModel.of(model, basis, graph.tokens.tolist())
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
        adversarial=masks.attack(mixed, steps).answer, none_kept=float(all_off), dropped=masks.n,
        kept=int(graph.kept[:n].sum()),
    )  # fmt: skip


def _knocked_out(
    graph: Graph, local: LocalReplacementModel, nodes: Nodes, tried: Int64[Tensor, " n"]
) -> tuple[Float[Tensor, "n rows"], Float[Tensor, "n rows"]]:
    """How far every row of the graph moves where one feature is silenced: with all else held, and with nothing held."""
    held, free = [], []
    places = local.places.values()
    reads, watches = [*{p.reads for p in places}, local.last], [*{p.watches for p in places}, *local.ends]
    stood = local.sources()
    within = {layer: nodes.within[graph.layer == layer].to(local.model.device) for layer in local.places}
    lowest = torch.full_like(graph.value, -torch.inf)
    for layer, place in local.places.items():
        rows = (graph.layer == layer).nonzero()[:, 0]
        lowest[rows] = place.least - graph.value[rows]
    with torch.no_grad():
        got, plain = local.run(stood, reads), local.model.run(local.tokens, read=watches)
        scale = local.scale[-1]
        linear = _rows(graph, local, _linear(local, within, got), got, scale)
        was = _rows(graph, local, _watched(local, within, plain), plain, local.divided_by(plain)[:, -1:])
        for part in tried.split(BATCH):
            changes = _silenced(graph, local, nodes, part)
            moved = local.run({site: value + changes.get(site, 0) for site, value in stood.items()}, reads)
            held.append(_rows(graph, local, _linear(local, within, moved), moved, scale) - linear)
            writes = {site: partial(_plus, change) for site, change in changes.items()}
            live = local.model.run(local.tokens.expand(len(part), -1), read=watches, write=writes)
            codes = _watched(local, within, live)
            change = _rows(graph, local, codes, live, local.divided_by(live)[:, -1:]) - was
            free.append(torch.maximum(change, lowest))
    return torch.cat(held), torch.cat(free)


def _plus(change: Tensor, x: Tensor) -> Tensor:
    return x + change.to(x.dtype)


def _silenced(
    graph: Graph, local: LocalReplacementModel, nodes: Nodes, which: Int64[Tensor, " n"]
) -> dict[Site, Float[Tensor, "n context d"]]:
    """What is to be added where layers write, so that one feature in each context is silent."""
    changes: dict[Site, Tensor] = {}
    for j, i in enumerate(which.tolist()):
        place, within = local.places[int(graph.layer[i])], nodes.within[i]
        for site, writes in place.writes_of(within[None]).items():
            if site not in changes:
                changes[site] = torch.zeros(len(which), graph.n_tokens, writes.shape[1], device=local.model.device)
            changes[site][j, int(graph.position[i])] -= place.features.codes[within] * writes[0]
    return changes


def _rows(
    graph: Graph, local: LocalReplacementModel, codes: Mapping[int, Float[Tensor, "n _"]],
    got: Mapping[Site, Tensor], scale: Tensor,
) -> Float[Tensor, "n rows"]:  # fmt: skip
    """Every row of the graph in a pass, up to constants: codes by layer, and the ends, whose ``scale`` may be each
    context's own."""
    out = torch.zeros(len(got[local.last]), len(graph.value))
    for layer, values in codes.items():
        out[:, (graph.layer == layer).nonzero()[:, 0]] = values.cpu()
    ends = got[local.last][:, -1].float() @ graph.directions.to(local.model.device).T
    out[:, graph.n_features :] = (ends / scale).cpu()
    return out


def _linear(
    local: LocalReplacementModel, within: Mapping[int, Int64[Tensor, " _"]], got: Mapping[Site, Tensor]
) -> dict[int, Float[Tensor, "n _"]]:
    """What features read in the linear pass, by layer."""
    found = {}
    for layer, which in within.items():
        place = local.places[layer]
        x = got[place.reads][:, place.features.positions[which]].float()
        found[layer] = (x * place.reads_of(which)).sum(-1)
    return found


def _watched(
    local: LocalReplacementModel, within: Mapping[int, Int64[Tensor, " _"]], got: Mapping[Site, Tensor]
) -> dict[int, Float[Tensor, "n _"]]:
    """Their codes in a pass of the model itself, by layer."""
    places = local.places
    return {layer: places[layer].watched(got[places[layer].watches], which) for layer, which in within.items()}


def _foretold(graph: Graph, source: int) -> Float[Tensor, " rows"]:
    """What a node adds to every row by the graph, over all paths: what it adds to features moves what they add."""
    n = graph.n_features
    share = torch.zeros(graph.edges.shape[1])
    share[source] = 1.0
    out = torch.zeros(len(graph.value))
    for layer in graph.layers:
        rows = (graph.layer == layer).nonzero()[:, 0]
        out[rows] = graph.edges[rows] @ share
        value = graph.value[rows]
        share[rows] += out[rows] / value.where(value.abs() > LEAST, LEAST)
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
