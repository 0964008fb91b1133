"""head_features: which transcoder features a head moves and compares, by weights alone.

A feature of an earlier layer writes a direction into the stream; a head takes it along (OV) to where a later layer's
feature reads it, and looks from one feature's place to another's (QK). Both are sums over directions, which are given
length 1 here, for what a feature's code is worth depends on the text: what is said holds for any text, and no prompt is
needed. ``qk_attribution`` and ``head_loadings`` say what happens on one.

With so many pairs the largest are large by chance. So beside them stand the largest of pairs of directions of chance.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from physalis.circuits.attention.block_maps import block_maps
from physalis.circuits.attention.head_scores import Head
from physalis.circuits.attention.head_weights import Circuit, ov_circuits, qk_circuits
from physalis.circuits.sets.transcoder_set import TranscoderSet
from physalis.errors import BadInput
from physalis.models import Model
from physalis.placement.origin import Origin
from physalis.site import Site

BLOCK = 2048
"""Features on each side whose pairs are looked at at once."""
WEIGHTS = 1 << 28
"""Numbers that the norms' matrices have that are read in one pass."""
GAIN = 0.99
"""Quantile of directions of chance that is told."""


class FeatureAt(NamedTuple):
    """A feature of one layer's transcoder."""

    layer: int
    feature: int

    def __str__(self) -> str:
        return f"L{self.layer}.{self.feature}"


class Moved(NamedTuple):
    """A feature, and how long what a head makes of its direction is."""

    feature: FeatureAt
    length: float


class FeaturePair(NamedTuple):
    """One feature on each side of a head."""

    source: FeatureAt
    """OV: whose writing is moved. QK: on the query's side."""
    target: FeatureAt
    """OV: which reads what was moved. QK: on the key's side."""
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadFeatures:
    """Of one head; the largest first."""

    head: Head
    moved: tuple[Moved, ...]
    """Features of earlier layers by how much of their direction passes the head. Empty for QK."""
    moved_by_chance: float
    """The length that 1 % of directions of chance exceed."""
    pairs: tuple[FeaturePair, ...]
    by_chance: float
    """The largest pair, by size, of directions of chance, ``drawn`` on each side."""
    drawn: int
    compared: int
    """Pairs of features."""


def moved_features(
    model: Model, transcoders: TranscoderSet, head: Head, *, n: int = 20, drawn: int = 2048, seed: int = 0
) -> HeadFeatures:
    """What a head moves: features of earlier layers, and the pairs of one of those and one of this or a later layer
    (of a later one where the MLP stands beside attention) that reads what the head writes of it.

    Exact over all pairs, in blocks. Norms' scales are held at 1. Raises BadInput for a head that the model does not
    have, for transcoders of another model, for a set without features before or behind the head, and as
    ``ov_circuits`` does."""
    circuit = _one(ov_circuits(model, [head.layer]), model, head)
    beside = not _has(model, Site("resid_mid", head.layer))
    sources = _written(model, transcoders, head)
    enters = "resid_pre" if beside else "resid_mid"
    later = [layer for layer in transcoders if layer >= head.layer + beside]
    targets, each = {}, max(1, WEIGHTS // model.d_model**2)
    for i in range(0, len(later), each):
        for site, through in block_maps(model, enters, ["mlp_in"], later[i : i + each]).items():
            layer = site.layer or 0
            targets[layer] = _unit(_reads(transcoders, layer).to(through.device) @ through[0].T)
    if not targets:
        raise BadInput(f"The set has no transcoder of a layer that reads what {head} writes: there is nothing to tell.")
    taken = {layer: rows @ circuit.left for layer, rows in sources.items()}
    by_length = _best({layer: (x @ circuit.right).norm(dim=1) for layer, x in taken.items()}, n)
    random = _random(circuit, drawn, seed)
    chance = (random[0] @ circuit.matrix()).norm(dim=1).quantile(GAIN)
    given = {layer: rows @ circuit.right.T for layer, rows in targets.items()}
    return _found(head, circuit, taken, given, random, n, moved=by_length, moved_by_chance=float(chance))


def compared_features(
    model: Model, transcoders: TranscoderSet, head: Head, *, offset: int = 1, n: int = 20, drawn: int = 2048,
    seed: int = 0,
) -> HeadFeatures:  # fmt: skip
    """What makes a head look, or look away: pairs of features of earlier layers, one where it stands and one ``offset``
    positions before. Raises BadInput as ``moved_features`` and ``qk_circuits`` do."""
    circuit = _one(qk_circuits(model, [head.layer], offset=offset), model, head)
    sources = _written(model, transcoders, head)
    asked = {layer: rows @ circuit.left for layer, rows in sources.items()}
    offered = {layer: rows @ circuit.right.T for layer, rows in sources.items()}
    return _found(head, circuit, asked, offered, _random(circuit, drawn, seed), n)


def _found(
    head: Head, circuit: Circuit, left: dict[int, Tensor], right: dict[int, Tensor], random: tuple[Tensor, Tensor],
    n: int, moved: Sequence[Moved] = (), moved_by_chance: float = 0.0,
) -> HeadFeatures:  # fmt: skip
    pairs = _best_pairs(left, right, n)
    chance = float(((random[0] @ circuit.left) @ (random[1] @ circuit.right.T).T).abs().max())
    sides = [sum(len(x) for x in side.values()) for side in (left, right)]
    return HeadFeatures(
        head=head, moved=tuple(moved), moved_by_chance=moved_by_chance, pairs=tuple(pairs), by_chance=chance,
        drawn=len(random[0]), compared=sides[0] * sides[1],
    )  # fmt: skip


def _one(circuits: dict[Head, Circuit], model: Model, head: Head) -> Circuit:
    if head not in circuits:
        n = len(circuits)
        raise BadInput(f"Layer {head.layer} of {model.name} has heads 0 to {n - 1}; received {head}.")
    return circuits[head]


def _has(model: Model, site: Site) -> bool:
    return site in {each.site for each in model.sites()}


def _written(model: Model, transcoders: TranscoderSet, head: Head) -> dict[int, Float[Tensor, "features d_model"]]:
    """The directions that features of earlier layers write, of length 1."""
    for layer in transcoders:
        origin = Origin.of(transcoders.about(layer))
        origin.check_model(model)
        if origin.reads != (Site("mlp_in", layer),) or origin.writes != (Site("mlp_out", layer),):
            raise BadInput(
                f"The transcoder of layer {layer} does not read L{layer}.mlp_in and write L{layer}.mlp_out, so what it "
                "has to do with heads is not known. Train it with `physalis transcode`."
            )
    earlier = [layer for layer in transcoders if layer < head.layer]
    if not earlier:
        raise BadInput(f"The set has no transcoder of a layer before {head}: no feature's writing reaches it.")
    return {layer: _unit(transcoders[layer].writes(_ids(transcoders, layer)).to(model.device)) for layer in earlier}


def _reads(transcoders: TranscoderSet, layer: int) -> Float[Tensor, "features d_in"]:
    return transcoders[layer].reads(_ids(transcoders, layer)).float()


def _ids(transcoders: TranscoderSet, layer: int) -> Tensor:
    return torch.arange(transcoders[layer].config.n_features, device=transcoders.device)


def _unit(rows: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    return torch.nn.functional.normalize(rows.detach().float(), dim=1)


def _random(circuit: Circuit, n: int, seed: int) -> tuple[Tensor, Tensor]:
    if n < 1:
        raise BadInput(f"At least 1 direction of chance is drawn on each side; received {n}.")
    rows = torch.randn(2, n, len(circuit.left), generator=torch.Generator().manual_seed(seed))
    first, second = _unit(rows.flatten(0, 1)).to(circuit.left.device).chunk(2)
    return first, second


def _best(values: dict[int, Float[Tensor, " features"]], n: int) -> list[Moved]:
    if n < 1:
        raise BadInput(f"At least 1 feature is listed; received {n}.")
    every = [
        Moved(FeatureAt(layer, int(i)), float(x[i])) for layer, x in values.items() for i in x.topk(min(n, len(x)))[1]
    ]
    return sorted(every, key=lambda each: -each.length)[:n]


def _best_pairs(left: dict[int, Tensor], right: dict[int, Tensor], n: int) -> list[FeaturePair]:
    """The ``n`` pairs of rows with the largest products, by size. A product is at most one length times the other, so
    with the longest first most blocks need not be looked at."""
    if n < 1:
        raise BadInput(f"At least 1 pair is listed; received {n}.")
    (x, at_x), (y, at_y) = _longest_first(left), _longest_first(right)
    best, where = x.new_zeros(0), torch.zeros(0, 2, dtype=torch.long)
    for i in range(0, len(x), BLOCK):
        for j in range(0, len(y), BLOCK):
            bound = float(x[i].norm() * y[j].norm())
            if len(best) == n and bound <= float(best[-1].abs()):
                break
            products = (x[i : i + BLOCK] @ y[j : j + BLOCK].T).flatten()
            some = products.abs().topk(min(n, len(products))).indices
            width = min(BLOCK, len(y) - j)
            best = torch.cat([best, products[some]])
            where = torch.cat([where, torch.stack([i + some // width, j + some % width], 1).cpu()])
            order = best.abs().topk(min(n, len(best))).indices
            best, where = best[order], where[order.cpu()]
    return [
        FeaturePair(at_x[a], at_y[b], value)
        for (a, b), value in zip(where.tolist(), best.tolist(), strict=True)
    ]  # fmt: skip


def _longest_first(rows: dict[int, Tensor]) -> tuple[Tensor, list[FeatureAt]]:
    x = torch.cat([*rows.values()])
    named = [FeatureAt(layer, i) for layer, own in rows.items() for i in range(len(own))]
    order = x.norm(dim=1).argsort(descending=True, stable=True)
    return x[order], [named[i] for i in order.tolist()]
