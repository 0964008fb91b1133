"""Metrics add up, divide once, and give the values that perfect and mean predictions must give."""

import numpy as np
import pytest
import torch

from physalis import metrics
from physalis.metrics import Firing, Reconstruction, Splice, Sums
from physalis.types import Codes


def reconstruction(n=40, seed=0, y_hat=None):
    g = torch.Generator().manual_seed(seed)
    y = torch.randn(n, 6, generator=g) + 3
    codes = Codes((torch.rand(n, 4, generator=g) - 0.5).clamp_min(0), torch.zeros(n, 4, dtype=torch.int32))
    y_hat = y + 0.1 * torch.randn(n, 6, generator=g) if y_hat is None else y_hat(y)
    return Reconstruction(y, y_hat, codes, torch.full((6,), 3.0))


def value(ratio):
    return float(ratio.num.sum() / ratio.den.sum())


def joined(a, b):
    codes = Codes(*(torch.cat(pair) for pair in zip(a.codes, b.codes, strict=True)))
    return Reconstruction(torch.cat([a.y, b.y]), torch.cat([a.y_hat, b.y_hat]), codes, a.mean)


@pytest.mark.parametrize("metric", metrics.RECONSTRUCTION)
def test_the_sums_of_two_batches_are_those_of_both(metric):
    a, b = reconstruction(seed=1), reconstruction(n=13, seed=2)
    both, parts = metric(joined(a, b)), (metric(a), metric(b))
    assert torch.allclose(both.num.sum(), sum(p.num.sum() for p in parts))
    assert torch.allclose(both.den.sum(), sum(p.den.sum() for p in parts))


def test_perfect_and_mean_reconstructions():
    perfect = reconstruction(y_hat=lambda y: y.clone())
    mean = reconstruction(y_hat=lambda y: torch.full_like(y, 3.0))
    assert value(metrics.fvu(perfect)) == 0
    assert value(metrics.cosine(perfect)) == pytest.approx(1)
    assert value(metrics.fvu(mean)) == 1


def test_fvu_is_not_an_average_of_ratios():
    small, large = reconstruction(seed=1), reconstruction(seed=2)
    large = large._replace(y=large.mean + 100 * (large.y - large.mean), y_hat=large.mean + 100 * (large.y - large.mean))
    average = (value(metrics.fvu(small)) + value(metrics.fvu(large))) / 2
    assert value(metrics.fvu(joined(small, large))) < average / 10


def test_l0_counts_what_fires():
    r = reconstruction()
    assert value(metrics.l0(r)) == pytest.approx(float((r.codes.values > 0).sum()) / 40)


def splice(n=50):
    clean = torch.rand(n) + 1
    return Splice(clean, clean + 0.1, clean + 9, clean + 4, torch.full((n,), 0.2))


@pytest.mark.parametrize(
    ("metric", "wanted"),
    [("ce_increase", 0.1), ("kl", 0.2), ("loss_recovered_zero", 8.9 / 9), ("loss_recovered_mean", 3.9 / 4)],
)
def test_splice_metrics(metric, wanted):
    assert value(getattr(metrics, metric)(splice())) == pytest.approx(wanted, rel=1e-4)


def test_firing_metrics():
    firing = Firing(torch.tensor([0, 5, 200, 0]), 1000)
    assert value(metrics.dead_fraction(firing)) == 0.5
    assert value(metrics.dense_fraction(firing)) == 0.25
    edges, counts = metrics.log_density_histogram(firing)
    assert sum(counts) == 2 and len(edges) == len(counts) + 1


def test_intervals_cover_the_truth_and_shrink():
    rng = np.random.default_rng(0)
    covered, widths = 0, {20: [], 320: []}
    for trial in range(60):
        for n in widths:
            sums = Sums(n)
            x = torch.from_numpy(rng.normal(2.0, 1.0, n))
            sums.add(metrics.Ratio(x.float(), torch.ones(n)), torch.arange(n))
            e = sums.estimate(resamples=300, seed=trial)
            widths[n].append(e["high"] - e["low"])
            covered += n == 320 and e["low"] <= 2 <= e["high"]
    assert covered >= 50  # of 60; 57 expected
    assert np.mean(widths[320]) == pytest.approx(np.mean(widths[20]) / 4, rel=0.3)


def test_contexts_are_resampled_whole():
    """Ten copies of the same token in each context do not make the interval narrower."""
    x = torch.randn(30)
    once, often = Sums(30), Sums(30)
    once.add(metrics.Ratio(x, torch.ones(30)), torch.arange(30))
    often.add(metrics.Ratio(x.repeat(10), torch.ones(300)), torch.arange(30).repeat(10))
    a, b = once.estimate(), often.estimate()
    assert a["low"] == pytest.approx(b["low"], abs=1e-6) and a["high"] == pytest.approx(b["high"], abs=1e-6)


def test_shares_of_features_have_wilsons_interval():
    few = metrics.share_estimate(metrics.Ratio(torch.zeros(50), torch.ones(50)))
    assert few["value"] == 0 and few["low"] == 0
    assert few["high"] == pytest.approx(0.0714, abs=1e-3)


def test_every_metric_says_what_it_is():
    for metric in (*metrics.RECONSTRUCTION, *metrics.SPLICE, *metrics.FIRING):
        assert metric.__doc__ and metric.__doc__[0].isupper()
