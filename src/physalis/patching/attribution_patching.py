"""attribution_patching: estimates of all effects of patching from a few gradients.

To first order, what a base run's metric changes by where it gets a source run's values is the metric's gradient at the
node times the difference of the two runs there. Four gradients:

1. ``attribute_by_gradient``: that of the base run (AtP: Nanda 2023; Kramár et al. 2024, arXiv 2403.00745). It misses
   what saturates: CX-12 in the lab.
2. ``attribute_by_integrated_gradients``: the mean gradient of runs between the two, whose embeddings are mixed
   (Sundararajan et al. 2017; EAP-IG's inputs: Hanna et al. 2024, arXiv 2403.17806).
3. ``attribute_by_integrated_activations``: likewise, but mixed at the node's own site, one site after another (EAP-IG's
   activations). Over all columns of a site it sums to the exact effect.
4. ``attribute_by_relevance``: that of the base run with norms, patterns, nonlinearities and gates held (RelP: Jafari et
   al. 2025, arXiv 2508.21258).

All give what ``patch_activations`` measures, in its unit and with its sign.
"""

from collections.abc import Iterable, Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from physalis.errors import BadInput
from physalis.models import Frozen, Model, Write
from physalis.models.freezing import NOTHING
from physalis.patching.activation_patching import TOGETHER, Effects
from physalis.patching.linearising import held, linear_mlps
from physalis.patching.metric import (
    Metric,
    check_alike,
    check_positions,
    check_tokens,
    measure,
    measure_with_gradients,
)
from physalis.patching.nodes import Node, check_nodes, read_nodes
from physalis.site import Site

STEPS = 16
"""Runs between two, unless told otherwise."""
EMBED = Site("embed")


def gradients(
    model: Model,
    tokens: Int[Tensor, "contexts context"],
    metric: Metric,
    sites: Iterable[Site],
    *,
    write: Mapping[Site, Write] = {},
    freeze: Frozen = NOTHING,
) -> dict[Site, Float[Tensor, "contexts context width"]]:
    """The gradient of each context's metric at sites, all of one pass; 0 at those that the metric does not depend
    on. Raises BadInput for a site that the model does not have or that ``freeze`` holds."""
    leaves = {site: _Leaf(write.get(site)) for site in sites}
    if not leaves:
        return {}
    with torch.enable_grad():
        value = measure_with_gradients(model, metric, tokens, write={**write, **leaves}, freeze=freeze)
        inputs = [leaf.added for leaf in leaves.values()]
        if not value.requires_grad:
            return dict(zip(leaves, map(torch.zeros_like, inputs), strict=True))
        found = torch.autograd.grad(value.sum(), inputs, allow_unused=True)
    return {
        site: torch.zeros_like(leaf.added) if grad is None else grad
        for (site, leaf), grad in zip(leaves.items(), found, strict=True)
    }


class _Leaf:
    """Adds a zero that can be differentiated by."""

    def __init__(self, before: Write | None) -> None:
        self.before = before
        self.added: Tensor = torch.zeros(())

    def __call__(self, x: Tensor) -> Tensor:
        if self.before is not None:
            x = self.before(x)
        self.added = torch.zeros_like(x).requires_grad_()
        return x + self.added


def relevances(
    model: Model, tokens: Int[Tensor, "contexts context"], metric: Metric, sites: Iterable[Site]
) -> dict[Site, Float[Tensor, "contexts context width"]]:
    """``gradients`` by RelP's rules. What a layer's stream has times its gradient sums, but for biases, to the metric,
    the same at every layer. Raises BadInput for a model whose patterns are not read, and as ``linear_mlps``."""
    freeze = held(model, tokens)
    with linear_mlps(model):
        return gradients(model, tokens, metric, sites, freeze=freeze)


def attribute_by_gradient(
    model: Model,
    base: Int[Tensor, "contexts context"],
    source: Int[Tensor, "_ _"],
    metric: Metric,
    nodes: Sequence[Node],
    *,
    positions: Sequence[slice] = TOGETHER,
    freeze: Frozen = NOTHING,
) -> Effects:
    """AtP: two passes forward and one back. Raises BadInput as ``patch_activations``."""
    _check(model, base, source, nodes, positions)
    found = gradients(model, base, metric, {node.site for node in nodes}, freeze=freeze)
    return _effects(model, base, source, metric, nodes, positions, found)


def attribute_by_integrated_gradients(
    model: Model,
    base: Int[Tensor, "contexts context"],
    source: Int[Tensor, "_ _"],
    metric: Metric,
    nodes: Sequence[Node],
    *,
    positions: Sequence[slice] = TOGETHER,
    steps: int = STEPS,
) -> Effects:
    """Integrated gradients along the embeddings: ``steps`` passes, each in the middle of its part of the way. Raises
    BadInput as ``patch_activations``, and for no steps."""
    _check(model, base, source, nodes, positions)
    sites = {node.site for node in nodes}
    start, end = (model.run(tokens, read=[EMBED])[EMBED] for tokens in (base, source))
    mixes = mixed(start, end, steps)
    found = _mean([gradients(model, base, metric, sites, write={EMBED: mix}) for mix in mixes])
    return _effects(model, base, source, metric, nodes, positions, found)


def attribute_by_integrated_activations(
    model: Model,
    base: Int[Tensor, "contexts context"],
    source: Int[Tensor, "_ _"],
    metric: Metric,
    nodes: Sequence[Node],
    *,
    positions: Sequence[slice] = TOGETHER,
    steps: int = STEPS,
) -> Effects:
    """Integrated gradients along each site's own values: ``steps`` passes for each site. Raises BadInput as
    ``patch_activations``, and for no steps."""
    _check(model, base, source, nodes, positions)
    sites = {node.site for node in nodes}
    start, end = (model.run(tokens, read=sites) for tokens in (base, source))
    found: dict[Site, Tensor] = {}
    for site in sites:
        mixes = mixed(start[site], end[site], steps)
        found |= _mean([gradients(model, base, metric, [site], write={site: mix}) for mix in mixes])
    return _effects(model, base, source, metric, nodes, positions, found)


def attribute_by_relevance(
    model: Model,
    base: Int[Tensor, "contexts context"],
    source: Int[Tensor, "_ _"],
    metric: Metric,
    nodes: Sequence[Node],
    *,
    positions: Sequence[slice] = TOGETHER,
) -> Effects:
    """RelP: three passes forward and one back. Raises BadInput as ``patch_activations`` and ``relevances``."""
    _check(model, base, source, nodes, positions)
    found = relevances(model, base, metric, {node.site for node in nodes})
    return _effects(model, base, source, metric, nodes, positions, found)


def mixed(start: Tensor, end: Tensor, steps: int) -> list[Write]:
    """What writes the points between two values: the middles of so many equal parts. Raises BadInput for none."""
    if steps < 1:
        raise BadInput(f"A path has at least 1 step; received {steps}.")
    return [_Constant(start + (i + 0.5) / steps * (end - start)) for i in range(steps)]


class _Constant:
    def __init__(self, value: Tensor) -> None:
        self.value = value

    def __call__(self, _: Tensor) -> Tensor:
        return self.value


def _check(model: Model, base: Tensor, source: Tensor, nodes: Sequence[Node], positions: Sequence[slice]) -> None:
    check_alike(base, source)
    check_tokens(model, base)
    check_tokens(model, source)
    check_positions(positions, base)
    check_nodes(model, nodes)


def _mean(runs: Sequence[dict[Site, Tensor]]) -> dict[Site, Tensor]:
    return {site: torch.stack([run[site].float() for run in runs]).mean(0) for site in runs[0]}


def _effects(
    model: Model,
    base: Tensor,
    source: Tensor,
    metric: Metric,
    nodes: Sequence[Node],
    positions: Sequence[slice],
    found: Mapping[Site, Tensor],
) -> Effects:
    here, there = (read_nodes(model, tokens, nodes) for tokens in (base, source))
    rows = []
    for node in nodes:
        products = ((there[node] - here[node]).float() * found[node.site][..., node.span].float()).sum(-1)
        rows.append(torch.stack([products[:, at].sum(-1) for at in positions]))
    return Effects(
        nodes=tuple(nodes), positions=tuple(positions), values=torch.stack(rows),
        base=measure(model, metric, base), source=measure(model, metric, source),
    )  # fmt: skip
