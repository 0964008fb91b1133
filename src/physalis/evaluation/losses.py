"""losses: what variants of a pass lose beside what the model does, and how far they are from it, in nats."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from physalis.models.branching import Trunk

NUMBERS = 1 << 25
"""Logits held at once: 128 MB of float32."""


class Compared(NamedTuple):
    """Of one variant: nats, on the CPU."""

    nll: Float[Tensor, " predictions"]
    kl: Float[Tensor, " predictions"]
    """KL(the first variant || this one)."""


def compared(
    trunk: Trunk,
    states: Sequence[Float[Tensor, "n context width"]],
    tokens: Int[Tensor, "n context"],
    use: Bool[Tensor, "n context_1"],
) -> list[Compared]:
    """Losses and divergences of variants, from the logits of as many positions at a time as memory is meant for."""
    there = use.to(trunk.tokens.device)
    rows = [each[:, :-1][there] for each in states]
    targets = tokens[:, 1:][use].to(trunk.tokens.device)
    size = max(1, NUMBERS // trunk.model.vocab_size // len(rows))
    pieces: list[list[Compared]] = []
    for i in range(0, len(targets), size):
        here = targets[i : i + size]
        first, *others = trunk.logits(torch.cat([each[i : i + size] for each in rows])).split(len(here))
        a = first.float()
        whole = a.logsumexp(-1, keepdim=True)
        p = (a - whole).exp_()
        own = _dot(p, a) - whole[:, 0]
        found = [Compared(nll(a, here, whole).cpu(), torch.zeros(len(here)))]
        for other in others:
            b = other.float()
            sum_b = b.logsumexp(-1, keepdim=True)
            found.append(Compared(nll(b, here, sum_b).cpu(), (own - _dot(p, b) + sum_b[:, 0]).cpu()))
        pieces.append(found)
    return [
        Compared(*(torch.cat(part) for part in zip(*variant, strict=True))) for variant in zip(*pieces, strict=True)
    ]


def one_for_all(
    trunk: Trunk, states: Float[Tensor, "context width"], tokens: Int[Tensor, "n context"]
) -> Float[Tensor, "n context_1"]:
    """Losses on the next tokens of several contexts in which the model predicts the same."""
    targets = tokens[:, 1:].to(trunk.tokens.device).T
    size = max(1, NUMBERS // trunk.model.vocab_size)
    found = []
    for i in range(0, len(targets), size):
        logits = trunk.logits(states[:-1][i : i + size]).float()
        found.append(logits.logsumexp(-1, keepdim=True) - logits.gather(1, targets[i : i + size]))
    return torch.cat(found).T.cpu()


def nll(
    logits: Float[Tensor, "n vocab"], targets: Int[Tensor, " n"], whole: Float[Tensor, "n 1"] | None = None
) -> Float[Tensor, " n"]:
    """Nats that the model pays for each target; ``whole`` is the logsumexp of its logits, where that is known."""
    whole = logits.logsumexp(-1, keepdim=True) if whole is None else whole
    return (whole - logits.gather(1, targets[:, None]))[:, 0]


def _dot(a: Float[Tensor, "n vocab"], b: Float[Tensor, "n vocab"]) -> Float[Tensor, " n"]:
    """Row by row, without a product of their size in memory."""
    return torch.bmm(a[:, None], b[:, :, None])[:, 0, 0]
