"""trace(): the graph of one prompt: what added how much to what, back from the logits.

1. The model is held as the prompt had it (``local``): features, errors and tokens then add up, linearly.
2. One backward sweep of a batch of targets gives what every source would add to each: its edges, all at once.
3. Ends first; then, again and again, the features through which most of the ends' influence goes, until there are as
   many as were asked for. Influence is taken anew after each batch, for what was read says what to read next.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from physalis.circuits.bases.basis import Basis, begins, kind
from physalis.circuits.graph import End, Graph
from physalis.circuits.influence import influence
from physalis.circuits.local import LocalReplacementModel
from physalis.circuits.sweep import Active, Sweep
from physalis.circuits.targets import Target, Targets, TopLogits
from physalis.errors import BadInput
from physalis.models import Model
from physalis.models.text.prompting import begin
from physalis.runtime.progress import progress

ANEW = 256
"""Features after which influence is taken anew, at most."""


def trace(
    model: Model,
    basis: Basis,
    prompt: str | Sequence[int],
    *,
    targets: Targets = TopLogits(),  # noqa: B008 (frozen)
    features: int = 2_000,
    memory: int = 2 << 30,
) -> Graph:
    """The graph of ``prompt``, a text or token ids, from ``targets`` back to its tokens, with at most ``features``
    nodes that are features: those through which most influence goes. ``basis`` is what features are: a set of
    transcoders, a cross-layer transcoder, or the model's own ``Neurons()``.

    Memory: ``memory`` bytes of edges, about. Where more fire than edges from all of them have room for, those that
    write least are left out, and the graph says how much of what enters its nodes they are.

    Exact: edges, what was left out and biases add up to each node's value (``Graph.unaccounted``), to float32's
    precision if the model computes in it; in 16 bit only to that of 16 bit.

    Raises BadInput as ``LocalReplacementModel.of`` does, for a model without a direct path to its logits, and for
    fewer than 1 feature.
    """
    for name, value in (("feature", features), ("byte of memory", memory)):
        if value < 1:
            raise BadInput(f"A graph has at least 1 {name}; received {value}.")
    ids = _ids(model, basis, prompt)
    if wrong := [i for i in ids if not 0 <= i < model.vocab_size]:
        raise BadInput(f"{model.name} reads ids 0 to {model.vocab_size - 1}; received {wrong[0]}.")
    local = LocalReplacementModel.of(model, basis, ids)
    ends = targets.of(model, local.logits)
    active = Active.of(local, min(features, local.n_features) + len(ends), memory)
    sweep = Sweep(local, active)
    rows, chosen = [sweep.ends(ends)], torch.empty(0, dtype=torch.long, device=model.device)
    wanted = min(features, len(active.codes))
    weights = torch.tensor([end.weight for end in ends], device=model.device)
    with progress("trace", wanted, "features") as advance:
        while len(chosen) < wanted:
            through = _influence(rows, weights, chosen, active, model.n_layers)[: len(active.codes)]
            through[chosen] = -1
            n = min(wanted - len(chosen), ANEW)
            values, more = through.topk(n)
            more = more[values > 0]
            if not len(more):  # nothing else reaches the ends
                advance(wanted - len(chosen))
                break
            more = more[active.layers[more].argsort(descending=True, stable=True)]
            rows += [sweep.features(part) for part in more.split(sweep.batch)]
            chosen = torch.cat([chosen, more])
            advance(len(more))
    return _graph(local, active, sweep, ends, torch.cat(rows), chosen, prompt, kind(basis))


def _ids(model: Model, basis: Basis, prompt: str | Sequence[int]) -> list[int]:
    if not isinstance(prompt, str):
        return list(prompt)
    if not (text := model.encode([prompt])[0]):
        raise BadInput("The prompt has no tokens. Give a text.")
    return begin(model, text, bos=begins(basis))


def _influence(
    rows: Sequence[Tensor], weights: Tensor, chosen: Int64[Tensor, " n"], active: Active, n_layers: int
) -> Float[Tensor, " columns"]:
    ends = len(weights)
    levels = torch.cat([active.layers.new_full((ends,), n_layers), active.layers[chosen]])
    columns = torch.cat([chosen.new_full((ends,), -1), chosen])
    weighted = torch.cat([weights, weights.new_zeros(len(chosen))])
    return influence(torch.cat(list(rows))[:, :-2], weighted, columns, levels)


def _graph(
    local: LocalReplacementModel, active: Active, sweep: Sweep, ends: Sequence[Target], rows: Tensor,
    chosen: Int64[Tensor, " n"], prompt: str | Sequence[int], basis: str,
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
        basis=basis, n_active=active.n, kept=torch.ones(edges.shape[1], dtype=torch.bool),
    )  # fmt: skip


def _own(
    local: LocalReplacementModel, active: Active, sweep: Sweep, columns: Int64[Tensor, " n"]
) -> Float[Tensor, " n"]:
    """What a feature's code has of itself: its bias, and what biases elsewhere add to what it reads."""
    own = active.intercepts[columns].clone()
    for layer, place in local.places.items():
        here = (active.layers[columns] == layer).nonzero()[:, 0]
        which = columns[here]
        there = sweep.alone[place.reads][0, active.positions[which]].float()
        own[here] += (there * place.reads_of(active.within[which])).sum(1)
    return own


def _own_of_ends(local: LocalReplacementModel, sweep: Sweep, ends: Sequence[Target]) -> Float[Tensor, " n"]:
    directions = torch.stack([end.direction for end in ends]) / local.scale[-1]
    return directions @ sweep.alone[local.last][0, -1].float()


def _values_of_ends(local: LocalReplacementModel, sweep: Sweep, ends: Sequence[Target]) -> Float[Tensor, " n"]:
    directions = torch.stack([end.direction for end in ends]) / local.scale[-1]
    return directions @ sweep.seen[local.last][0, -1].detach().float()
