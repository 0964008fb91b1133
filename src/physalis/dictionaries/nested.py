"""Nested prefixes: what the first features rebuild alone, the first and the next, and so on, in one decoding.

The first features of a Matryoshka dictionary must rebuild as much as they can without the later ones, which keeps a
general feature from being absorbed into the special ones below it (Bussmann et al. 2025, arXiv 2503.17547).
"""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from physalis.dictionaries.kernels import cpu, rows
from physalis.dictionaries.kernels.rows import Outer, Rows
from physalis.errors import BadInput
from physalis.types import Codes


def widths(asked: tuple[int, ...], n_features: int) -> tuple[int, ...]:
    """Sizes of the prefixes: those asked for, or all features, three quarters, half, three eighths and so on to four.

    Raises BadInput unless they ascend to n_features.
    """
    halves = [n_features >> i for i in range(n_features.bit_length())]
    sizes = {size for half in halves for size in (half, half * 3 // 4) if size >= 4}
    found = asked or tuple(sorted(sizes | {n_features}))
    if list(found) != sorted(set(found)) or found[0] < 1 or found[-1] != n_features:
        raise BadInput(
            f"Prefix widths must ascend and end with the number of features, {n_features}; received {list(found)}."
        )
    return found


def squares(
    codes: Codes,
    level: Int[Tensor, " features"],
    n: int,
    dec: Rows,
    target: Float[Tensor, "tokens d_out"],
    *,
    carry: float,
) -> tuple[Float[Tensor, "n tokens"], Float[Tensor, "tokens d_out"]]:
    """Mean square of what each of ``n`` prefixes leaves of the target, token by token, and what the last one leaves,
    negated, without a gradient.

    ``level`` is the first prefix that holds a feature. ``carry`` is the share of a larger prefix's gradient that
    reaches the features of the smaller ones in it: 1 lets them help it, 0 leaves each level to its own prefix.
    """
    return _Squares.apply(codes.values, codes.ids, level, n, dec, target, carry)


class _Squares(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, values: Tensor, ids: Tensor, level: Tensor, n: int, dec: Rows, target: Tensor, carry: float
    ) -> tuple[Tensor, Tensor]:
        ctx.dec, ctx.carry = dec, carry
        rests = torch.empty((n, *target.shape), device=target.device)
        each = torch.empty(rests.shape[:2], device=target.device)
        if target.device.type == "cpu":
            arrays = (part.detach().numpy() for part in (values, ids, level, dec, target, rests, each))
            cpu.nested_rests(*arrays)
        else:
            for i in range(n):
                own = Codes(values * (level[ids.long()] == i), ids)
                rests[i] = rows.add_rows(own, dec, -target if i == 0 else rests[i - 1].clone())
            each = rests.square().mean(2)
        ctx.save_for_backward(values, ids, level, rests)
        ctx.mark_non_differentiable(last := rests[-1].clone())
        return each, last

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        values, ids, level, rests = ctx.saved_tensors
        g, n = grads[0].contiguous(), len(rests)
        g_values, at = torch.empty_like(values), torch.empty_like(ids)
        reach, g_target = torch.empty_like(rests), torch.empty_like(rests[0])
        if values.device.type == "cpu":
            known = [part.detach().numpy() for part in (values, ids, level, ctx.dec, rests, g)]
            found = [part.numpy() for part in (reach, g_values, g_target, at)]
            cpu.nested_gradients(*known, np.float32(ctx.carry), *found)  # pyright: ignore[reportCallIssue]
        else:
            reach = 2 * g[..., None] * rests / rests.shape[2]
            g_target = -reach.sum(0)
            for i in range(n - 2, -1, -1):
                reach[i].add_(reach[i + 1], alpha=ctx.carry)
            own = level[ids.long()]
            at = torch.where(own < n, own * len(ids) + torch.arange(len(ids), device=ids.device)[:, None], -1).int()
            g_values = sum(rows.dot_rows(reach[i], Codes(values * (own == i), ids), ctx.dec) for i in range(n))
        if ctx.dec.requires_grad:
            ctx.dec.outers.append(Outer(ids, values * (at >= 0), reach.flatten(0, 1), at))
        return g_values, None, None, None, None, g_target, None  # pyright: ignore[reportReturnType]


def levels_by_rank(rank: Int[Tensor, " features"], widths: tuple[int, ...]) -> Int[Tensor, " features"]:
    """The prefix in which each feature first appears, from its place in the order."""
    return torch.bucketize(rank, torch.tensor(widths, device=rank.device), right=True)
