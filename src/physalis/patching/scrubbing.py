"""scrubbing: causal scrubbing: what is left of a behaviour if everything varies that a hypothesis says does not matter.

(Chan et al. 2022, Redwood Research.) A hypothesis says of some nodes which contexts are alike for them: two with the
same label may stand for each other. In each draw every such node gets what it has in a random context of the same
label, and every other node what it has in a random context, all drawn apart. If the hypothesis is right, the metric
stays.

Nodes are resampled from unchanged runs of the contexts: of the tree of Chan et al. the first level. What two nodes must
share to work together is not kept unless their labels say it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from physalis.errors import BadInput
from physalis.models import Model
from physalis.patching.metric import Metric, alike, measure
from physalis.patching.nodes import Node, check_nodes, read_nodes, write_nodes

DRAWS = 16


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Scrubbed:
    """The metric as it is, and as two hypotheses leave it."""

    model: Float[Tensor, " contexts"]
    scrubbed: Float[Tensor, "draws contexts"]
    chance: Float[Tensor, "draws contexts"]
    """By the hypothesis that nothing matters: every node from a random context."""

    def __repr__(self) -> str:
        return f"Scrubbed({self.recovered:.3f} recovered, {len(self.scrubbed)} draws of {len(self.model)} contexts)"

    @property
    def recovered(self) -> float:
        """How much of the metric is left: 1 is all, 0 no more than chance."""
        chance = float(self.chance.mean())
        return (float(self.scrubbed.mean()) - chance) / (float(self.model.mean()) - chance)


def all_different(contexts: Int[Tensor, "contexts context"]) -> Int[Tensor, " contexts"]:
    """The labels by which no context is like another: the node is kept as it is."""
    return torch.arange(len(contexts))


def scrub(
    model: Model,
    contexts: Int[Tensor, "contexts context"],
    metric: Metric,
    hypothesis: Mapping[Node, Int[Tensor, " _"]],
    nodes: Sequence[Node],
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> Scrubbed:
    """``hypothesis`` gives a label for each context to nodes that matter; all others of ``nodes`` are resampled freely.
    What is not among ``nodes`` is computed.

    Raises BadInput for a node that the model does not have or that is not among ``nodes``, for labels of another number
    of contexts, for less than two contexts or one draw, and where resampling everything changes nothing."""
    check_nodes(model, nodes)
    n = len(contexts)
    if n < 2 or draws < 1:
        raise BadInput(f"Resampling takes 2 contexts and 1 draw at least; received {n} contexts and {draws} draws.")
    for node, labels in hypothesis.items():
        if node not in set(nodes):
            raise BadInput(
                f"The hypothesis speaks of {node}, which is none of the {len(nodes)} nodes that are resampled."
            )
        if labels.shape != (n,):
            raise BadInput(f"There are {n} contexts; received labels of shape {tuple(labels.shape)} for {node}.")
    values = read_nodes(model, contexts, nodes)
    random = torch.Generator().manual_seed(seed)
    free = torch.zeros(n, dtype=torch.long)
    scrubbed, chance = [], []
    for _ in range(draws):
        for found, said in ((scrubbed, hypothesis), (chance, {})):
            drawn = {node: values[node][_drawn(said.get(node, free), random)] for node in nodes}
            found.append(measure(model, metric, contexts, write=write_nodes(drawn)))
    made = Scrubbed(
        model=measure(model, metric, contexts), scrubbed=torch.stack(scrubbed), chance=torch.stack(chance)
    )  # fmt: skip
    if alike(float(made.model.mean()), float(made.chance.mean())):
        raise BadInput(
            f"The metric is {float(made.model.mean()):.4g} as it is and with every node resampled, so nothing can be "
            "recovered of it. Give contexts that differ in what is measured."
        )
    return made


def _drawn(labels: Tensor, random: torch.Generator) -> Tensor:
    """For each context one of the same label, itself among them."""
    labels = labels.cpu()
    alike = (labels[:, None] == labels[None]).float()
    return torch.multinomial(alike, 1, generator=random)[:, 0]
