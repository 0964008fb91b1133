"""Two failures that a low reconstruction error hides, in worlds so small that the right answer is known.

Absorption ("A is for Absorption", arXiv 2409.14507): a feature never fires without its parent, so a dictionary pressed
for sparsity lets the child's feature write the parent's direction too, and the parent's feature goes silent there.
Hedging (arXiv 2505.11756): a dictionary too narrow for the child mixes some of it into the parent's feature.

Each world repeats one little group of features, so that the number of features that fire is whole: a dictionary can be
asked for exactly the true one.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from physalis.dictionaries.base import Dictionary
from physalis.errors import BadInput
from physalis.lab import recipes
from physalis.lab.truth import Reader, as_reader, score, shares
from physalis.lab.worlds import World

GAP = 0.9
"""A recall gap from which on absorption is called complete."""


def absorbing_world(
    *, groups: int = 5, d: int = 50, implied: bool = True, p_parent: float = 0.25, p_other: float = 0.05, seed: int = 0
) -> World:
    """``groups`` times four features, all directions orthogonal: the first fires with ``p_parent``, the others with
    ``p_other``, and the second only where the first does. ``implied=False`` is the control, where all are independent.

    The published experiment is one group; five make 2.0 features fire at a time, on average.
    """
    _fit(4 * groups, d)
    parent = torch.full((groups, 4), -1)
    p = torch.tensor([p_parent, p_other, p_other, p_other], dtype=torch.float64).repeat(groups, 1)
    if implied:
        parent[:, 1] = 4 * torch.arange(groups)
        p[:, 1] /= p_parent
    about = {"world": "absorbing", "groups": groups, "d": d, "implied": implied, "seed": seed}
    return _orthogonal(p.flatten(), parent.flatten(), d, about | {"p_parent": p_parent, "p_other": p_other})


def hedging_world(q: float, *, groups: int = 4, d: int = 50, implied: bool = True, seed: int = 0) -> World:
    """``groups`` times a parent and a child, all directions orthogonal; exactly one parent fires at a time, its child
    with probability ``q`` beside it. Learn it with as many features as there are groups, and k = 1. ``implied=False``
    is the control: children fire as often, but independently of their parents.

    That exactly one parent fires is made with one more feature, the last, which always fires, whose children the
    parents are and which does no more than move the mean.
    """
    _fit(2 * groups + 1, d)
    if not 0 < q < 1:
        raise BadInput(f"A child fires with a probability between 0 and 1 beside its parent; received q={q}.")
    n = 2 * groups + 1
    parent = torch.full((n,), -1)
    parent[:groups] = n - 1
    p = torch.ones(n, dtype=torch.float64)
    p[groups:-1] = q
    if implied:
        parent[groups:-1] = torch.arange(groups)
    else:
        p[groups:-1] = q / groups
    about = {"world": "hedging", "q": q, "groups": groups, "d": d, "implied": implied, "seed": seed}
    return _orthogonal(p, parent, d, about, exclusive=n - 1)


def _fit(n: int, d: int) -> None:
    if n > d:
        raise BadInput(f"{n} orthogonal directions do not fit into width {d}. Lower groups, or raise d.")


def _orthogonal(p: Tensor, parent: Tensor, d: int, about: dict[str, Any], exclusive: int = -1) -> World:
    n = len(p)
    random = torch.randn(d, n, generator=recipes.generator("orthogonal directions", about["seed"]))
    chosen = torch.zeros(n, dtype=torch.bool)
    if exclusive >= 0:
        chosen[exclusive] = True
    return World.from_arrays(
        torch.linalg.qr(random).Q.T.contiguous(),
        p,
        mean=torch.ones(n),
        std=torch.zeros(n),
        parent=parent,
        exclusive=chosen,
        about=about,
    )


def hedged(q: float, *, p: float = 0.25) -> tuple[float, float]:
    """What a feature too few writes along parent and child when the error is least: a direction of length 1.

    The child fires with probability ``q`` where the parent does, the parent with ``p``. Whatever a code and a bias can
    say of one direction they say, so what is left is the second moment across it, less what a bias takes off; the
    direction is the top eigenvector of ``[[1, q], [q, q]] - p [[1, q], [q, q^2]]``. At p = 0 no bias helps, which is
    the published formula.
    """
    a, b, c = 1 - p, q * (1 - p), q - p * q * q
    angle = 0.5 * math.atan2(2 * b, a - c)
    return math.cos(angle), math.sin(angle)


@dataclass(frozen=True)
class Absorption:
    """What became of the parents of an ``absorbing_world``; means over its groups."""

    pairs: int
    found: int
    """Parents that some feature of the dictionary resembles most, and it them. The rest is about their groups alone."""
    recall_without: float
    """How often the parent's feature fires where the parent does and its child does not."""
    recall_with: float
    """... and where its child fires too."""
    gap: float
    """The first less the second: 1 is complete absorption, 0 is none."""
    child_writes: tuple[float, float]
    """Along parent and child, as a direction of length 1: (.71, .71) if absorbed, (0, 1) if not."""
    parent_writes: tuple[float, float]
    """(1, 0) unless hedged."""
    l0: float
    true_l0: float

    @property
    def absorbed(self) -> bool:
        """Whether absorption is complete in most groups."""
        return self.gap >= GAP


def measure_absorption(
    dictionary: Dictionary | Reader, world: World, *, samples: int = 100_000, seed: int = 0
) -> Absorption:
    """Look for absorption in a dictionary trained on an ``absorbing_world``, or on any world with parents.

    Unmeasured numbers, where no parent was found, are NaN.
    """
    truth = score(dictionary, world, samples=samples, seed=seed)
    pairs = truth.pairs
    return Absorption(
        pairs=int((world.parent >= 0).sum()),
        found=len(pairs.parent),
        recall_without=_mean(pairs.recall_without),
        recall_with=_mean(pairs.recall_with),
        gap=_mean(pairs.recall_without - pairs.recall_with),
        child_writes=(_mean(pairs.child_writes[:, 0]), _mean(pairs.child_writes[:, 1])),
        parent_writes=(_mean(pairs.parent_writes[:, 0]), _mean(pairs.parent_writes[:, 1])),
        l0=truth.l0,
        true_l0=truth.true_l0,
    )


@dataclass(frozen=True)
class Hedging:
    """What became of the parents of a ``hedging_world``; means over its groups."""

    pairs: int
    found: int
    parent_writes: tuple[float, float]
    """Along parent and child, as a direction of length 1: (1, 0) is right."""
    expected: tuple[float, float]
    """What least error asks of a dictionary that has no feature for the child."""
    gap: float
    """|what is written along the child - what is expected|: near 0 where the dictionary hedges as theory says."""
    fvu: float


def measure_hedging(dictionary: Dictionary | Reader, world: World, *, samples: int = 100_000, seed: int = 0) -> Hedging:
    """Look for hedging in a dictionary trained on a ``hedging_world``. Raises BadInput for another world."""
    if world.config.get("world") != "hedging":
        raise BadInput("Hedging is measured against a formula for the worlds of hedging_world; this is another.")
    truth = score(dictionary, world, samples=samples, seed=seed)
    groups, parents = world.config["groups"], np.arange(world.config["groups"])
    by = truth.found.by[parents]
    mutual = truth.learned.match[by] == parents
    parent, child = (world.directions[parents + first][mutual].double() for first in (0, groups))
    along = shares(as_reader(dictionary).directions[by[mutual]].double(), parent, child).numpy()
    expected = hedged(world.config["q"], p=1 / groups) if world.config["implied"] else (1.0, 0.0)
    writes = _mean(along[:, 0]), _mean(along[:, 1])
    return Hedging(
        pairs=groups,
        found=int(mutual.sum()),
        parent_writes=writes,
        expected=expected,
        gap=abs(writes[1] - expected[1]),
        fvu=truth.fvu,
    )


def _mean(values: np.ndarray) -> float:
    """NaN where nothing was measured."""
    return float(np.nanmean(values)) if len(values) and not np.isnan(values).all() else math.nan
