"""faithfulness: how much of what a model does circuits of growing size do: MIB's curve and its two areas.

f(k) = (m(C_k) - m(nothing)) / (m(all) - m(nothing)), where C_k is the first share k of a ranking and all else is
ablated (Mueller et al. 2025, MIB, arXiv 2504.13151). CPR is the area under f: how well a circuit performs, more is
better, and above 1 where it leaves out what harms. CMD is the area between f and 1: how far it is from the model, less
is better. A ranking by score suits the first, one by magnitude the second; curves of both are not to be compared. Where
f is never above 1 the two sum to .999, the length of the axis.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from physalis.errors import BadInput
from physalis.patching.discovery import Part
from physalis.patching.metric import alike

SHARES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""MIB's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Faithfulness by size."""

    shares: tuple[float, ...]
    """Of all parts, rising."""
    sizes: tuple[int, ...]
    """How many parts these are."""
    faithfulness: tuple[float, ...]
    nothing: float
    """The metric with all parts ablated, mean over contexts."""
    whole: float
    """With none."""

    def __repr__(self) -> str:
        return f"Curve({len(self.shares)} sizes up to {self.sizes[-1]:,}, CPR {self.cpr:.3f}, CMD {self.cmd:.3f})"

    @property
    def cpr(self) -> float:
        """The area under f, trapezoids on a linear axis: more is better."""
        return self._area(torch.tensor(self.faithfulness, dtype=torch.float64))

    @property
    def cmd(self) -> float:
        """The area between f and 1, likewise: less is better."""
        return self._area((1 - torch.tensor(self.faithfulness, dtype=torch.float64)).abs())

    def _area(self, heights: Tensor) -> float:
        return float(torch.trapezoid(heights, torch.tensor(self.shares, dtype=torch.float64)))


def measure_faithfulness(
    measured: Callable[[Collection[Part]], Float[Tensor, " contexts"]],
    ranking: Sequence[Part],
    *,
    shares: Sequence[float] = SHARES,
) -> Curve:
    """The curve of a ranking, best first: of nodes with ``ablating_nodes``, of edges with ``ablating_edges``. A share
    is as many parts as fit into it, rounded down, as in MIB.

    Raises BadInput for shares that do not rise within 0 to 1, for an empty ranking, and where the model measures the
    same with all parts as with none."""
    rises = all(a < b for a, b in pairwise(shares))
    if len(shares) < 2 or shares[0] < 0 or shares[-1] > 1 or not rises:
        raise BadInput(
            f"Shares rise from 0 or above to 1 or below, two at least; received {', '.join(map(str, shares))}."
        )
    if not ranking:
        raise BadInput("The ranking is empty. Give all nodes or edges, best first.")
    nothing, whole = (float(measured(parts).mean()) for parts in ((), tuple(ranking)))
    if alike(whole, nothing):
        raise BadInput(
            f"The metric is {whole:.4g} with all parts and with none, so nothing of it can be explained. Give contexts "
            "that differ in what is measured."
        )
    known = {0: nothing, len(ranking): whole}
    sizes = tuple(int(share * len(ranking) + 1e-9) for share in shares)
    for size in sizes:
        if size not in known:
            known[size] = float(measured(tuple(ranking[:size])).mean())
    values = tuple((known[size] - nothing) / (whole - nothing) for size in sizes)
    return Curve(shares=tuple(shares), sizes=sizes, faithfulness=values, nothing=nothing, whole=whole)
