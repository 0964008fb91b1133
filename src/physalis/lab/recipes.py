"""What a world is made from: firing probabilities, a forest of features, nearly orthogonal directions.

Each follows SynthSAEBench (Chanin and Garriga-Alonso 2026, arXiv 2602.14687) and its released code.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from physalis import artifact
from physalis.errors import BadInput


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """What ``World.make`` makes. The defaults are SynthSAEBench's scaled version, 1,024 features in 96 dimensions."""

    n_features: int = 1_024
    d: int = 96
    n_roots: int = 8
    """So many features, the first, begin a tree each."""
    branching: int = 4
    """Children of each, and of these too,"""
    depth: int = 3
    """for so many generations."""
    mutually_exclusive: bool = True
    """Whether at most one of a feature's children fires."""
    compensate_probabilities: bool = True
    """Whether features with parents are drawn more often, so that they fire as often as the law has it."""
    scale_children_by_parent: bool = False
    """The paper, its code and the published artifact's v2 multiply a child's magnitude by its parent's; v1, by an
    oversight of its authors, does not, and neither does the default here: this project's numbers, and the ladder of
    scores obtained on v1, belong to that world."""
    exponent: float = 0.5
    """Firing probabilities follow Zipf's law with it, from ``p_max`` to ``p_min``."""
    p_max: float = 0.4
    p_min: float = 5e-4
    rank: int = 25
    """Of the correlations between features."""
    correlation: float = 0.1
    """How much of its variance a feature shares with others."""
    mean: tuple[float, float] = (5.0, 4.0)
    """Magnitudes where they fire, from the most to the least frequent feature, linearly."""
    std: tuple[float, float] = (0.5, 0.5)
    """A feature's is the absolute value of a normal number with that mean and deviation."""
    bias: float = 0.5
    """The length of a random vector."""
    orthogonal_steps: int = 100
    """Steps of Adam that push directions apart,"""
    orthogonal_lr: float = 3e-4
    """at this rate."""
    seed: int = 0


def generator(purpose: str, seed: int) -> torch.Generator:
    """Random numbers that no other use of the same seed meets: with plain seeds, a dictionary that starts at random
    would start at the very directions of the world of its seed."""
    return torch.Generator().manual_seed(int(artifact.digest({purpose: seed})[:15], 16))


def zipf(n: int, *, exponent: float, p_max: float, p_min: float) -> Float64[Tensor, " n"]:
    """Probabilities that fall like ``rank ** -exponent``, stretched to run from ``p_max`` to exactly ``p_min``."""
    if not 0 < p_min < p_max <= 1:
        raise BadInput(f"Probabilities must satisfy 0 < p_min < p_max <= 1; received p_min={p_min}, p_max={p_max}.")
    law = torch.arange(1, n + 1, dtype=torch.float64) ** -exponent
    return p_min + (p_max - p_min) * (law - law[-1]) / (law[0] - law[-1]).clamp_min(1e-300)


def forest(n: int, *, roots: int, branching: int, depth: int) -> Int64[Tensor, " n"]:
    """The parent of each of ``n`` features, -1 for none. The first are the roots, then come their children, tree after
    tree, then theirs, ``depth`` generations; the features left over stand alone."""
    parent = torch.full((n,), -1, dtype=torch.int64)
    level = list(range(min(roots, n)))
    free = len(level)
    for _ in range(depth):
        following = []
        for feature in level:
            children = range(free, min(free + branching, n))
            parent[children.start : children.stop] = feature
            following += children
            free = children.stop
        level = following
    return parent


def compensated(p: Float64[Tensor, " n"], parent: Int64[Tensor, " n"], *, exclusive: bool) -> Float64[Tensor, " n"]:
    """The probabilities with which features must be drawn so that, after children were silenced with their parents and
    by their siblings, rates come near ``p``: ``p_f / p_parent``, times 1 + what siblings add up to given the parent,
    at most 1. As in the benchmark this overshoots no rate but leaves many short: siblings whose rates add up to more
    than their parent's cannot all have them."""
    has = parent >= 0
    above = p[parent.clamp_min(0)]
    needed = torch.where(has, p / above, p)
    if exclusive:
        children = torch.zeros_like(p).index_add_(0, parent[has], p[has])
        others = (children[parent.clamp_min(0)] - p).clamp_min(0)
        needed = torch.where(has, needed * (1 + others / above), needed)
    return needed.clamp_max(1.0)


def nearly_orthogonal(n: int, d: int, *, steps: int, lr: float, generator: torch.Generator) -> Tensor:
    """``n`` random directions of length 1 in ``d`` dimensions, pushed apart by Adam on the squared dot products of all
    pairs (and n times the squared error of each length). float32 [n, d].

    The gradient needs only the d x d second moment of the directions, never all pairs.
    """
    w = torch.nn.functional.normalize(torch.randn(n, d, generator=generator), dim=1)
    w.requires_grad_(True)
    adam = torch.optim.Adam([w], lr=lr)
    for _ in range(steps):
        with torch.no_grad():
            length = w.square().sum(1, keepdim=True)
            w.grad = 4 * (w @ (w.T @ w) - length * w + n * (length - 1) * w)
        adam.step()
    return torch.nn.functional.normalize(w.detach(), dim=1)


def low_rank(n: int, *, rank: int, scale: float, generator: torch.Generator) -> Tensor:
    """A factor whose rows' dot products are the correlations of the features' normal variables. float32
    [n, rank]; a row keeps at least .01 of its variance to itself."""
    factor = scale * torch.randn(n, rank, generator=generator)
    return factor * (0.99 / factor.square().sum(1, keepdim=True).clamp_min(0.99)).sqrt()
