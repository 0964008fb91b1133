"""trace(): the graph of one prompt: what added how much to what, back from the logits.

1. The model is held as the prompt had it (``local``): features, errors and tokens then add up, linearly.
2. One backward sweep of a batch of targets gives what every source would add to each: its edges, all at once.
3. Ends first; then, again and again, the features through which most of the ends' influence goes, until there are as
   many as were asked for. Influence is taken anew after each batch, for what was read says what to read next.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from physalis.circuits.graph import End, Graph
from physalis.circuits.influence import influence
from physalis.circuits.local import EMBED, LocalReplacementModel
from physalis.circuits.targets import Target, Targets, TopLogits
from physalis.circuits.transcoder_set import TranscoderSet
from physalis.errors import BadInput
from physalis.models import Model
from physalis.models.text.prompting import begin
from physalis.placement.origin import Origin
from physalis.runtime.progress import progress

SWEPT = 512 << 20
"""Bytes of gradients that one sweep may take, about."""
MOST_SWEPT = 256
"""Targets of one sweep, at most: influence is taken anew after them."""


def trace(
    model: Model,
    transcoders: TranscoderSet,
    prompt: str | Sequence[int],
    *,
    targets: Targets = TopLogits(),  # noqa: B008 (frozen)
    features: int = 2_000,
    memory: int = 2 << 30,
) -> Graph:
    """The graph of ``prompt``, a text or token ids, from ``targets`` back to its tokens, with at most ``features``
    nodes that are features: those through which most influence goes.

    Memory: ``memory`` bytes of edges at most. Where more features fire than edges from all of them have room for, those
    that write least are left out, and the graph says how much of what enters its nodes they are.

    Exact: edges, what was left out and biases add up to each node's value (``Graph.unaccounted``), to float32's
    precision if the model computes in it; in 16 bit only to that of 16 bit.

    Raises BadInput as ``LocalReplacementModel.of`` does, for a model without a direct path to its logits, and for
    fewer than 1 feature.
    """
    if features < 1:
        raise BadInput(f"A graph has at least 1 feature; received {features}.")
    ids = _ids(model, transcoders, prompt)
    local = LocalReplacementModel.of(model, transcoders, ids)
    ends = targets.of(model, local.logits)
    active = _Active.of(local, features + len(ends), memory)
    sweep = _Sweep(local, active)
    rows, chosen = [sweep.ends(ends)], torch.empty(0, dtype=torch.long, device=model.device)
    wanted = min(features, len(active.codes))
    weights = torch.tensor([end.weight for end in ends], device=model.device)
    with progress("trace", wanted, "features") as advance:
        while len(chosen) < wanted:
            through = _influence(rows, weights, chosen, active, model.n_layers)[: len(active.codes)]
            through[chosen] = -1
            n = min(wanted - len(chosen), MOST_SWEPT)
            values, more = through.topk(n)
            more = more[values > 0]
            if not len(more):  # nothing else reaches the ends
                advance(wanted - len(chosen))
                break
            more = more[active.layers[more].argsort(descending=True, stable=True)]
            rows += [sweep.features(part) for part in more.split(sweep.batch)]
            chosen = torch.cat([chosen, more])
            advance(len(more))
    return _graph(local, active, sweep, ends, torch.cat(rows), chosen, prompt)


def _ids(model: Model, transcoders: TranscoderSet, prompt: str | Sequence[int]) -> list[int]:
    if not isinstance(prompt, str):
        return list(prompt)
    rules = Origin.of(transcoders.about(transcoders.layers[0])).hygienes
    return begin(model, model.encode([prompt])[0], bos=any(rule.skip_first for rule in rules))


class _Active(NamedTuple):
    """Features that fire and may be in the graph, layer by layer, position by position."""

    layers: Int64[Tensor, " n"]
    positions: Int64[Tensor, " n"]
    ids: Int64[Tensor, " n"]
    codes: Float[Tensor, " n"]
    intercepts: Float[Tensor, " n"]
    within: Int64[Tensor, " n"]
    """Which of its layer's ``Features`` each is."""
    n: int
    """How many fire."""

    @classmethod
    def of(cls, local: LocalReplacementModel, rows: int, memory: int) -> "_Active":
        """As many as have room for an edge to each row, those that write most."""
        others = (len(local.places) + 1) * local.tokens.shape[1]
        room = max(1, memory // (4 * rows) - others)
        each = [(layer, place.features) for layer, place in local.places.items()]
        layers = torch.cat([torch.full_like(f.ids, layer) for layer, f in each])
        within = torch.cat([torch.arange(len(f.ids), device=f.ids.device) for _, f in each])
        positions, ids, codes, intercepts = (
            torch.cat([getattr(f, name) for _, f in each]) for name in ("positions", "ids", "codes", "intercepts")
        )
        sizes = torch.cat([f.codes * f.writes.norm(dim=1) for _, f in each])
        keep = sizes.topk(min(room, len(sizes))).indices.sort().values
        return cls(layers[keep], positions[keep], ids[keep], codes[keep], intercepts[keep], within[keep], len(sizes))


class _Sweep:
    """The linear pass of a prompt, run once; then gradients of as many targets as wanted."""

    def __init__(self, local: LocalReplacementModel, active: _Active) -> None:
        self.local, self.active = local, active
        sources = local.sources()
        self.leaves = {site: value.detach().requires_grad_() for site, value in sources.items()}
        reads = {place.reads for place in local.places.values()}
        self.seen = local.run(self.leaves, [*reads, local.last])
        size = sum(value.numel() for value in sources.values()) * 4
        self.batch = max(1, min(MOST_SWEPT, SWEPT // size))
        with torch.no_grad():  # what reaches every place of itself, where no source writes anything
            none = {site: torch.zeros_like(value) for site, value in sources.items()}
            self.alone = local.run(none, [*reads, local.last])
        self.columns = {layer: (active.layers == layer).nonzero()[:, 0] for layer in local.places}
        self.left = {
            layer: _others(len(place.features.ids), active.within[self.columns[layer]])
            for layer, place in local.places.items()
        }

    def features(self, which: Int64[Tensor, " n"]) -> Float[Tensor, "n columns_2"]:
        """Rows of features, by their place among those that are active, of one layer or several."""
        layers = self.active.layers[which]
        wanted = {}
        for layer in layers.unique().tolist():
            place = self.local.places[layer]
            rows = (layers == layer).nonzero()[:, 0]
            grad = torch.zeros(len(which), *self.seen[place.reads].shape, device=self.local.model.device)
            own = which[rows]
            grad[rows, 0, self.active.positions[own]] = place.features.reads[self.active.within[own]]
            wanted[place.reads] = grad
        return self._rows(wanted, len(which))

    def ends(self, ends: Sequence[Target]) -> Float[Tensor, "n columns_2"]:
        """Rows of the graph's ends, at the last position."""
        last = self.local.last
        grad = torch.zeros(len(ends), *self.seen[last].shape, device=self.local.model.device)
        grad[:, 0, -1] = torch.stack([end.direction for end in ends]) / self.local.scale[-1]
        return self._rows({last: grad}, len(ends))

    def _rows(self, wanted: dict, n: int) -> Float[Tensor, "n columns_2"]:
        """Edges from active features, errors and tokens; then the sum of all that was left out, and that of sizes."""
        sites = list(self.leaves)
        outputs = [self.seen[site] for site in wanted]
        found = torch.autograd.grad(
            outputs, [self.leaves[site] for site in sites],
            [grad.to(out.dtype) for grad, out in zip(wanted.values(), outputs, strict=True)],
            retain_graph=True, allow_unused=True, is_grads_batched=True,
        )  # fmt: skip
        gradients = dict(zip(sites, found, strict=True))
        n_tokens, active = self.local.tokens.shape[1], len(self.active.codes)
        rows = torch.zeros(n, active + (len(self.local.places) + 1) * n_tokens + 2, device=self.local.model.device)
        rows[:, -2 - n_tokens : -2] = torch.einsum("ntd,td->nt", gradients[EMBED][:, 0].float(), self.local.embedded)
        for i, (layer, place) in enumerate(self.local.places.items()):
            if (grad := gradients[place.writes]) is None:
                continue
            grad, f = grad[:, 0].float(), place.features
            start = active + i * n_tokens
            rows[:, start : start + n_tokens] = torch.einsum("ntd,td->nt", grad, place.error)
            edges = _products(grad, f.positions, f.writes) * f.codes
            rows[:, self.columns[layer]] = edges[:, self.active.within[self.columns[layer]]]
            others = edges[:, self.left[layer]]
            rows[:, -2] += others.sum(1)
            rows[:, -1] += others.abs().sum(1)
        return rows


def _others(n: int, kept: Tensor) -> Tensor:
    left = torch.ones(n, dtype=torch.bool, device=kept.device)
    left[kept] = False
    return left


def _products(
    grad: Float[Tensor, "n context d"], positions: Int64[Tensor, " m"], writes: Float[Tensor, "m d"]
) -> Float[Tensor, "n m"]:
    """Each row's gradient at a feature's position times what the feature writes."""
    out = grad.new_empty(len(grad), len(positions))
    counts = positions.bincount(minlength=grad.shape[1]).tolist()
    start = 0
    for at, count in enumerate(counts):  # features are in the order of positions
        stop = start + count
        out[:, start:stop] = grad[:, at] @ writes[start:stop].T
        start = stop
    return out


def _influence(
    rows: Sequence[Tensor], weights: Tensor, chosen: Int64[Tensor, " n"], active: _Active, n_layers: int
) -> Float[Tensor, " columns"]:
    ends = len(weights)
    levels = torch.cat([active.layers.new_full((ends,), n_layers), active.layers[chosen]])
    columns = torch.cat([chosen.new_full((ends,), -1), chosen])
    weighted = torch.cat([weights, weights.new_zeros(len(chosen))])
    return influence(torch.cat(list(rows))[:, :-2], weighted, columns, levels)


def _graph(
    local: LocalReplacementModel, active: _Active, sweep: _Sweep, ends: Sequence[Target], rows: Tensor,
    chosen: Int64[Tensor, " n"], prompt: str | Sequence[int],
) -> Graph:  # fmt: skip
    """The nodes that were chosen, in the order of layers, positions and ids, and the edges between them."""
    order = chosen.argsort()  # active features stand in that order
    columns = chosen[order]
    n_active = len(active.codes)
    ordered = torch.cat([rows[len(ends) :][order], rows[: len(ends)]])
    among = torch.zeros(n_active, dtype=torch.bool, device=rows.device)
    among[columns] = True
    others = ordered[:, :n_active][:, ~among]
    bias = torch.cat([_own(local, active, sweep, columns), _own_of_ends(local, sweep, ends)])
    value = torch.cat([active.codes[columns], _values_of_ends(local, sweep, ends)])
    tokens = local.tokens[0].cpu()
    edges = torch.cat([ordered[:, columns], ordered[:, n_active:-2]], 1).cpu()
    names = tuple(local.model.token_strings(tokens.tolist()))
    return Graph(
        model=local.model.name, prompt=prompt if isinstance(prompt, str) else "".join(names), tokens=tokens,
        token_strings=names, layers=tuple(local.places),
        ends=tuple(End(end.name, end.token, end.probability, end.weight) for end in ends),
        layer=active.layers[columns].cpu(), position=active.positions[columns].cpu(),
        feature=active.ids[columns].cpu(), directions=torch.stack([end.direction for end in ends]).cpu(),
        value=value.cpu(), bias=bias.cpu(), edges=edges,
        left_out=(ordered[:, -2] + others.sum(1)).cpu(), left_out_size=(ordered[:, -1] + others.abs().sum(1)).cpu(),
        n_active=active.n, kept=torch.ones(edges.shape[1], dtype=torch.bool),
    )  # fmt: skip


def _own(
    local: LocalReplacementModel, active: _Active, sweep: _Sweep, columns: Int64[Tensor, " n"]
) -> Float[Tensor, " n"]:
    """What a feature's code has of itself: its bias, and what biases elsewhere add to what it reads."""
    own = active.intercepts[columns].clone()
    for layer, place in local.places.items():
        here = (active.layers[columns] == layer).nonzero()[:, 0]
        which = columns[here]
        there = sweep.alone[place.reads][0, active.positions[which]].float()
        own[here] += (there * place.features.reads[active.within[which]]).sum(1)
    return own


def _own_of_ends(local: LocalReplacementModel, sweep: _Sweep, ends: Sequence[Target]) -> Float[Tensor, " n"]:
    directions = torch.stack([end.direction for end in ends]) / local.scale[-1]
    return directions @ sweep.alone[local.last][0, -1].float()


def _values_of_ends(local: LocalReplacementModel, sweep: _Sweep, ends: Sequence[Target]) -> Float[Tensor, " n"]:
    directions = torch.stack([end.direction for end in ends]) / local.scale[-1]
    return directions @ sweep.seen[local.last][0, -1].detach().float()
