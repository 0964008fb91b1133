"""consistency: whether another seed gives the same features (Paulo & Belrose 2025, arXiv 2501.16615).

Features of two dictionaries are paired by what they write (``comparing``'s Hungarian pairing). What is reported is the
pairs' mean cosine, and the mean correlation of their codes over the same rows, over all features: a pair of which
either is silent counts 0.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from jaxtyping import Float
from scipy.sparse import csr_array
from torch import Tensor

from physalis.comparing.similarity.codes import SparseCodes, pair_correlation
from physalis.comparing.similarity.matching import match_directions
from physalis.dictionaries import Dictionary
from physalis.suites.records import Measured, Metric

METRICS = [
    Metric(
        name="seeds_directions", title="cosine of features of two seeds, paired by directions", higher_is_better=True
    ),
    Metric(name="seeds_codes", title="correlation of the same pairs' codes", higher_is_better=True),
]
CHUNK = 4_096


def consistency(
    pairs: Mapping[str, tuple[Dictionary, Dictionary]], x: Float[Tensor, "rows d_in"], round: int
) -> Iterator[Measured]:
    """Both metrics of every subject, from two dictionaries of it that were trained from other seeds."""
    for name, (a, b) in pairs.items():
        found = match_directions(_directions(a), _directions(b), rounds=1, seed=round)
        related = pair_correlation(_codes(a, x), _codes(b, x), found.a, found.b)
        n = min(a.config.n_features, b.config.n_features)
        for metric, values in zip(METRICS, (found.score, np.nan_to_num(related)), strict=True):
            yield Measured(
                metric=metric.name, subject=name, role="dictionary", round=round, value=float(values.sum() / n)
            )


def _directions(dictionary: Dictionary) -> Float[Tensor, "features d_out"]:
    like = next(dictionary.parameters())
    return dictionary.writes(torch.arange(dictionary.config.n_features, device=like.device)).detach().float().cpu()


@torch.no_grad()
def _codes(dictionary: Dictionary, x: Float[Tensor, "rows d_in"]) -> SparseCodes:
    n = dictionary.config.n_features
    parts = []
    for rows in x.split(CHUNK):
        values, ids = dictionary.encode(rows).numpy()
        row, column = np.nonzero(values > 0)
        parts.append((values[row, column], ids[row, column], (values > 0).sum(1)))
    values, ids, counts = (np.concatenate(each) for each in zip(*parts, strict=True))
    ends = np.cumsum([0, *counts])
    return SparseCodes(csr_array((values, ids, ends), shape=(len(x), n)))
