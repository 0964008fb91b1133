"""Dictionaries whose score is known beforehand: a metric that does not give it is wrong, not they.

Baselines that learn, with the decoder or the encoder frozen at random (arXiv 2602.14111), are ``train(frozen=...)``.
"""

import copy
from typing import NamedTuple, TypeVar

import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from physalis.dictionaries import TopK, TopKConfig
from physalis.dictionaries.kernels import rows
from physalis.dictionaries.linear import Linear
from physalis.errors import BadInput
from physalis.lab import recipes
from physalis.lab.truth import Reading
from physalis.lab.worlds import Sample, World
from physalis.types import Codes


class Oracle(NamedTuple):
    """True features' own directions, read off the sample's own codes: no activations are looked at."""

    directions: Float32[Tensor, "features d"]
    of: Int64[Tensor, " true"]
    """Which of its features, -1 for none, fires exactly where each true feature does."""
    bias: Float32[Tensor, " d"]

    def read(self, sample: Sample) -> Reading:
        ids = self.of[sample.codes.ids.long()]
        values = sample.codes.values * (ids >= 0)
        ids = ids.clamp_min(0)
        codes = Codes(values, ids.int())
        return Reading(codes, rows.add_rows(codes, self.directions, self.bias.repeat(len(values), 1)))


def most_frequent(world: World, n: int, *, samples: int = 100_000) -> Int64[Tensor, " n"]:
    """Ids of the ``n`` true features that fire most, by counting."""
    codes = world.sample(samples, seed=1).codes
    counts = torch.bincount(codes.ids[codes.values > 0].long(), minlength=world.n_features)
    return counts.argsort(descending=True, stable=True)[:n]


def oracle(world: World, n_features: int) -> Oracle:
    """The ``n_features`` most frequent true features. F1, precision, recall, MCC and uniqueness must be 1, absorption
    and hedging 0; of the variance it leaves what the features left out carry.

    Raises BadInput if the world has fewer features.
    """
    if not 0 < n_features <= world.n_features:
        raise BadInput(f"This world has {world.n_features} features; received n_features={n_features}.")
    chosen = most_frequent(world, n_features)
    of = torch.full((world.n_features,), -1)
    of[chosen] = torch.arange(n_features)
    return Oracle(world.directions[chosen], of, world.bias)


D = TypeVar("D", Oracle, Linear)


def permuted(dictionary: D, *, seed: int = 0) -> D:
    """The same codes, but each feature has the direction of another: MCC and uniqueness stay, F1 falls to chance, and
    nothing is rebuilt."""
    if isinstance(dictionary, Oracle):
        return dictionary._replace(directions=_shuffled(dictionary.directions, seed))
    other = copy.deepcopy(dictionary)
    other.dec.data.copy_(_shuffled(dictionary.dec.data, seed))
    other.dec.refresh()
    return other


def _shuffled(rows: Tensor, seed: int) -> Tensor:
    """Rows in another order, none in its place."""
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
    return rows[order[(order.argsort() + 1) % len(rows)]]


def random_directions(world: World, n_features: int, *, k: int, seed: int = 0) -> TopK:
    """A TopK dictionary that learned nothing: random directions, which it reads and writes along. Chance for all
    metrics, and for MCC chance is far from 0 where directions are many."""
    d = world.d
    dictionary = TopK(TopKConfig(d_in=d, d_out=d, n_features=n_features, k=k))
    generator = recipes.generator("random directions", seed)
    directions = torch.nn.functional.normalize(torch.randn(n_features, d, generator=generator), dim=1)
    dictionary.enc.data.copy_(directions)
    dictionary.dec.data.copy_(directions)
    dictionary.b_dec.data.copy_(world.bias)
    dictionary.centre.copy_(world.bias)
    dictionary.enc.refresh()
    dictionary.requires_grad_(False)
    return dictionary
