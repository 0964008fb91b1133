"""reading_heads: read_head, what an attention head computes: where it looks, by a relation, and what it carries.

1. What it mixes is held at its mean for each value of some variable, weighted by how much each place is looked at: the
   fewest values with which the answers stay are what it carries.
2. Relations of a variable there and one here, and choices among what they allow, are compared with the model's own
   patterns. Of the nearest the shortest is taken whose result says what the head writes: held at its mean for each
   value of that, it leaves the answers. What other variables say of the position that looks is known, and may stay.
"""

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from physalis.lab.decompiling.programs.columns import Array, Column, Value, joint
from physalis.lab.decompiling.programs.program import POSITIONS, TOKENS
from physalis.lab.decompiling.programs.relations import (
    ALL,
    Relation,
    constant_relations,
    listed_relation,
    short_relations,
)
from physalis.lab.decompiling.programs.steps import Attend, Choice, Selection
from physalis.lab.decompiling.workbench import MATTERS_NOT, NOTHING_NEW, Workbench
from physalis.site import Site

TRIED = 24
"""Selections, those nearest to where a head looks."""
COMPARED = 64
"""Inputs on which selections are compared with the model's patterns."""
RESTS = 1
"""Tokens at the beginning to which a head may look, as well as to what inputs begin with or everywhere alike, where it
looks for nothing."""
MOST_LISTED = 400
"""Pairs of values that a relation may list."""
MOST_COUNTED = 12
"""Values of which a head may take a mean, or counts."""
CHOICES: tuple[Choice, ...] = ("latest", "earliest", "least", "greatest")


class _Near(NamedTuple):
    """A selection, and which share of the head's attention is where it says, to each place as much as it says."""

    selection: Selection
    share: float


def read_head(
    bench: Workbench, layer: int, head: int, z: Float[Tensor, "inputs places width"]
) -> tuple[Float[Tensor, "inputs places width"], str | None]:
    """Understand a head: a step more, or none where it does not matter. ``z`` is what the heads of its layer write,
    those before it as they are understood; it is returned with this one understood too, or with a sentence that says
    why it is not."""
    site, name = Site("z", layer), f"L{layer}.H{head}"
    seen = bench.passes.read([Site("attn_pattern", layer), Site("v", layer)], bench.held)
    patterns, v = seen[Site("attn_pattern", layer)], seen[Site("v", layer)]
    pattern, part = patterns[:, head], z.shape[-1] // patterns.shape[1]
    own = slice(head * part, (head + 1) * part)
    moved_by = head * (v.shape[-1] // part) // patterns.shape[1]  # several heads may share what they mix
    v, weights = v[..., moved_by * part : (moved_by + 1) * part], bench.relevant(layer)

    def put(value: Tensor) -> Tensor:
        out = z.clone()
        out[..., own] = value
        return out

    everything = bench.joint([*bench.columns])
    few = len(everything.values) <= bench.most_cells
    for cells in (None, bench.columns[POSITIONS], *([everything] if few else [])):
        value = put(bench.means(z[..., own], cells, weights)[1])
        if bench.leaves(site, value):
            bench.said[name] = MATTERS_NOT if cells is None else NOTHING_NEW
            return value, None
    carried = _carried(bench, put, site, pattern, v, weights)
    if carried is None:
        return z, f"What {name} mixes is no table of one or two of {', '.join(bench.columns)}"
    contexts = ((), (POSITIONS,), *([tuple(bench.columns)] if few else []))
    tried = set()
    for near in _nearest(bench, pattern, weights):
        for step in _steps(bench, name, near.selection, carried, v):
            new = step.column(bench.columns, bench.visible)
            if len(new.values) < 2 or (key := new.codes.tobytes()) in tried:
                continue
            tried.add(key)
            coarser = None
            for context in contexts:
                cells = joint([new, *(bench.columns[each] for each in context)])
                if len(cells.values) > bench.most_cells:
                    break
                coarser = bench.means(z[..., own], cells, weights, coarser)[1]
                value = put(coarser)
                if bench.leaves(site, value):
                    root = bench.roots.get(step.of or "") if step.carries == "value" else None
                    bench.add(step, new, root=root, note=f"{near.share:.0%} of its attention")
                    return value, None
    return z, f"Where {name} looks is said by no relation of {', '.join(bench.columns)} that was tried"


def _carried(
    bench: Workbench, put: Callable[[Tensor], Tensor], site: Site, pattern: Tensor, v: Tensor, weights: Array
) -> tuple[str, ...] | None:
    """The variables, none among them, that say as much of what is mixed as the answers need; but for what the position
    that looks says alone."""
    start = bench.passes.start
    looks = torch.from_numpy(weights).to(pattern)
    received = (pattern[:, start:] * looks[..., None]).sum(1)[:, start:].double().numpy()
    for names in ((), *bench.subsets(2)):
        mixed = pattern @ bench.means(v, bench.joint(names) if names else None, received)[1]
        rest = bench.means(pattern @ v - mixed, bench.columns[POSITIONS], weights)[1]
        if any(bench.leaves(site, put(value)) for value in (mixed, mixed + rest)):
            return names
    return None


def _nearest(bench: Workbench, pattern: Tensor, weights: Array) -> list[_Near]:
    """The selections that are nearest to a head's patterns, the shortest first."""
    rows = np.flatnonzero(bench.learns)[:COMPARED]
    own = pattern[torch.from_numpy(rows)][:, bench.passes.start :].double().numpy()
    if not bench.passes.start:
        own = np.concatenate([np.zeros_like(own[..., :1]), own], -1)
    few = {name: Column(each.values, each.codes[rows]) for name, each in bench.columns.items()}
    looks, found = weights[rows], []
    even = np.concatenate([np.ones_like(own[..., :1]), bench.visible[rows]], -1)
    even = np.minimum(even / even.sum(-1, keepdims=True), own).sum(-1)
    idle = np.maximum(even, own[..., : 1 + RESTS].sum(-1))
    for selection in _selections(few, own[..., 1:], looks):
        chosen = selection.chosen(few, bench.visible[rows])
        shared = np.where(
            chosen.any(-1) | selection.with_start,
            np.minimum(selection.pattern(chosen), own).sum(-1),
            idle,
        )
        found.append(_Near(selection, float((shared * looks).sum() / looks.sum())))
    found.sort(key=lambda near: -near.share)

    def simplicity(near: _Near) -> tuple[float, ...]:
        values = (len(few[name].values) for name in (near.selection.keys, near.selection.queries))
        return near.selection.length, -round(near.share, 3), sum(values)

    return sorted(found[:TRIED], key=simplicity)


def _selections(columns: dict[str, Column], own: Array, looks: Array) -> Iterator[Selection]:
    yield from (Selection(TOKENS, TOKENS, ALL, "all", with_start) for with_start in (False, True))
    yield from (Selection(TOKENS, TOKENS, ALL, choice, False) for choice in CHOICES[:2])
    for keys, key in columns.items():
        yield from (Selection(keys, TOKENS, ALL, choice, False) for choice in CHOICES[2:])
        for relation in constant_relations(key.values):
            yield from _chosen(keys, TOKENS, relation)
        for queries, query in columns.items():
            listed = _listed(key, query, own, looks)
            for relation in (*short_relations(key.values, query.values), *([] if listed is None else [listed])):
                yield from _chosen(keys, queries, relation)


def _chosen(keys: str, queries: str, relation: Relation) -> Iterator[Selection]:
    yield from (Selection(keys, queries, relation, "all", with_start) for with_start in (False, True))
    yield from (Selection(keys, queries, relation, choice, False) for choice in CHOICES)


def _listed(key: Column, query: Column, own: Array, looks: Array) -> Relation | None:
    """The pairs of values of which most are looked at: at least half as much as what is looked at most."""
    pairs = len(key.values) * len(query.values)
    if pairs > MOST_LISTED:
        return None
    seen = own >= 0.5 * np.maximum(own.max(-1, keepdims=True), 0.1)
    there = (key.codes >= 0)[:, None, :] & (looks > 0)[..., None] & (query.codes >= 0)[..., None]
    cell = query.codes[..., None] * len(key.values) + key.codes[:, None, :]
    hits = np.bincount(cell[there], weights=seen[there].astype(float), minlength=pairs)
    among = np.bincount(cell[there], minlength=pairs)
    shares = (hits / np.maximum(1, among)).reshape(len(query.values), len(key.values))
    return listed_relation(shares, key.values, query.values)


def _steps(bench: Workbench, name: str, selection: Selection, carried: tuple[str, ...], v: Tensor) -> Iterator[Attend]:
    """What can come of a selection, the simplest first."""
    fresh = bench.fresh()
    if not selection.with_start:
        yield Attend(fresh, name, selection, "exists", None)
    if not carried:
        yield Attend(fresh, name, selection, "width", None)
    for of in carried:
        if _is_one(bench, selection, of):
            yield Attend(fresh, name, selection, "value", of)
        if selection.choice == "all" and len(bench.columns[of].values) <= MOST_COUNTED:
            numbers = _numbers(bench, bench.columns[of], v)
            yield Attend(fresh, name, selection, "mean", of, numbers)
            yield Attend(fresh, name, selection, "counts", of, dict.fromkeys(numbers, Fraction(1)))


def _is_one(bench: Workbench, selection: Selection, of: str) -> bool:
    """Whether all that is selected has one value."""
    if selection.choice != "all":
        return True
    chosen = selection.chosen(bench.columns, bench.visible)
    codes = bench.columns[of].codes[:, None, :]
    most, least = np.where(chosen, codes, -1).max(-1), np.where(chosen, codes, np.iinfo(np.int64).max).min(-1)
    return bool((most <= least).all())


def _numbers(bench: Workbench, of: Column, v: Tensor) -> dict[Value, Fraction]:
    """How far each value lies along the line on which what is mixed differs most, from -1 to 1."""
    means, _ = bench.means(v, of, bench.exists.astype(float))
    centred = (means - means.mean(0)).double()
    along = (centred @ torch.linalg.svd(centred, full_matrices=False)[2][0]).numpy()
    along = along if along[0] > 0 else -along  # a line has no direction: the first value is above
    scaled = 2 * (along - along.min()) / max(1e-12, np.ptp(along)) - 1
    return {value: Fraction(float(x)).limit_denominator(20) for value, x in zip(of.values, scaled, strict=True)}
