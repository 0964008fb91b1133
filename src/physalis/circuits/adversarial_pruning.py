"""prune_adversarially(): as few features as keep the answer whatever is done to all others.

``prune`` keeps what influence goes through, and an adversary who may turn the rest up and down nearly always undoes the
answer. Here the adversary says what to keep: at the worst masks that it finds, the features whose own masks hurt most
are kept from then on, and it tries again (after the adversarial pruning of VPD, 2026).
"""

from dataclasses import dataclass, replace

import torch

from physalis.circuits.bases.basis import Basis
from physalis.circuits.graph import Graph
from physalis.circuits.local import LocalReplacementModel
from physalis.circuits.masks import Masks
from physalis.circuits.nodes import Nodes
from physalis.circuits.pruning import prune
from physalis.errors import BadInput
from physalis.models import Model
from physalis.runtime.progress import progress


@dataclass(frozen=True, eq=False, kw_only=True)
class AdversarialPruning:
    """What was kept, round by round, and what the adversary made of it."""

    graph: Graph
    """The smallest that survives; where none did, that of the last round."""
    survives: bool
    answer: float
    """What the model gives: the probability of the graph's first token, as in ``Verdict``."""
    none_kept: float
    """The same without any feature."""
    rounds: tuple[tuple[int, float], ...]
    """Features kept, and the answer at the worst masks of all others."""

    def __repr__(self) -> str:
        kept = int(self.graph.kept[: self.graph.n_features].sum())
        end = "survive" if self.survives else "do not survive"
        return f"AdversarialPruning({kept:,} of {self.graph.n_active:,} features {end})"


def prune_adversarially(
    graph: Graph,
    model: Model,
    basis: Basis,
    *,
    share: float = 0.5,
    growth: float = 0.5,
    samples: int = 6,
    steps: int = 4,
    seed: int = 0,
) -> AdversarialPruning:
    """Grow what ``prune`` keeps of ``graph`` until ``share`` of what features do to the answer is left at the worst
    masks that ``steps`` from ``samples`` random starts find, or all that the graph has is kept. Each round keeps
    ``growth`` more, at least 16; features that were not traced stay the adversary's.

    A graph that survives these steps may fall to more: the adversary finds a worst, not the worst. Raises BadInput as
    ``verify`` does, and for a share outside (0, 1]."""
    if not 0 < share <= 1 or growth <= 0 or samples < 1 or steps < 1:
        raise BadInput(
            f"share is in (0, 1], growth above 0, samples and steps at least 1; received {share}, {growth}, {samples} "
            f"and {steps}."
        )
    if not graph.n_features:
        raise BadInput("No feature of the transcoders reaches what the graph ends in, so there is nothing to keep.")
    local = LocalReplacementModel.of(model, basis, graph.tokens.tolist())
    nodes, n = Nodes.of(graph, local), graph.n_features
    generator = torch.Generator().manual_seed(seed)
    kept, rounds = prune(graph).kept.clone(), []
    with torch.no_grad():
        masks = Masks(local, graph, nodes.within)
        answer = float(masks.answer(torch.ones(1, masks.n, device=model.device)))
        none = float(masks.none())
    wanted = none + share * (answer - none)
    with progress("prune", n - int(kept[:n].sum()), "features kept") as advance:
        while True:
            masks = Masks(local, replace(graph, kept=kept.clone()), nodes.within)
            starts = torch.rand(samples, masks.n, generator=generator).to(model.device)
            attack = masks.attack(starts, steps)
            rounds.append((int(kept[:n].sum()), attack.answer))
            free = (graph.kept[:n] & ~kept[:n]).nonzero()[:, 0]
            if attack.answer >= wanted or not len(free):
                break
            hurt = ((1 - attack.masks) * attack.slopes).cpu()
            columns = torch.empty(n, dtype=torch.long)
            for layer, column in masks.columns.items():
                own = graph.layer == layer
                columns[own] = column.cpu()[nodes.within[own]]
            more = min(len(free), max(16, int(growth * rounds[-1][0])))
            kept[free[hurt[columns[free]].topk(more).indices]] = True
            advance(more)
    survives = answer > none and rounds[-1][1] >= wanted
    rows = torch.cat([kept[:n], torch.ones(len(graph.ends), dtype=torch.bool)])
    left = graph.kept_only(kept, rows[:, None] & kept)
    return AdversarialPruning(graph=left, survives=survives, answer=answer, none_kept=none, rounds=tuple(rounds))
