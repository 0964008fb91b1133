"""influence: how much of what reaches a graph's ends came through each node.

An edge counts by its size, as a share of all that enters its target: A[target, source], rows that sum to 1. Influence
adds this over all paths to the ends: w (A + A^2 + ...), as in Ameisen et al. 2025 ("Circuit Tracing").
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

LEAST = 1e-10
"""What the sum of a row is held above."""


def influence(
    edges: Float[Tensor, "rows columns"],
    weights: Float[Tensor, " rows"],
    columns: Int64[Tensor, " rows"],
    levels: Int64[Tensor, " rows"],
) -> Float[Tensor, " columns"]:
    """Of every source, on the ends that ``weights`` weights; rows are targets, signed or not.

    ``columns`` says as which source a row's node appears, -1 for an end. Sources of a row have lower ``levels`` than
    it, so each row is used once, the highest first.
    """
    total = edges.new_zeros(edges.shape[1])
    through = columns >= 0
    for level in levels.unique().flip(0):
        rows = (levels == level).nonzero()[:, 0]
        size = edges[rows].abs()
        arriving = weights[rows] + torch.where(through[rows], total[columns[rows].clamp_min(0)], 0)
        total += (arriving / size.sum(1).clamp_min(LEAST)) @ size
    return total


def covering(values: Float[Tensor, " n"], share: float) -> float:
    """The least of the largest ``values`` that add up to ``share`` of them all."""
    ordered = values.sort(descending=True).values
    summed = ordered.double().cumsum(0)
    n = int((summed < share * summed[-1]).sum())
    return float(ordered[min(n, len(ordered) - 1)])
