"""Diagnostics are what they say: half of the features, as many random ones, and weights in another order."""

import pytest
import torch

from physalis import dictionaries
from physalis.dictionaries import Crosscoder, CrossLayer, Tick
from physalis.suites import BestK, Permuted, random_like
from physalis.types import Batch

ONE_SITE = [each for each in dictionaries.ARCHITECTURES if each not in (Crosscoder, CrossLayer)]


def rows(tiny_activations, n=512):
    return next(iter(tiny_activations.train.batches(n, seed=0))).x.float()


def test_best_k_is_the_same_dictionary_of_which_some_are_silent(tiny_activations, tiny_dictionary):
    of, x = dictionaries.load(tiny_dictionary), rows(tiny_activations)
    best = BestK.chosen(of, x)
    left = best.left.bool()
    assert int(left.sum()) == of.config.n_features // 2
    whole, half = of.encode(x).dense(), best.encode(x).dense()
    assert torch.equal(half, whole * best.left)
    energy = (whole.square().sum(0) * of.writes(torch.arange(of.config.n_features)).square().sum(1)).tolist()
    assert min(e for e, kept in zip(energy, left, strict=True) if kept) >= max(
        e for e, kept in zip(energy, left, strict=True) if not kept
    )


def test_permuted_has_the_same_weights_and_says_something_else(tiny_activations, tiny_dictionary):
    of, x = dictionaries.load(tiny_dictionary), rows(tiny_activations)
    mean = tiny_activations.frame.mean_in
    permuted = Permuted(of, mean, seed=1)
    ids = torch.arange(of.config.n_features)
    assert torch.equal(permuted.writes(ids).sort(0).values, of.writes(ids).sort(0).values)
    assert torch.equal(permuted.reads(ids).sort(1).values, of.reads(ids).sort(1).values)
    assert torch.allclose(permuted.encode(mean[None]).dense(), of.encode(mean[None]).dense())
    codes = permuted.encode(x)
    by_hand = codes.dense() @ permuted.W_dec + of.decode(codes._replace(values=0 * codes.values))
    assert torch.allclose(permuted.rebuild(x, codes), by_hand, atol=1e-4)
    error = ((x - permuted(x)).square().sum() / (x - mean).square().sum()).item()
    assert error > 1 > ((x - of(x)).square().sum() / (x - mean).square().sum()).item()


def test_what_it_reads_is_the_gradient(tiny_activations, tiny_dictionary):
    of = dictionaries.load(tiny_dictionary, dtype=torch.float32)
    permuted = Permuted(of, tiny_activations.frame.mean_in, seed=1)
    x = rows(tiny_activations, 1).requires_grad_(True)
    codes = permuted.encode(x)
    codes.values[0, 0].backward()
    assert torch.allclose(x.grad[0], permuted.reads(codes.ids[0, :1])[0], atol=1e-5)


def test_random_directions_fire_as_often(tiny_activations, tiny_dictionary):
    of, x = dictionaries.load(tiny_dictionary), rows(tiny_activations)
    made = random_like(of, tiny_activations.frame, seed=1)
    assert made.config.n_features == of.config.n_features
    assert float((made.encode(x).values > 0).sum(1).float().mean()) <= of.config.k
    assert not torch.equal(made.W_dec, random_like(of, tiny_activations.frame, seed=2).W_dec)
    assert torch.equal(made.W_dec, random_like(of, tiny_activations.frame, seed=1).W_dec)


@pytest.mark.parametrize("architecture", ONE_SITE, ids=lambda each: each.__name__)
def test_every_architecture_has_diagnostics(architecture, tiny_activations):
    d = tiny_activations.d
    of = dictionaries.make(architecture.__name__, {"d_in": d, "d_out": d, "n_features": 4 * d, "k": 4})
    x = rows(tiny_activations)
    of.start(tiny_activations.frame.apply(next(iter(tiny_activations.train.batches(512, seed=0)))), seed=0)
    of.finish(tiny_activations.frame.apply(next(iter(tiny_activations.train.batches(512, seed=1)))))
    of.fold(tiny_activations.frame)
    of.requires_grad_(False)
    for made in (BestK.chosen(of, x), Permuted(of, tiny_activations.frame.mean_in, seed=0)):
        codes = made.encode(x)
        assert made.rebuild(x, codes).shape == x.shape and codes.dense().shape == (len(x), 4 * d)
        with pytest.raises(TypeError, match="not trained"):
            made.loss(Batch(x, x), Tick(0, 0.0, torch.zeros(4 * d, dtype=torch.bool)))


def test_a_transcoder_has_diagnostics_too(tiny_activations):
    d = tiny_activations.d
    frame = tiny_activations.frame
    other = frame._replace(mean_out=torch.zeros(7), scale_out=torch.ones(7))
    of = dictionaries.make("topk", {"d_in": d, "d_out": 7, "n_features": 50, "k": 4})
    made = random_like(of, other, seed=0)
    assert made(rows(tiny_activations, 3)).shape == (3, 7)
