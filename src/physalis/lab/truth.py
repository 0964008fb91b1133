"""score(): how much of a world's truth a dictionary found, on samples that it was not trained on.

A feature of the dictionary is matched with the true feature whose direction its own resembles most (|cosine|), and
judged as a detector of it: precision, recall, F1. MCC, uniqueness, precision, recall, F1, L0, dead, shrinkage and
explained variance are defined as in SAELens 6.54's ``eval_sae_on_synthetic_data``, so that numbers compare; the rest is
ours. Everything about firing follows from one table: how often each true feature fired beside each of the dictionary's.
"""

from dataclasses import dataclass, fields
from typing import Any, NamedTuple, Protocol, no_type_check, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64
from numba import njit
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from physalis.dictionaries.base import Dictionary
from physalis.errors import BadInput
from physalis.lab.worlds import Sample, World
from physalis.metrics import Interval, Ratio, Sums
from physalis.types import Codes

BLOCK = 16_384  # samples read at a time
GROUP = 1_024  # samples that a bootstrap keeps together
ENOUGH = 50  # samples on which a recall may be based


class Reading(NamedTuple):
    """What was read from a sample, and the activations rebuilt from it."""

    codes: Codes
    y_hat: Float32[Tensor, "tokens d"]


@runtime_checkable
class Reader(Protocol):
    """What ``score`` judges beside dictionaries: an oracle, for one, may look at the sample's own codes."""

    @property
    def directions(self) -> Float32[Tensor, "features d"]: ...

    def read(self, sample: Sample) -> Reading: ...


class Trained:
    """A dictionary as a Reader: it sees the activations only."""

    def __init__(self, dictionary: Dictionary) -> None:
        if not hasattr(dictionary, "W_dec"):
            raise BadInput(
                f"{type(dictionary).__name__} has no single direction for each feature, so there is nothing to match "
                "with the true directions. Score one whose features write along W_dec."
            )
        self.dictionary = dictionary

    @property
    def directions(self) -> Float32[Tensor, "features d"]:
        return self.dictionary.W_dec.detach().float().cpu()  # pyright: ignore[reportCallIssue]

    @torch.no_grad()
    def read(self, sample: Sample) -> Reading:
        codes = self.dictionary.encode(sample.x)
        return Reading(codes, self.dictionary.rebuild(sample.x, codes))


def as_reader(dictionary: Dictionary | Reader) -> Reader:
    """Raises BadInput if the dictionary's features have no directions of their own."""
    return Trained(dictionary) if isinstance(dictionary, Dictionary) else dictionary


@dataclass(frozen=True, eq=False)
class Learned:
    """Each feature of the dictionary, matched with the true feature it resembles most."""

    match: Int64[np.ndarray, " learned"]
    cosine: Float64[np.ndarray, " learned"]
    """|cosine| with the match."""
    rate: Float64[np.ndarray, " learned"]
    precision: Float64[np.ndarray, " learned"]
    recall: Float64[np.ndarray, " learned"]
    f1: Float64[np.ndarray, " learned"]


@dataclass(frozen=True, eq=False)
class Found:
    """Each true feature, and the feature of the dictionary that resembles it most."""

    rate: Float64[np.ndarray, " true"]
    by: Int64[np.ndarray, " true"]
    cosine: Float64[np.ndarray, " true"]
    f1: Float64[np.ndarray, " true"]
    """Of that feature as a detector of this one."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """Each parent and child among the true features, where both were seen often enough, the parent does not always
    fire, and one feature of the dictionary and the parent resemble each other most."""

    parent: Int64[np.ndarray, " pairs"]
    child: Int64[np.ndarray, " pairs"]
    recall_without: Float64[np.ndarray, " pairs"]
    """How often the parent's feature fires where the parent does and this child does not."""
    recall_with: Float64[np.ndarray, " pairs"]
    """... and where this child fires too. Absorption (arXiv 2409.14507) is the first less the second."""
    child_writes: Float64[np.ndarray, "pairs 2"]
    """What the child's feature writes along the parent's direction and the child's, as a vector of length 1: (.71, .71)
    where it does the parent's work, (0, 1) where it does its own. NaN where parent and child share one feature."""
    parent_writes: Float64[np.ndarray, "pairs 2"]
    """The same for the parent's feature: (1, 0) unless it writes some of the child, which is hedging (arXiv
    2505.11756)."""


@dataclass(frozen=True, eq=False)
class Truth:
    """How a dictionary stands to a world. Scalars first; ``to_dict`` gives these alone."""

    mcc: float
    """Mean |cosine| of the best one-to-one matching of directions (Hungarian algorithm)."""
    uniqueness: float
    """Different matches over features of the dictionary: below 1, several resemble the same true feature most."""
    precision: float
    """Mean over the dictionary's features, as are recall and f1; one that is never right counts 0, dead ones too."""
    recall: float
    f1: float
    l0: float
    true_l0: float
    dead: int
    """Features that fired on none of the samples."""
    shrinkage: float
    """Mean length of the reconstruction over that of the activation: 1 is none."""
    fvu: float
    explained_variance: float
    """1 - fvu."""
    absorption: float
    """Mean recall lost where a child fires, over pairs of parent and child; NaN without such pairs. 0 is none."""
    hedging: float
    """Mean share of a child's direction in its parent's feature; NaN without such pairs. 0 is none."""
    intervals: dict[str, Interval]
    """``{value, low, high}``, 95 %: over the dictionary's features for f1, precision, recall and mcc (how far another
    dictionary of the kind would be, were features independent), over samples for l0, fvu and shrinkage."""
    learned: Learned
    found: Found
    pairs: Pairs

    def to_dict(self) -> dict[str, Any]:
        """The scalars and their intervals, fit for JSON but that an unmeasured value is None."""
        scalars = {f.name: getattr(self, f.name) for f in fields(self) if f.type in (float, int)}
        return {k: None if v != v else v for k, v in scalars.items()} | {"intervals": self.intervals}

    def recovered(self, cosine: float = 0.8) -> float:
        """Share of the true features that some feature of the dictionary resembles more than that."""
        return float((self.found.cosine > cosine).mean())

    def by_frequency(self, bins: int = 8) -> list[dict[str, float]]:
        """Recovery against frequency: true features in ``bins`` equal groups from the most to the least frequent, each
        ``{rate_high, rate_low, n, cosine, f1}`` with the group's means."""
        order = np.argsort(-self.found.rate, kind="stable")
        groups = [group for group in np.array_split(order, bins) if len(group)]
        return [
            {
                "rate_high": float(self.found.rate[group[0]]), "rate_low": float(self.found.rate[group[-1]]),
                "n": len(group), "cosine": float(self.found.cosine[group].mean()),
                "f1": float(self.found.f1[group].mean()),
            }
            for group in groups
        ]  # fmt: skip


class _Table(NamedTuple):
    """Firings counted over ``n`` samples."""

    n: int
    together: np.ndarray
    """[learned, true]: samples on which both fired."""
    learned: np.ndarray
    true: np.ndarray


@njit(cache=True, nogil=True)
@no_type_check
def _count(values, ids, true_values, true_ids, together, learned, true):
    for i in range(len(ids)):
        for b in range(true_ids.shape[1]):
            if true_values[i, b] > 0:
                true[true_ids[i, b]] += 1
        for a in range(ids.shape[1]):
            if values[i, a] > 0:
                f = ids[i, a]
                learned[f] += 1
                for b in range(true_ids.shape[1]):
                    if true_values[i, b] > 0:
                        together[f, true_ids[i, b]] += 1


def score(dictionary: Dictionary | Reader, world: World, *, samples: int = 500_000, seed: int = 0) -> Truth:
    """Judge a dictionary by the world it was trained on, on ``samples`` samples of the stream named ``seed``.

    Raises BadInput if its width is not the world's, or if its features have no directions of their own.
    """
    reader = as_reader(dictionary)
    directions = reader.directions
    if directions.shape[1] != world.d:
        raise BadInput(f"The dictionary writes width {directions.shape[1]}; this world has width {world.d}.")
    shape = (len(directions), world.n_features)
    table = _Table(samples, np.zeros(shape, np.int32), np.zeros(shape[0], np.int64), np.zeros(shape[1], np.int64))
    sums = _Sums(-(-samples // GROUP), world.d)
    for at in range(0, samples, BLOCK):
        sample = world.sample(min(BLOCK, samples - at), seed=seed, start=at)
        reading = reader.read(sample)
        fired, own = ((c.values.detach().cpu().numpy(), c.ids.cpu().numpy()) for c in (reading.codes, sample.codes))
        _count(*fired, *own, *table[1:])
        sums.add(at, sample.x, reading)
    cosine = (_units(directions) @ _units(world.directions).T).abs().numpy().astype(np.float64)
    learned, found = _learned(cosine, table), _found(cosine, table)
    pairs = _pairs(directions, world, learned, found, table)
    rows, columns = linear_sum_assignment(cosine, maximize=True)
    each = {"mcc": cosine[rows, columns], "precision": learned.precision, "recall": learned.recall, "f1": learned.f1}
    intervals = {name: _over_features(values) for name, values in each.items()} | sums.estimates()
    fvu = intervals["fvu"]["value"]
    return Truth(
        **{name: intervals[name]["value"] for name in (*each, "l0", "shrinkage", "fvu")},
        explained_variance=1 - fvu,
        uniqueness=len(np.unique(learned.match)) / len(learned.match),
        true_l0=float(table.true.sum()) / samples,
        dead=int((table.learned == 0).sum()),
        absorption=float((pairs.recall_without - pairs.recall_with).mean()) if len(pairs.parent) else float("nan"),
        hedging=float(pairs.parent_writes[:, 1].mean()) if len(pairs.parent) else float("nan"),
        intervals=intervals,
        learned=learned,
        found=found,
        pairs=pairs,
    )


def _units(x: Tensor) -> Tensor:
    return x / x.norm(dim=1, keepdim=True).clamp_min(1e-8)


def _ratio(num: np.ndarray, den: np.ndarray) -> np.ndarray:
    """0 where there is nothing to divide."""
    return np.divide(num, den, out=np.zeros(np.broadcast(num, den).shape), where=den > 0)


def _learned(cosine: np.ndarray, table: _Table) -> Learned:
    match = cosine.argmax(1)
    row = np.arange(len(match))
    right = table.together[row, match]
    precision, recall = _ratio(right, table.learned), _ratio(right, table.true[match])
    f1 = _ratio(2 * precision * recall, precision + recall)
    return Learned(match, cosine[row, match], table.learned / table.n, precision, recall, f1)


def _found(cosine: np.ndarray, table: _Table) -> Found:
    by = cosine.argmax(0)
    column = np.arange(len(by))
    right = table.together[by, column]
    f1 = _ratio(2.0 * right, table.learned[by] + table.true)
    return Found(table.true / table.n, by, cosine[by, column], f1)


def _pairs(directions: Tensor, world: World, learned: Learned, found: Found, table: _Table) -> Pairs:
    parents = world.parent.numpy()
    child = np.flatnonzero(parents >= 0)
    parent = parents[child]
    without = table.true[parent] - table.true[child]
    usable = (learned.match[found.by[parent]] == parent) & (table.true[parent] < table.n)
    usable &= (table.true[child] >= ENOUGH) & (without >= ENOUGH)
    parent, child, without = parent[usable], child[usable], without[usable]
    of_parent, of_child = found.by[parent], found.by[child]
    beside = table.together[of_parent, child]
    w, truth = directions.double(), world.directions.double()
    plane = truth[parent], truth[child]
    child_writes = shares(w[of_child], *plane).numpy()
    return Pairs(
        parent=parent,
        child=child,
        recall_without=(table.together[of_parent, parent] - beside) / without,
        recall_with=beside / table.true[child],
        child_writes=np.where((of_parent == of_child)[:, None], np.nan, child_writes),
        parent_writes=shares(w[of_parent], *plane).numpy(),
    )


def shares(w: Float64[Tensor, "n d"], a: Float64[Tensor, "n d"], b: Float64[Tensor, "n d"]) -> Float64[Tensor, "n 2"]:
    """The coefficients of a and b (length 1) in the point of their plane nearest to w, as a vector of length 1. The
    larger is counted positive: a direction's sign is its own affair."""
    dot, wa, wb = (a * b).sum(1), (w * a).sum(1), (w * b).sum(1)
    both = torch.stack([wa - dot * wb, wb - dot * wa], 1)  # each too large by 1 - dot^2, which the length takes off
    larger = both.gather(1, both.abs().argmax(1, keepdim=True))
    return larger.sign() * both / both.norm(dim=1, keepdim=True).clamp_min(1e-12)


def _over_features(values: np.ndarray) -> Interval:
    sums, each = Sums(), torch.from_numpy(values)
    sums.add(Ratio(each, torch.ones_like(each)), torch.arange(len(values)))
    return sums.estimate()


class _Sums:
    """What is averaged over samples, summed by groups of them so that groups can be resampled."""

    def __init__(self, groups: int, d: int) -> None:
        self.l0, self.shrinkage, self.fvu = Sums(), Sums(), Sums()
        self.n = torch.zeros(groups, dtype=torch.float64)
        self.x = torch.zeros(groups, d, dtype=torch.float64)

    def add(self, at: int, x: Tensor, reading: Reading) -> None:
        group, one = torch.arange(at, at + len(x)) // GROUP, torch.ones(len(x))
        y_hat = reading.y_hat.detach().cpu()
        long = x.norm(dim=1)
        counts = (long > 1e-6).float()
        self.l0.add(Ratio((reading.codes.values.detach().cpu() > 0).sum(1).float(), one), group)
        self.shrinkage.add(Ratio(counts * y_hat.norm(dim=1) / long.clamp_min(1e-6), counts), group)
        self.fvu.add(Ratio((x - y_hat).norm(dim=1).double().square(), long.double().square()), group)
        self.n.index_add_(0, group, one.double())
        for i, part in enumerate(x.split(GROUP), at // GROUP):
            self.x[i] += part.sum(0)

    def estimates(self) -> dict[str, Interval]:
        mean = self.x.sum(0) / self.n.sum()
        # of squares about the mean, from those about 0
        self.fvu.den += (self.n * mean.square().sum() - 2 * self.x @ mean).numpy()
        return {name: getattr(self, name).estimate() for name in ("l0", "shrinkage", "fvu")}
