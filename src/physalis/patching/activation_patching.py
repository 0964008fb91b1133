"""activation_patching: what the metric changes by where one run is given another's values: the exact effects.

A *base* run is given the values that a *source* run has at a node (Vig et al. 2020, arXiv 2004.12265; Meng et al. 2022,
arXiv 2202.05262). With the corrupted run as base and the clean one as source this is denoising: what suffices to bring
the answer back. The other way round it is noising: what the answer cannot do without (Heimersheim & Nanda 2024, arXiv
2404.15255).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from physalis.errors import BadInput
from physalis.models import Frozen, Model, Write
from physalis.models.freezing import NOTHING
from physalis.models.model import EVERYWHERE
from physalis.patching.metric import Copies, Metric, alike, check_alike, check_positions, check_tokens, measure
from physalis.patching.nodes import Node, check_nodes, read_nodes
from physalis.site import Site

TOKENS_A_PASS = 2048
"""Of so many patches as fit into it, one pass measures all."""

TOGETHER = (EVERYWHERE,)
"""All positions are patched at once."""


def each_position(tokens: Int[Tensor, "contexts context"]) -> tuple[slice, ...]:
    """Every position alone, to be given as ``positions``."""
    return tuple(slice(i, i + 1) for i in range(tokens.shape[1]))


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Effects:
    """What the metric of the base run changes by, measured or estimated, for each node and each group of positions."""

    nodes: tuple[Node, ...]
    positions: tuple[slice, ...]
    values: Float[Tensor, "nodes positions contexts"]
    base: Float[Tensor, " contexts"]
    """The metric of the base run as it is."""
    source: Float[Tensor, " contexts"]
    """Of the source run."""

    def __repr__(self) -> str:
        n, p, c = self.values.shape
        return f"Effects({n} nodes at {p} groups of positions, {c} contexts)"

    def mean(self) -> Float[Tensor, "nodes positions"]:
        """Over contexts, in the metric's unit."""
        return self.values.mean(-1)

    def share(self) -> Float[Tensor, "nodes positions"]:
        """The mean as a share of the way from base to source: 1 where a patch makes one run of the other. Raises
        BadInput where the two runs do not differ."""
        base, source = float(self.base.mean()), float(self.source.mean())
        if alike(base, source):
            raise BadInput(
                f"Both runs measure {base:.4g} on average, so no effect is a share of their "
                "difference. Use mean(), or give runs that differ."
            )
        return self.mean() / (source - base)


def patch_activations(
    model: Model,
    base: Int[Tensor, "contexts context"],
    source: Int[Tensor, "_ _"],
    metric: Metric,
    nodes: Sequence[Node],
    *,
    positions: Sequence[slice] = TOGETHER,
    freeze: Frozen = NOTHING,
) -> Effects:
    """The exact effects: one patched pass for each node and group of positions, several of them batched.

    ``freeze`` is held in the patched passes (``model.freeze(base)``: direct and linear effects only). Raises BadInput
    for runs of different shapes and for a node that the model does not have."""
    check_alike(base, source)
    check_tokens(model, source)
    check_positions(positions, base)
    check_nodes(model, nodes)
    values = read_nodes(model, source, nodes)
    before = measure(model, metric, base, freeze=freeze)
    patches = [(node, at) for node in nodes for at in positions]
    each = max(1, TOKENS_A_PASS // base.numel())
    found = []
    for i in range(0, len(patches), each):
        some = patches[i : i + each]
        held = Frozen({site: _copies(x, len(some), len(base)) for site, x in freeze.values.items()})
        writes: dict[Site, Write] = {
            site: partial(_patched, [(j, *patch) for j, patch in enumerate(some) if patch[0].site == site], values)
            for site in {node.site for node, _ in some}
        }
        several = Copies(metric, len(some))
        found.append(measure(model, several, base.repeat(len(some), 1), write=writes, freeze=held).view(len(some), -1))
    after = torch.cat(found).view(len(nodes), len(positions), -1)
    return Effects(
        nodes=tuple(nodes), positions=tuple(positions), values=after - before, base=before,
        source=measure(model, metric, source),
    )  # fmt: skip


def _copies(x: Tensor, copies: int, contexts: int) -> Tensor:
    return x if len(x) != contexts or contexts == 1 else x.repeat(copies, *(1 for _ in x.shape[1:]))


def _patched(patches: Sequence[tuple[int, Node, slice]], values: dict[Node, Tensor], x: Tensor) -> Tensor:
    for copy, node, at in patches:
        contexts = len(values[node])
        rows = slice(copy * contexts, (copy + 1) * contexts)
        x[rows, at, node.span] = values[node][:, at].to(x.dtype)
    return x
