"""masks: Masks, a model whose MLPs are the features of one prompt, some of them turned down.

Attention and norms are the model's own and live. Each layer writes what the prompt's features write, whose codes follow
what they read now, and the error as the prompt had it; features that do not fire on the prompt stay silent, and
thresholds between codes and 0 are not asked again. A mask multiplies the codes of features outside a graph: 0 and a
feature is silent, 1 and it is as it would be.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from physalis.circuits.bases.place import Place
from physalis.circuits.graph import Graph
from physalis.circuits.local import LOGITS, LocalReplacementModel

STEP = 0.5
"""How far the adversary moves every mask in a step."""


class Attack(NamedTuple):
    """The worst masks that an adversary found."""

    answer: float
    masks: Float[Tensor, " n"]
    slopes: Float[Tensor, " n"]
    """What the answer grows by there, per mask: its logarithm, where it is a probability."""


class Masks:
    """What the model makes of a prompt under masks of the features that a graph dropped."""

    def __init__(self, local: LocalReplacementModel, graph: Graph, within: Int64[Tensor, " features"]) -> None:
        """``within`` says which of its layer's features each of the graph's is."""
        self.local, self.graph = local, graph
        self.n = 0
        """How many features have a mask: all that fire and are not kept."""
        self.columns: dict[int, Tensor] = {}
        """By layer: the mask's number that belongs to each feature, -1 for one that is kept."""
        for layer, place in local.places.items():
            column = torch.zeros(len(place.features.ids), dtype=torch.long)
            own = (graph.layer == layer) & graph.kept[: graph.n_features]
            column[within[own]] = -1
            free = (column >= 0).nonzero()[:, 0]
            column[free] = torch.arange(self.n, self.n + len(free))
            self.columns[layer] = column.to(local.model.device)
            self.n += len(free)
        self._laid = {layer: local.places[layer].laid(column) for layer, column in self.columns.items()}

    def answer(self, masks: Float[Tensor, "variants n"]) -> Float[Tensor, " variants"]:
        """The probability of the graph's first token; of another direction, its value as a share of that on the prompt.
        Differentiable."""
        ones = masks.new_ones(len(masks), 1)
        return self._answer(torch.cat([masks, ones], 1))

    def none(self) -> Float[Tensor, " 1"]:
        """The same with every feature silent, those that are kept as well."""
        return self._answer(torch.zeros(1, self.n + 1, device=self.local.model.device))

    def attack(self, starts: Float[Tensor, "variants n"], steps: int) -> "Attack":
        """The worst that gradient descent on the answer finds, by signs, from each start and from all 0 and all 1."""
        masks = torch.cat([starts, torch.zeros_like(starts[:1]), torch.ones_like(starts[:1])])
        worst = Attack(torch.inf, masks[0], torch.zeros_like(masks[0]))
        for left in range(steps if self.n else 0, -1, -1):
            masks = masks.detach().requires_grad_()
            p = self.answer(masks)
            loss = p if self.graph.ends[0].token is None else p.clamp_min(1e-30).log()
            slope = torch.autograd.grad(loss.sum(), masks)[0] if self.n else torch.zeros_like(masks)
            p, least = p.detach(), int(p.argmin())
            if float(p[least]) < worst.answer:
                worst = Attack(float(p[least]), masks[least].detach(), slope[least])
            if left:
                masks = (masks - STEP * slope.sign()).clamp(0, 1)
        return worst

    def _answer(self, masks: Float[Tensor, "variants n_1"]) -> Float[Tensor, " variants"]:
        local, end = self.local, self.graph.ends[0]
        tokens = local.tokens.expand(len(masks), -1)
        ends = [LOGITS] if end.token is not None else local.ends
        codes: dict[int, Tensor] = {}

        def written(place: Place, x: Tensor) -> Tensor:
            codes[place.layer] = self._laid[place.layer].codes(x.float(), masks)
            wrote = place.error
            for layer, each in codes.items():
                wrote = wrote + self._laid[layer].wrote(each, place.writes)
            return wrote

        writes = local.writes(written)
        got = local.model.run_with_gradients(tokens, read=ends, write=writes, logits_at=slice(-1, None))
        if end.token is not None:
            return got[LOGITS][:, -1].float().softmax(-1)[:, end.token]
        value = got[local.last][:, -1].float() @ self.graph.directions[0].to(masks.device)
        return value / local.divided_by(got)[:, -1] / self.graph.value[self.graph.n_features].to(value.device)
