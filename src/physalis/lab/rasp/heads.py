"""heads: Head, the weights of an attention head that computes an aggregate or a share.

Queries that select the same keys are one direction of the head; a key says there whether it is selected (1 or 0). The
first token, where no value stands, has a score between the two: who selects nothing looks at it, and reads the default
there (Lindner et al. 2023, arXiv 2301.05062). For a share it scores as what is selected does. ``latest`` adds to each
score what grows with the place. What a predicate does not depend on is not read.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from physalis.errors import BadInput
from physalis.lab.rasp.language import Aggregate, Selector, Share, indices
from physalis.lab.rasp.plan import AT_FIRST, Plan

MARGIN = 32.0
"""By how much, in logits, the score of what is looked at exceeds any other's: of those e^-32 is seen, 1e-14."""


class Head(NamedTuple):
    """What it reads of the stream and writes into it. Scores are sums of query times key, not divided."""

    query: Float[Tensor, "compared d"]
    query_bias: Float[Tensor, " compared"]
    key: Float[Tensor, "compared d"]
    key_bias: Float[Tensor, " compared"]
    value: Float[Tensor, "moved d"]
    out: Float[Tensor, "moved d"]

    def read(self) -> dict[str, set[int]]:
        """The coordinates that queries, keys and values are made of."""
        return {via: _used(rows) for via, rows in (("q", self.query), ("k", self.key), ("v", self.value))}


def make_head(sop: Aggregate | Share, plan: Plan) -> Head:
    """The head of an s-op. Raises BadInput where its predicate ends in an error."""
    return Head(*_compared(sop, plan), *_moved(sop, plan))


def holds(selector: Selector, plan: Plan) -> Bool[np.ndarray, "queries keys"]:
    """Of which pairs of values the predicate holds. Raises BadInput where it ends in an error."""
    keys, queries = plan.domains.of(selector.keys), plan.domains.of(selector.queries)
    try:
        return np.array([[bool(selector.predicate(key, query)) for key in keys] for query in queries])
    except Exception as error:  # a predicate is its author's, and may raise what it likes
        raise BadInput(
            f"The predicate that compares {selector.keys.name!r} with {selector.queries.name!r} ends in "
            f"{type(error).__name__} ({error}). It has to answer each pair of {list(keys)[:20]} and "
            f"{list(queries)[:20]}, also those that never come."
        ) from error


def _compared(sop: Aggregate | Share, plan: Plan) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    selector = sop.selector
    step = MARGIN if selector.last else 0.0
    selected = 2 * (MARGIN + step * plan.domains.context)
    patterns, which = np.unique(holds(selector, plan), axis=0, return_inverse=True)
    query, key = torch.zeros(2, len(patterns) + 2, plan.d)
    query_bias, key_bias = torch.zeros(2, len(patterns) + 2)
    told, places, firsts = slice(len(patterns)), -2, -1

    if len(patterns) == 1:
        query_bias[told] = 1.0
    else:
        for coordinate, pattern in zip(plan.variables[selector.queries].place, which.ravel(), strict=True):
            query[pattern, coordinate] = 1.0
    if (patterns == patterns[:, :1]).all():
        key_bias[told] = selected * torch.from_numpy(patterns[:, 0]).float()
    else:
        key[told, list(plan.variables[selector.keys].place)] = selected * torch.from_numpy(patterns).float()
    already = torch.zeros(plan.d)
    for coordinate, value in plan.at_first(selector.keys).items():
        already[coordinate] = value
    at_first = selected if isinstance(sop, Share) else selected / 2
    key[told, AT_FIRST] = at_first - key[told] @ already - key_bias[told]

    if selector.last:
        query_bias[places] = 1.0
        for j, coordinate in enumerate(plan.variables[indices].place):
            key[places, coordinate] = step * j
    # What stands before the input looks at itself, and so holds what no input changes.
    query[firsts, AT_FIRST], key[firsts, AT_FIRST] = 1.0, 2 * selected
    return query, query_bias, key, key_bias


def _moved(sop: Aggregate | Share, plan: Plan) -> tuple[Tensor, Tensor]:
    place = plan.variables[sop].place
    if isinstance(sop, Share):
        return _rows([{AT_FIRST: 1.0}], plan.d), _rows([{place[0]: 1.0}], plan.d)
    source = plan.variables[sop.of]
    sources = dict(zip(source.values or ("",), source.place, strict=True))
    targets = dict(zip(plan.variables[sop].values or ("",), place, strict=True))
    default, already = plan.written(sop, sop.default), plan.at_first(sop.of)
    reads: list[dict[int, float]] = []
    for value, target in targets.items():
        row = {sources[value]: 1.0} if value in sources else {}
        there = sum(already.get(coordinate, 0.0) for coordinate in row)
        reads.append({**row, AT_FIRST: default.get(target, 0.0) - there})
    return _rows(reads, plan.d), _rows([{target: 1.0} for target in place], plan.d)


def _rows(rows: Iterable[dict[int, float]], d: int) -> Tensor:
    found = []
    for row in rows:
        found.append(torch.zeros(d))
        for coordinate, weight in row.items():
            found[-1][coordinate] = weight
    return torch.stack(found)


def _used(rows: Tensor) -> set[int]:
    return set(rows.abs().sum(0).nonzero().ravel().tolist())
