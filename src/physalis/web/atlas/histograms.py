"""How each metric is spread over an atlas's features: what the list draws to filter by."""

from itertools import pairwise

import numpy as np

from physalis.atlas import Atlas
from physalis.atlas.annex import RULES
from physalis.atlas.records import Histogram, Record
from physalis.atlas.schema import METRICS

BINS = 32

LONG = 50
"""A metric whose largest value is this many times its least is binned by its logarithm."""


class Metric(Record):
    """A metric that every feature has."""

    name: str
    description: str
    log: bool
    """Whether the bins are equal steps of the logarithm."""
    histogram: Histogram
    """Over the features that fired."""


def spreads(atlas: Atlas) -> list[Metric]:
    """Every metric that a list sorts and filters by. Empty histograms where no feature fired."""
    found = [_spread(atlas, name, description) for name, description in METRICS.items()]
    return found + [_of_rules(atlas, name, description) for name, description in RULES.items() if name in atlas.extra]


def _of_rules(atlas: Atlas, name: str, description: str) -> Metric:
    values = atlas.extra[name][~np.isnan(atlas.extra[name])]
    ends = (0.0, 1.0) if name == "rule_f1" else (0.0, float(max(values, default=1)))
    counts, edges = np.histogram(values, BINS if name == "rule_f1" else max(1, min(BINS, int(ends[1]))), ends)
    return Metric(
        name=name, description=description, log=False,
        histogram=Histogram(edges=edges.tolist(), counts=counts.tolist()),
    )  # fmt: skip


def _spread(atlas: Atlas, name: str, description: str) -> Metric:
    fired = {"n_fired": (1.0, None)}
    ends = [atlas.list(sort=name, descending=d, filters=fired, limit=1).rows for d in (False, True)]
    if not ends[0]:
        return Metric(name=name, description=description, log=False, histogram=Histogram(edges=[], counts=[]))
    low, high = (float(getattr(rows[0], name)) for rows in ends)
    log = low > 0 and high / low > LONG
    edges = (np.geomspace if log else np.linspace)(low, high, BINS + 1).tolist() if high > low else [low, high]
    edges[0], edges[-1] = low, high
    # Counted by asking the atlas, which answers in well under a millisecond, so that its columns stay its own.
    above = [atlas.list(filters=fired | {name: (edge, None)}, limit=0).total for edge in edges]
    counts = [a - b for a, b in pairwise(above)]
    counts[-1] += above[-1]
    return Metric(name=name, description=description, log=log, histogram=Histogram(edges=edges, counts=counts))
