"""reading_mlps: read_mlp, what an MLP computes: a function of variables at the same position.

What it writes is held at its mean for each combination of some variables, the fewest with which the answers stay;
combinations are then taken together, the nearest first, as far as the answers allow. What is left are the values of a
new variable, without names: the shortest function that is one to one with them gives them some. Before tables, the side
of 0 is tried on which a number is; what a position says besides is known and may stay.
"""

import numpy as np
import torch
from jaxtyping import Float, Int64
from scipy.cluster.hierarchy import fcluster, linkage
from torch import Tensor

from physalis.lab.decompiling.fitting import fit_symbols
from physalis.lab.decompiling.programs.columns import Array, Column, joint
from physalis.lab.decompiling.programs.functions import Lookup
from physalis.lab.decompiling.programs.program import POSITIONS
from physalis.lab.decompiling.programs.steps import Apply
from physalis.lab.decompiling.workbench import MATTERS_NOT, NOTHING_NEW, Workbench, sides
from physalis.site import Site

MOST_READ = 3
"""Variables that one MLP may be a function of."""
LONGEST = 100
"""Symbols of a table: a longer one nobody reads."""
SAME = 1e-3
"""Means nearer than this share of the spread of all are the same."""


def read_mlp(bench: Workbench, layer: int) -> None:
    """Understand an MLP: a step more, or none where it does not matter or only a long table would say it. It is then
    left as it is: made of nothing but what the stream holds, it says nothing that the variables before it do not."""
    site, name = Site("mlp_out", layer), f"L{layer}.mlp"
    x = bench.passes.read([site], bench.held)[site]
    weights = bench.relevant(layer)
    value = bench.means(x, None, weights)[1]
    if bench.leaves(site, value):
        bench.held[site], bench.said[name] = value, MATTERS_NOT
        return
    for context in ((), (POSITIONS,)):
        for step in sides(bench, name, finest_first=bool(context)):
            new = step.column(bench.columns)
            value = bench.means(x, joint([new, *(bench.columns[each] for each in context)]), weights)[1]
            if bench.leaves(site, value):
                bench.held[site] = value
                bench.add(step, new)
                return
    for names in bench.subsets(MOST_READ):
        cells = bench.joint(names)
        means, value = bench.means(x, cells, weights)
        if bench.leaves(site, value):
            groups, value = _merged(bench, site, value, cells, means)
            function = fit_symbols({of: int(group) for of, group in zip(cells.values, groups, strict=True)})
            if function.length <= LONGEST:
                bench.held[site] = value
                step = Apply(bench.fresh(), name, function, names)
                bench.add(step, step.column(bench.columns), root=step.name if isinstance(function, Lookup) else None)
                return
            break
    bench.said[name] = NOTHING_NEW


def _merged(
    bench: Workbench, site: Site, value: Float[Tensor, "inputs places width"], cells: Column,
    means: Float[Tensor, "cells width"],
) -> tuple[Int64[Array, " cells"], Float[Tensor, "inputs places width"]]:  # fmt: skip
    """The fewest groups of cells with which the answers stay, by number, and what is then written."""
    if len(means) == 1:
        return np.zeros(1, np.int64), value
    tree = linkage(means.double().numpy(), "average")
    best = fcluster(tree, SAME * float(means.std(0).norm()), "distance").astype(np.int64) - 1

    def grouped(groups: Int64[Array, " cells"]) -> Tensor:
        of, n = torch.from_numpy(groups).long(), int(groups.max()) + 1
        sums = torch.zeros(n, means.shape[1]).index_add_(0, of, means)
        together = (sums / torch.bincount(of, minlength=n)[:, None])[of]
        out = value.clone()
        out[:, bench.passes.start :][torch.from_numpy(bench.exists)] = together[cells.codes[bench.exists]]
        return out

    low, high = 1, int(best.max()) + 1
    while low < high:
        middle = (low + high) // 2
        groups = fcluster(tree, middle, "maxclust").astype(np.int64) - 1
        if bench.leaves(site, grouped(groups)):
            best, high = groups, middle
        else:
            low = middle + 1
    return best, grouped(best)
