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


def documents(rng, n, unequal):
    """Two levels, of true mean 2: documents differ by .5, their tokens by 1 more. (number of its document, value) of
    every token."""
    sizes = np.maximum(3, rng.lognormal(np.log(60), unequal, n)).astype(int)
    of = np.repeat(np.arange(n), sizes)
    return of, 2 + rng.normal(0, 0.5, n)[of] + rng.normal(0, 1, len(of))


def summed(of, x, den=None):
    sums = Sums()
    sums.add(metrics.Ratio(torch.from_numpy(x), torch.from_numpy(np.ones_like(x) if den is None else den)), of)
    return sums


def coverage(make, truth, trials=400):
    found = [e for e in (make() for _ in range(trials)) if e["low"] is not None]  # one document may be nearly all
    assert len(found) > 0.95 * trials
    return np.mean([e["low"] <= truth <= e["high"] for e in found])


@pytest.mark.parametrize("n", [6, 11, 40, 200])
@pytest.mark.parametrize("unequal", [0, 1])
def test_intervals_over_documents_cover_the_truth(n, unequal):
    rng = np.random.default_rng(n)
    assert 0.90 <= coverage(lambda: summed(*documents(rng, n, unequal)).estimate(), 2) <= 0.98


def test_intervals_over_tokens_or_contexts_would_not():
    """The data of the test above tell the two apart: as if contexts of 8 tokens were documents, most miss."""
    rng = np.random.default_rng(0)

    def by_context():
        _, x = documents(rng, 11, 1)
        return summed(np.arange(len(x)) // 8, x).estimate()

    assert coverage(by_context, 2) < 0.75


def test_intervals_shrink_with_the_root_of_the_documents():
    rng = np.random.default_rng(0)
    width = {
        n: np.mean([e["high"] - e["low"] for e in (summed(*documents(rng, n, 0)).estimate() for _ in range(40))])
        for n in (20, 320)
    }
    assert width[320] == pytest.approx(width[20] / 4, rel=0.3)


def test_documents_count_whole():
    """Ten copies of the same token in each document do not make the interval narrower, nor does their order."""
    x = np.random.default_rng(0).normal(size=30)
    once, often = summed(np.arange(30), x).estimate(), Sums()
    of = np.random.default_rng(1).permutation(np.repeat(np.arange(30), 10))
    for part in np.split(of, 7 * np.arange(1, 40)):
        often.add(metrics.Ratio(torch.from_numpy(x[part]), torch.ones(len(part))), torch.from_numpy(part))
    assert often.estimate() == pytest.approx(once)


def test_sums_take_memory_for_the_documents_they_met():
    sums = summed(np.array([2_000_000_000, 7, 2_000_000_000]), np.array([1.0, 2.0, 3.0]))
    assert (sums.ids.tolist(), sums.num.tolist(), sums.den.tolist()) == ([7, 2_000_000_000], [2, 4], [1, 2])


def test_too_few_documents_give_no_interval():
    for n in range(1, metrics.ENOUGH):
        assert summed(np.arange(n), np.arange(1.0, n + 1)).estimate() == {
            "value": pytest.approx((n + 1) / 2), "low": None, "high": None,
        }  # fmt: skip
    x, one_is_nearly_all = np.arange(1.0, 10), np.array([1e4, *np.ones(8)])
    assert summed(np.arange(9), x).estimate()["low"] is not None
    assert summed(np.arange(9), x, one_is_nearly_all).estimate()["low"] is None
    with pytest.raises(ValueError, match="nothing"):
        Sums().estimate()


def test_a_paired_difference_is_known_better_than_either():
    rng = np.random.default_rng(0)
    narrower = []

    def paired():
        of, x = documents(rng, 11, 1)
        a, b = summed(of, x + 0.1 + rng.normal(0, 0.3, len(x))), summed(of, x)
        found, alone = metrics.difference(a, b), a.estimate()
        narrower.append((found["high"] - found["low"]) / (alone["high"] - alone["low"]))
        return found

    assert 0.90 <= coverage(paired, 0.1) <= 0.98
    assert np.mean(narrower) < 0.3
    with pytest.raises(ValueError, match="same documents"):
        metrics.difference(summed(np.arange(9), np.ones(9)), summed(np.arange(8), np.ones(8)))


def test_shares_of_features_have_wilsons_interval():
    few = metrics.share_estimate(metrics.Ratio(torch.zeros(50), torch.ones(50)))
    assert few["value"] == 0 and few["low"] == 0
    assert few["high"] == pytest.approx(0.0714, abs=1e-3)


def test_every_metric_says_what_it_is():
    for metric in (*metrics.RECONSTRUCTION, *metrics.SPLICE, *metrics.FIRING):
        assert metric.__doc__ and metric.__doc__[0].isupper()


def test_a_batch_of_nothing_changes_nothing():
    sums = Sums()
    sums.add(metrics.Ratio(torch.tensor([1.5, 2.5]), torch.ones(2)), np.array([0, 1]))
    nothing = torch.empty(0)
    sums.add(metrics.Ratio(nothing, nothing), np.empty(0, np.int64))
    assert sums.num.tolist() == [1.5, 2.5] and sums.den.tolist() == [1, 1]


def test_a_denominator_that_is_noise_divides_nothing():
    """What was lost is measured, too: where its documents disagree on its sign, no share of it was recovered."""
    sure, noise = Sums(), Sums()
    documents = np.arange(20)
    sure.add(metrics.Ratio(torch.ones(20), 2 + torch.arange(20) % 3), documents)
    noise.add(metrics.Ratio(torch.ones(20), torch.tensor([1.0, -1.1] * 9 + [1.0, 1.0])), documents)
    assert sure.divides and noise and not noise.divides and not Sums().divides
