"""Truth: every metric against its definition written out densely, and against dictionaries whose score is known."""

import json

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from physalis.dictionaries import CrossLayer, CrossLayerConfig, TopK, TopKConfig
from physalis.errors import BadInput
from physalis.lab.oracles import most_frequent, oracle, permuted, random_directions
from physalis.lab.recipes import Recipe
from physalis.lab.truth import score
from physalis.lab.worlds import World

N = 20_000


@pytest.fixture(scope="module")
def world():
    return World.make(Recipe(n_features=80, d=20, n_roots=3, branching=3, depth=2, rank=3, correlation=0.2))


@pytest.fixture(scope="module")
def learned(world):
    """Partly right: noisy directions of some true features, two of them of the same one, and a dead one."""
    dictionary = random_directions(world, 30, k=4)
    of = torch.arange(30).clamp_min(1)
    noisy = torch.nn.functional.normalize(world.directions[of] + 0.6 * dictionary.W_dec / 20**0.5 * 4, dim=1)
    dictionary.dec.data.copy_(-2 * noisy)
    dictionary.enc.data.copy_(noisy)
    dictionary.b_enc.data[7] = -1e6
    dictionary.enc.refresh()
    return dictionary


def dense(codes, features):
    out = np.zeros((len(codes.ids), features))
    rows, columns = np.nonzero(codes.values.numpy())
    out[rows, codes.ids.numpy()[rows, columns]] = codes.values.numpy()[rows, columns]
    return out


def test_every_metric_is_what_its_definition_says(world, learned):
    truth = score(learned, world, samples=N, seed=3)
    sample = world.sample(N, seed=3)
    codes = learned.encode(sample.x)
    ours, true = dense(codes, 30) > 0, dense(sample.codes, 80) > 0
    x, y_hat = sample.x.double().numpy(), learned.decode(codes).double().numpy()
    w = learned.W_dec.double().numpy()
    cosine = np.abs(w / np.linalg.norm(w, axis=1, keepdims=True) @ world.directions.double().numpy().T)
    rows, columns = linear_sum_assignment(-cosine)
    match = cosine.argmax(1)
    positives, right = ours.sum(0), (ours & true[:, match]).sum(0)
    precision = np.where(positives > 0, right / np.maximum(positives, 1), 0)
    recall = right / true[:, match].sum(0)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    fvu = ((x - y_hat) ** 2).sum() / ((x - x.mean(0)) ** 2).sum()
    expected = {
        "mcc": cosine[rows, columns].mean(), "uniqueness": len(set(match)) / 30, "precision": precision.mean(),
        "recall": recall.mean(), "f1": f1.mean(), "l0": ours.sum(1).mean(), "true_l0": true.sum(1).mean(),
        "dead": (positives == 0).sum(), "fvu": fvu, "explained_variance": 1 - fvu,
        "shrinkage": (np.linalg.norm(y_hat, axis=1) / np.linalg.norm(x, axis=1)).mean(),
    }  # fmt: skip
    for name, value in expected.items():
        assert abs(getattr(truth, name) - value) < 2e-5 * max(1, abs(value)), name
    assert truth.dead >= 1 and truth.uniqueness < 1 and 0.2 < truth.f1 < 0.95, "too easy to tell anything"
    for name, each in truth.intervals.items():
        assert each["low"] <= each["value"] <= each["high"] and each["high"] - each["low"] < 0.3, name
    assert np.allclose(truth.learned.f1, f1) and np.allclose(truth.learned.rate, ours.mean(0))
    by = cosine.argmax(0)
    as_detector = 2 * (true & ours[:, by]).sum(0) / np.maximum(true.sum(0) + ours[:, by].sum(0), 1)
    assert np.allclose(truth.found.f1, as_detector) and np.allclose(truth.found.cosine, cosine.max(0))
    assert truth.recovered(0.7) == (cosine.max(0) > 0.7).mean()


def test_pairs_are_what_their_definition_says(world, learned):
    truth = score(learned, world, samples=N, seed=3)
    sample = world.sample(N, seed=3)
    ours, true = dense(learned.encode(sample.x), 30) > 0, dense(sample.codes, 80) > 0
    assert len(truth.pairs.parent) > 3
    for i, (p, c) in enumerate(zip(truth.pairs.parent, truth.pairs.child, strict=True)):
        assert world.parent[c] == p
        fires = ours[:, truth.found.by[p]]
        assert np.isclose(truth.pairs.recall_with[i], fires[true[:, c]].mean())
        assert np.isclose(truth.pairs.recall_without[i], fires[true[:, p] & ~true[:, c]].mean())
        plane = world.directions[[p, c]].double().T
        for j, shares in (
            (truth.found.by[p], truth.pairs.parent_writes[i]),
            (truth.found.by[c], truth.pairs.child_writes[i]),
        ):
            a = torch.linalg.lstsq(plane, learned.W_dec[int(j)].double()[:, None]).solution[:, 0]
            a = a / a.norm() * a[a.abs().argmax()].sign()
            assert np.isnan(shares).all() or np.allclose(shares, a.numpy(), atol=1e-6)
    gap = truth.pairs.recall_without - truth.pairs.recall_with
    assert np.isclose(truth.absorption, gap.mean()) and np.isclose(
        truth.hedging, truth.pairs.parent_writes[:, 1].mean()
    )


def test_the_oracle_scores_one(world):
    truth = score(oracle(world, 40), world, samples=N)
    for name in ("mcc", "uniqueness", "precision", "recall", "f1"):
        assert abs(getattr(truth, name) - 1) < 1e-6, name
    assert truth.dead == 0 and abs(truth.absorption) < 1e-6 and abs(truth.hedging) < 1e-6
    assert 0 < truth.fvu < 0.5 and truth.l0 < truth.true_l0
    whole = score(oracle(world, 80), world, samples=N)
    assert whole.fvu < 1e-9 and whole.l0 == pytest.approx(whole.true_l0) and abs(whole.shrinkage - 1) < 1e-5


def test_permuted_and_random_directions_score_chance(world):
    known = oracle(world, 40)
    truth = score(permuted(known), world, samples=N)
    assert abs(truth.mcc - 1) < 1e-6 and truth.uniqueness == 1
    sample = dense(world.sample(N, seed=0).codes, 80) > 0
    chosen = most_frequent(world, 40).numpy()
    together = sample[:, chosen].astype(float).T @ sample[:, chosen]
    rates = np.diag(together)
    f1 = 2 * together / (rates[:, None] + rates)
    chance = f1[~np.eye(40, dtype=bool)].mean()  # of all wrong assignments
    assert abs(truth.f1 - chance) < 0.05 and chance < 0.2
    guess = score(random_directions(world, 40, k=4), world, samples=N)
    assert guess.f1 < 0.45 and guess.mcc < 0.7 and guess.fvu > 0.5


def test_a_permuted_dictionary_keeps_its_codes(world, learned):
    before, after = score(learned, world, samples=N), score(permuted(learned), world, samples=N)
    assert after.l0 == before.l0 and after.dead == before.dead and abs(after.mcc - before.mcc) < 1e-6
    assert after.f1 < 0.5 * before.f1 and after.fvu > 1
    assert not (permuted(learned).W_dec == learned.W_dec).all(1).any()


def test_recovery_falls_with_frequency_where_only_the_frequent_are_learned(world):
    rows = score(oracle(world, 40), world, samples=N).by_frequency(4)
    assert [row["n"] for row in rows] == [20] * 4
    assert all(a["rate_low"] >= b["rate_high"] for a, b in zip(rows, rows[1:], strict=False))
    assert rows[0]["f1"] == pytest.approx(1) and rows[3]["f1"] < 0.5 and rows[3]["cosine"] < 0.8


def test_a_score_is_repeatable_and_fit_for_json(world, learned):
    first, second = (score(learned, world, samples=5_000, seed=2).to_dict() for _ in range(2))
    assert first == second and json.loads(json.dumps(first)) == first
    assert score(learned, world, samples=5_000, seed=1).f1 != first["f1"]
    flat = World.from_arrays(torch.eye(20), torch.full((20,), 0.2), mean=torch.ones(20), std=torch.zeros(20))
    assert score(oracle(flat, 20), flat, samples=1_000).to_dict()["absorption"] is None


def test_what_cannot_be_scored(world):
    other = TopK(TopKConfig(d_in=8, d_out=8, n_features=16, k=2))
    with pytest.raises(BadInput, match="width 8; this world has width 20"):
        score(other, world)
    layered = CrossLayer(CrossLayerConfig(d_in=20, d_out=20, n_features=16, k=2, layers=2))
    with pytest.raises(BadInput, match="no single direction"):
        score(layered, world)
    with pytest.raises(BadInput, match="80 features"):
        oracle(world, 81)
