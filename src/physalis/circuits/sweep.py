"""sweep: Sweep, the linear pass of one prompt, run once, and backward as often as wanted: what every feature, error and
token adds to whatever is read, all at once for a batch of targets.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from physalis.circuits.local import EMBED, LocalReplacementModel
from physalis.circuits.targets import Target
from physalis.site import Site

SWEPT = 512 << 20
"""Bytes of gradients that one sweep may take, about."""
MOST_SWEPT = 64
"""Targets of one sweep, at most. A sweep goes back from the last layer among its targets, which come layer by layer, so
fewer of them cross fewer layers: 1,000 features of SmolLM2 take 5.9 s with 256, 3.2 with 64, 4.2 with 16."""


class Active(NamedTuple):
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
    def of(cls, local: LocalReplacementModel, rows: int, memory: int) -> "Active":
        """As many as have room for an edge to each row, those that write most."""
        others = (len(local.places) + 1) * local.tokens.shape[1]
        room = max(1, memory // (4 * rows) - others)
        each = [(layer, place.features) for layer, place in local.places.items()]
        layers = torch.cat([torch.full_like(f.ids, layer) for layer, f in each])
        within = torch.cat([torch.arange(len(f.ids), device=f.ids.device) for _, f in each])
        positions, ids, codes, intercepts = (
            torch.cat([getattr(f, name) for _, f in each]) for name in ("positions", "ids", "codes", "intercepts")
        )
        sizes = torch.cat([place.sizes() for place in local.places.values()])
        keep = sizes.topk(min(room, len(sizes))).indices.sort().values
        return cls(layers[keep], positions[keep], ids[keep], codes[keep], intercepts[keep], within[keep], len(sizes))


class Sweep:
    """The linear pass of a prompt, run once; then gradients of as many targets as wanted."""

    def __init__(self, local: LocalReplacementModel, active: Active, reads: Iterable[Site] = ()) -> None:
        """``reads`` are sites beside those that transcoders read, where targets may be."""
        self.local, self.active = local, active
        sources = local.sources()
        self.leaves = {site: value.detach().requires_grad_() for site, value in sources.items()}
        every = [*{*reads, *(place.reads for place in local.places.values()), local.last}]
        self.seen = local.run(self.leaves, every)
        size = sum(value.numel() for value in sources.values()) * 4
        self.batch = max(1, min(MOST_SWEPT, SWEPT // size))
        with torch.no_grad():  # what reaches every place of itself, where no source writes anything
            none = {site: torch.zeros_like(value) for site, value in sources.items()}
            self.alone = local.run(none, every)
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
            grad[rows, 0, self.active.positions[own]] = place.reads_of(self.active.within[own])
            wanted[place.reads] = grad
        return self.rows(wanted, len(which))

    def ends(self, ends: Sequence[Target]) -> Float[Tensor, "n columns_2"]:
        """Rows of the graph's ends, at the last position."""
        last = self.local.last
        grad = torch.zeros(len(ends), *self.seen[last].shape, device=self.local.model.device)
        grad[:, 0, -1] = torch.stack([end.direction for end in ends]) / self.local.scale[-1]
        return self.rows({last: grad}, len(ends))

    def rows(self, wanted: Mapping[Site, Float[Tensor, "n 1 context d"]], n: int) -> Float[Tensor, "n columns_2"]:
        """Of n targets that read, at each of some sites, these directions: edges from active features, errors and
        tokens; then the sum of all that was left out, and that of sizes."""
        sites = list(self.leaves)
        outputs = [self.seen[site] for site in wanted]
        found = torch.autograd.grad(
            outputs, [self.leaves[site] for site in sites],
            [grad.to(out.dtype) for grad, out in zip(wanted.values(), outputs, strict=True)],
            retain_graph=True, allow_unused=True, is_grads_batched=True,
        )  # fmt: skip
        n_tokens, active = self.local.tokens.shape[1], len(self.active.codes)
        rows = torch.zeros(n, active + (len(self.local.places) + 1) * n_tokens + 2, device=self.local.model.device)
        slopes = {
            site: torch.zeros(n, *leaf.shape[1:], device=rows.device) if grad is None else grad[:, 0].float()
            for (site, leaf), grad in zip(self.leaves.items(), found, strict=True)
        }
        rows[:, -2 - n_tokens : -2] = torch.einsum("ntd,td->nt", slopes[EMBED], self.local.embedded)
        for i, (layer, place) in enumerate(self.local.places.items()):
            start = active + i * n_tokens
            rows[:, start : start + n_tokens] = torch.einsum("ntd,td->nt", slopes[place.writes], place.error)
            edges = place.edges(slopes)
            rows[:, self.columns[layer]] = edges[:, self.active.within[self.columns[layer]]]
            others = edges[:, self.left[layer]]
            rows[:, -2] += others.sum(1)
            rows[:, -1] += others.abs().sum(1)
        return rows


def _others(n: int, kept: Tensor) -> Tensor:
    left = torch.ones(n, dtype=torch.bool, device=kept.device)
    left[kept] = False
    return left
