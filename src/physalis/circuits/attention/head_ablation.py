"""head_ablation: confirm_heads, what the model loses without some heads, against as many others of the same layers.

A score says where a head looks, not that anything comes of it. So heads are taken out: each one's output is held at its
mean over all positions and contexts (mean ablation), and the loss is taken where a token has come before, which is what
induction is for, and apart from that elsewhere. What as many other heads of the same layers do when they are taken out
is the baseline. ``composition`` asks of earlier heads what later ones score without them: an induction head looks right
by what a previous-token head has moved (Elhage et al. 2021: K-composition).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int
from torch import Tensor

from physalis.circuits.attention.head_scores import (
    Head,
    Rule,
    duplicate_token,
    induction,
    repeated_tokens,
    weights_by_rule,
)
from physalis.errors import BadInput
from physalis.metrics import Interval, Ratio, Sums, difference
from physalis.models import Model, Write
from physalis.patching.metric import LOGITS, check_tokens
from physalis.patching.nodes import Node, heads, read_nodes, write_nodes
from physalis.site import Site

NUMBERS = 1 << 26
"""Logits of one pass."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmation:
    """What the loss, nats a token, is and rises by. Intervals are over contexts, pairs of the same ones compared."""

    heads: tuple[Head, ...]
    loss: Interval
    """Where the token that is read has come before, of the whole model."""
    added: Interval
    """What it rises by without the heads."""
    added_elsewhere: Interval
    """Likewise where the token has not come before."""
    others: tuple[tuple[Head, ...], ...]
    """Those taken out instead, a draw each."""
    added_by_others: tuple[float, ...]
    """What the loss on tokens that came before rises by without them."""
    over_others: Interval
    """``added`` less the mean of that, context by context."""

    def record(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "heads": [str(head) for head in self.heads], "loss": self.loss, "added": self.added,
            "added_elsewhere": self.added_elsewhere, "added_by_others": list(self.added_by_others),
            "over_others": self.over_others,
        }  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Composition:
    """The mean score of some heads by one rule, as it is and without some earlier heads."""

    readers: tuple[Head, ...]
    writers: tuple[Head, ...]
    score: Interval
    without: Interval
    """The writers."""
    without_others: tuple[float, ...]
    """As many other heads of the writers' layers, a draw each."""

    def record(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "readers": [str(head) for head in self.readers], "writers": [str(head) for head in self.writers],
            "score": self.score, "without": self.without, "without_others": list(self.without_others),
        }  # fmt: skip


def confirm_heads(
    model: Model, found: Sequence[Head], tokens: Int[Tensor, "contexts context"] | None = None, *, draws: int = 8,
    seed: int = 0,
) -> Confirmation:  # fmt: skip
    """What the model loses on ``tokens``, ``repeated_tokens(model)`` unless given, without the heads ``found``.

    ``draws`` + 2 passes. Raises BadInput for heads that the model does not have, where too few others are left to draw
    from, and for tokens of which none comes twice or all do."""
    tokens = repeated_tokens(model) if tokens is None else tokens
    check_tokens(model, tokens)
    others = _others(model, found, draws, seed)
    again = duplicate_token(tokens.cpu()).any(-1)[:, :-1]
    if not again.any() or again.all():
        raise BadInput(
            f"Of {again.numel():,} tokens {int(again.sum()):,} have come before in their context: what heads do there "
            "is held against what they do elsewhere, so there have to be some of both. Give longer contexts."
        )
    node = _nodes(model, [*found, *(head for each in others for head in each)])
    means = _means(model, tokens, node.values())
    losses = [
        _losses(model, tokens, _held({node[head]: means[node[head]] for head in each})) for each in ((), found, *others)
    ]
    clean, without, *each = (_sums(loss, again) for loss in losses)
    drawn = _sums(torch.stack(losses[2:]).mean(0), again)
    elsewhere = [_sums(loss, ~again) for loss in losses[:2]]
    return Confirmation(
        heads=tuple(found), loss=clean.estimate(), added=difference(without, clean),
        added_elsewhere=difference(elsewhere[1], elsewhere[0]), others=tuple(others),
        added_by_others=tuple(difference(other, clean)["value"] for other in each),
        over_others=difference(without, drawn),
    )  # fmt: skip


def composition(
    model: Model, writers: Sequence[Head], readers: Sequence[Head],
    tokens: Int[Tensor, "contexts context"] | None = None, *, rule: Rule = induction, draws: int = 8, seed: int = 0,
) -> Composition:  # fmt: skip
    """What ``readers`` score by ``rule``, on average, without ``writers`` that stand before them. ``draws`` + 3 passes.

    Raises BadInput as ``confirm_heads`` does, for a rule that names no place, and where no writer stands before a
    reader."""
    tokens = repeated_tokens(model) if tokens is None else tokens
    others = _others(model, writers, draws, seed)
    node = _nodes(model, [*writers, *(head for each in others for head in each)])
    _nodes(model, readers)
    if min(head.layer for head in writers) >= max(head.layer for head in readers):
        raise BadInput(
            f"Nothing that {', '.join(map(str, writers))} write is read by {', '.join(map(str, readers))}: they do not "
            "stand in earlier layers."
        )
    check_tokens(model, tokens)
    means = _means(model, tokens, node.values())
    scores = []
    for each in ((), writers, *others):
        write = _held({node[head]: means[node[head]] for head in each})
        on, positions = weights_by_rule(model, tokens, [rule], write=write)[rule.__name__]
        mean = torch.stack([on[:, head.layer, head.head] for head in readers]).mean(0)
        scores.append(Sums())
        scores[-1].add(Ratio(mean, positions), torch.arange(len(tokens)))
        if not scores[-1]:
            raise BadInput(f"No token of these contexts has a place by the rule {rule.__name__}: nothing is scored.")
    score, without, *rest = (each.estimate() for each in scores)
    return Composition(
        readers=tuple(readers), writers=tuple(writers), score=score, without=without,
        without_others=tuple(each["value"] for each in rest),
    )  # fmt: skip


def mean_ablation(model: Model, found: Sequence[Head], tokens: Int[Tensor, "contexts context"]) -> dict[Site, Write]:
    """What a pass over contexts as long as ``tokens`` writes, so that each of these heads puts out the mean of what it
    puts out on ``tokens``: the same at all positions but the first, where heads have nothing to look at and which is
    left as it is. Raises BadInput for heads that the model does not have."""
    check_tokens(model, tokens)
    return _held(_means(model, tokens, _nodes(model, found).values()))


def _nodes(model: Model, found: Sequence[Head]) -> dict[Head, Node]:
    if not found:
        raise BadInput("No head was given. Name at least one, as Head(5, 1): layer and head.")
    of = {layer: heads(model, layer) for layer in {head.layer for head in found}}
    for head in found:
        if not 0 <= head.head < len(of[head.layer]):
            raise BadInput(
                f"Layer {head.layer} of {model.name} has heads 0 to {len(of[head.layer]) - 1}; received {head}."
            )
    return {head: of[head.layer][head.head] for head in found}


def _others(model: Model, found: Sequence[Head], draws: int, seed: int) -> list[tuple[Head, ...]]:
    """As many heads that are none of these, of the same layers; where a layer has too few, of any."""
    if draws < 1:
        raise BadInput(f"At least 1 draw of other heads is what the found ones are held against; received {draws}.")
    _nodes(model, found)
    free = [Head(i, j) for i in range(model.n_layers) for j in range(len(heads(model, i)))]
    free = [head for head in free if head not in found]
    if len(free) < len(set(found)):
        raise BadInput(
            f"{model.name} has {len(free)} heads beside the {len(set(found))} that were found, too few to hold them "
            "against. Give fewer."
        )
    random, drawn = np.random.default_rng(seed), []
    for _ in range(draws):
        order = [free[i] for i in random.permutation(len(free))]
        chosen: list[Head] = []
        for head in dict.fromkeys(found):
            left = [each for each in order if each not in chosen]
            chosen.append(next((each for each in left if each.layer == head.layer), left[0]))
        drawn.append(tuple(sorted(chosen)))
    return drawn


def _means(model: Model, tokens: Int[Tensor, "contexts context"], nodes: Collection[Node]) -> dict[Node, Tensor]:
    """What each node puts out on average behind the first position, "1 context columns"."""
    width = sum(model.width(site) for site in {node.site for node in nodes})
    total = dict.fromkeys(nodes, torch.tensor(0.0))
    for some in tokens.split(max(1, NUMBERS // (tokens.shape[1] * width))):
        for node, value in read_nodes(model, some, nodes).items():
            total[node] = total[node].to(value.device) + value[:, 1:].float().sum((0, 1))
    n = len(tokens) * (tokens.shape[1] - 1)
    return {node: (value / n).expand(1, tokens.shape[1], -1) for node, value in total.items()}


def _held(means: Mapping[Node, Tensor]) -> dict[Site, Write]:
    return write_nodes(means, positions=slice(1, None))


@torch.no_grad()
def _losses(
    model: Model, tokens: Int[Tensor, "contexts context"], write: Mapping[Site, Write]
) -> Float64[Tensor, "contexts predicted"]:
    """Of each next token, nats."""
    found = []
    for some in tokens.to(model.device).split(max(1, NUMBERS // (tokens.shape[1] * model.vocab_size))):
        logits = model.run(some, read=[LOGITS], write=write)[LOGITS][:, :-1].float()
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), some[:, 1:].flatten(), reduction="none")
        found.append(loss.view(len(some), -1).cpu().double())
    return torch.cat(found)


def _sums(loss: Float64[Tensor, "contexts predicted"], counted: Bool[Tensor, "contexts predicted"]) -> Sums:
    found = Sums()
    found.add(Ratio((loss * counted).sum(1), counted.double().sum(1)), torch.arange(len(loss)))
    return found
