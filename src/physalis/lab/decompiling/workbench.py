"""workbench: Workbench, what is known while a program is being read: variables so far, and what is held in the model.

A part of the model is understood when what it writes can be said in terms of variables: it is then held at its mean
over all inputs in which they are the same, and the answers stay. From there on the stream says nothing but variables.
"""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import combinations
from numbers import Rational
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from physalis.lab.decompiling.passes import Passes
from physalis.lab.decompiling.programs.columns import Array, Column, joint
from physalis.lab.decompiling.programs.functions import Cut, Cuts
from physalis.lab.decompiling.programs.program import TOKENS, given, visible
from physalis.lab.decompiling.programs.steps import Apply, Step
from physalis.site import Site

_ABOVE, _FROM = Cut(Fraction(0), False), Cut(Fraction(0), True)
MATTERS_NOT, NOTHING_NEW = "does not matter", "says nothing new"
_SIDES = ((_ABOVE,), (_FROM,), (_FROM, _ABOVE))


class Workbench:
    """Columns are of the tokens of inputs, without what they begin with."""

    def __init__(
        self, passes: Passes, words: Sequence[Sequence[str]], learns: Bool[Array, " inputs"], *, causal: bool,
        tolerance: float, parts: int,
    ) -> None:  # fmt: skip
        """Means are taken over the inputs that it ``learns`` from, and answers are compared on the others. Of those at
        most ``tolerance`` may change once all ``parts`` of the model are understood."""
        self.passes, self.learns, self.causal = passes, learns, causal
        self.tolerance, self.parts = tolerance, parts
        self.columns: dict[str, Column] = given(words)
        self.steps: list[Step] = []
        self.notes: dict[str, str] = {}
        self.roots: dict[str, str] = {}
        """Variables whose values have no names of their own, and the one of which each is a copy."""
        self.said: dict[str, str] = {}
        """Of each part that is understood, by its name, what it comes to."""
        self.held: dict[Site, Tensor] = {}
        self.exists = self.columns[TOKENS].exists
        self.visible = visible(self.exists, causal)
        self.asked = passes.asked[:, passes.start :]
        self.most_cells = int(self.exists[learns].sum()) // 3
        """Combinations of values that may be told apart: more would be each place by itself."""
        self._truth = passes.answers({})

    def lost(self, site: Site, value: Float[Tensor, "inputs places width"]) -> float:
        """Which share of the inputs that it does not learn from is answered otherwise with this at a site."""
        now = self.passes.answers({**self.held, site: value}, of=~self.learns)
        return float((now != self._truth)[~self.learns].any(1).mean())

    def leaves(self, site: Site, value: Float[Tensor, "inputs places width"]) -> bool:
        """Whether as few answers change as may by now."""
        return self.lost(site, value) <= self.tolerance * (len(self.said) + 1) / self.parts

    def subsets(self, most: int) -> Iterator[tuple[str, ...]]:
        """Of the variables, those of fewest combinations first."""
        found = []
        for n in range(1, most + 1):
            for names in combinations(self.columns, n):
                cells = len(self.joint(names).values)
                if cells <= self.most_cells:
                    found.append((cells, n, names))
        return (names for _, _, names in sorted(found))

    def joint(self, names: Sequence[str]) -> Column:
        """Of some variables, their combinations."""
        return joint([self.columns[name] for name in names])

    def means(
        self, x: Float[Tensor, "inputs places width"], cells: Column | None, weights: Float[Array, "inputs tokens"],
        otherwise: Float[Tensor, "inputs places width"] | None = None,
    ) -> tuple[Float[Tensor, "cells width"], Float[Tensor, "inputs places width"]]:  # fmt: skip
        """Of each cell (of all places together, of None), and put in its places. A cell that was never seen has what
        stands there ``otherwise``, or the mean of all; what inputs begin with has its own."""
        start, out = self.passes.start, x.clone()
        codes = np.where(self.exists, 0, -1) if cells is None else cells.codes
        n = 1 if cells is None else len(cells.values)
        known = torch.from_numpy(weights * (self.learns[:, None] & self.exists))
        where = torch.from_numpy(np.where(codes < 0, n, codes))
        sums = torch.zeros(n + 1, x.shape[-1], dtype=torch.float64)
        sums.index_add_(0, where.ravel(), (x[:, start:] * known[..., None]).flatten(0, 1).double())
        among = torch.zeros(n + 1, dtype=torch.float64).index_add_(0, where.ravel(), known.ravel().double())
        every = sums[:n].sum(0) / among[:n].sum()
        means = torch.where(among[:, None] > 0, sums / among[:, None].clamp_min(1e-30), every)[:n].to(x)
        out[:, start:] = torch.cat([means, x.new_zeros(1, x.shape[-1])])[where]
        if otherwise is not None:
            never = (among[:n] == 0)[where.clamp_max(n - 1)]
            out[:, start:][never] = otherwise[:, start:][never]
        if start:
            out[:, :start] = x[torch.from_numpy(self.learns), :start].mean(0)
        return means, out

    def relevant(self, layer: int) -> Float[Array, "inputs tokens"]:
        """The places at which what a layer writes can matter, as 1."""
        return (self.asked if layer == self.passes.model.n_layers - 1 else self.exists).astype(np.float64)

    def fresh(self) -> str:
        """A name for the next variable."""
        return f"v{len(self.steps) + 1}"

    def add(self, step: Step, new: Column, *, root: str | None = None, note: str = "") -> None:
        """A step, whose column is ``new``; ``root`` where its values have no names, of which variable they are. One
        that says what an earlier variable says adds nothing."""
        here = new.codes[self.exists]
        same = next((name for name, each in self.columns.items() if one_to_one(here, each.codes[self.exists])), None)
        self.said[step.component] = NOTHING_NEW if same else step.name
        if same is None:
            self.columns[step.name] = new
            self.steps.append(step)
            self.notes[step.name] = note
            if root is not None:
                self.roots[step.name] = root


def sides(bench: Workbench, component: str, *, finest_first: bool) -> Iterator[Apply]:
    """On which side of 0 each number is that has both."""
    for name, each in bench.columns.items():
        if all(isinstance(value, Rational) for value in each.values) and {-1, 1} <= {_sign(x) for x in each.values}:
            for cuts in _SIDES[::-1] if finest_first else _SIDES:
                yield Apply(bench.fresh(), component, Cuts(cuts), (name,))


def _sign(x: Any) -> int:
    return int(x > 0) - int(x < 0)


def one_to_one(a: Int64[Array, " n"], b: Int64[Array, " n"]) -> bool:
    """Whether each of two says the other."""
    pairs = len(np.unique(a * (b.max(initial=0) + 1) + b))
    return pairs == len(np.unique(a)) == len(np.unique(b))
