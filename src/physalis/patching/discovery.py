"""discovery: automatic circuit search, of nodes or of edges: by a ranking, or by leaving out one after another.

Rankings are two, and never mixed: by how much each helps (signed), or by how much each does, be it for or against
(absolute). Circuits of the same scores differ by it, and so does what is said of them (MIB, arXiv 2504.13151). The
search that leaves out is ACDC's (Conmy et al. 2023, arXiv 2304.14997): exact, and slow.

``measured`` is what ``ablating_nodes`` or ``ablating_edges`` returns.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from jaxtyping import Float
from torch import Tensor

from physalis.errors import BadInput

Part = TypeVar("Part")
"""A node, or an edge."""


def rank_by_score(parts: Sequence[Part], scores: Float[Tensor, " parts"]) -> tuple[Part, ...]:
    """Those that help most first, those that harm most last. Raises BadInput for as many scores as there are not
    parts."""
    return _ranked(parts, scores)


def rank_by_magnitude(parts: Sequence[Part], scores: Float[Tensor, " parts"]) -> tuple[Part, ...]:
    """Those that do most first, for or against. Raises BadInput for as many scores as there are not parts."""
    return _ranked(parts, scores.abs())


def _ranked(parts: Sequence[Part], scores: Tensor) -> tuple[Part, ...]:
    if scores.shape != (len(parts),):
        raise BadInput(
            f"There are {len(parts)} parts; received scores of shape {tuple(scores.shape)}. Give one for each."
        )
    if not bool(scores.isfinite().all()):
        raise BadInput(f"{int((~scores.isfinite()).sum())} of the scores are no finite numbers, and have no rank.")
    return tuple(parts[i] for i in scores.argsort(descending=True, stable=True).tolist())


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned(Generic[Part]):
    """What a search kept."""

    kept: tuple[Part, ...]
    """In the order that was given."""
    left_out: tuple[tuple[Part, float], ...]
    """What was left out, in turn, with what that changed of the metric."""
    whole: float
    """The metric with all parts, mean over contexts."""
    value: float
    """With those kept."""

    def __repr__(self) -> str:
        n = len(self.kept) + len(self.left_out)
        return f"Pruned({len(self.kept)} of {n} kept, {self.value:.4g} of {self.whole:.4g})"


def prune(
    measured: Callable[[Collection[Part]], Float[Tensor, " contexts"]],
    parts: Sequence[Part],
    *,
    threshold: float,
) -> Pruned[Part]:
    """Every part once, from the last to the first, is left out for good where the mean metric then changes by less than
    ``threshold``. One measurement for each part; their order is part of the answer, and ACDC's is that of a pass.

    Raises BadInput for a threshold below 0."""
    if not threshold >= 0:
        raise BadInput(f"A threshold is a change of the metric, from 0 on; received {threshold}.")
    kept = dict.fromkeys(parts)
    whole = now = float(measured(tuple(kept)).mean())
    out: list[tuple[Part, float]] = []
    for part in reversed(parts):
        others = tuple(each for each in kept if each != part)
        then = float(measured(others).mean())
        if abs(then - now) < threshold:
            out.append((part, then - now))
            del kept[part]
            now = then
    return Pruned(kept=tuple(kept), left_out=tuple(out), whole=whole, value=now)
