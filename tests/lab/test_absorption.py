"""Absorption and hedging: dictionaries built by hand to do either, the theory against brute force, and the controls."""

import json
import math

import numpy as np
import pytest
import torch

from physalis.dictionaries import JumpReLUConfig, TopK, TopKConfig
from physalis.errors import BadInput
from physalis.lab.absorption import absorbing_world, hedged, hedging_world, measure_absorption, measure_hedging
from physalis.lab.oracles import oracle
from physalis.lab.worlds import World
from physalis.training.training import METRICS, train

N = 20_000


def built(enc, dec, *, k, centre=None):
    """A TopK dictionary that reads and writes along these rows."""
    d = enc.shape[1]
    dictionary = TopK(TopKConfig(d_in=d, d_out=d, n_features=len(enc), k=k))
    dictionary.enc.data.copy_(enc)
    dictionary.dec.data.copy_(dec)
    dictionary.b_enc.data.fill_(-1e-3)  # rounding is no code
    if centre is not None:
        dictionary.centre.copy_(centre)
        dictionary.b_dec.data.copy_(centre)
    dictionary.enc.refresh()
    return dictionary.requires_grad_(False)


@pytest.fixture(scope="module")
def world():
    return absorbing_world()


def absorbed(world, *, share=1.0):
    """The first feature of a group goes silent where the second fires, whose own writes ``share`` of the first too."""
    d = world.directions
    enc, dec = d.clone(), d.clone()
    first, second = d[0::4], d[1::4]
    enc[0::4] = first - 1.5 * second
    dec[1::4] = second + share * first
    return built(enc, dec, k=12)


def test_what_was_absorbed_is_measured(world):
    found = measure_absorption(absorbed(world), world, samples=N)
    assert (found.pairs, found.found) == (5, 5)
    assert found.recall_without == 1 and found.recall_with == 0 and found.gap == 1 and found.absorbed
    assert np.allclose(found.child_writes, math.sqrt(0.5), atol=1e-6)
    assert np.allclose(found.parent_writes, (1, 0), atol=1e-6)
    assert abs(found.true_l0 - 2.0) < 0.05 and abs(found.l0 - 1.75) < 0.05, "sparser than the truth, which is the lure"


def test_what_was_not_absorbed_is_not(world):
    found = measure_absorption(built(world.directions, world.directions, k=12), world, samples=N)
    assert found.gap == 0 and not found.absorbed and found.l0 == found.true_l0
    assert np.allclose(found.child_writes, (0, 1), atol=1e-6)
    exact = measure_absorption(oracle(world, 20), world, samples=N)
    assert exact.gap == 0 and np.allclose(exact.child_writes, (0, 1), atol=1e-6)


def test_the_mixture_is_that_of_the_weights(world):
    found = measure_absorption(absorbed(world, share=0.5), world, samples=N)
    assert np.allclose(found.child_writes, np.array([0.5, 1]) / math.hypot(0.5, 1), atol=1e-6)


def test_half_of_the_groups_absorbed_is_half_a_gap(world):
    d = world.directions
    enc, dec = absorbed(world).enc.data.clone(), absorbed(world).dec.data.clone()
    enc[:8], dec[:8] = d[:8], d[:8]  # two of five groups are as they should be
    found = measure_absorption(built(enc, dec, k=12), world, samples=N)
    assert found.gap == pytest.approx(0.6) and not found.absorbed


def test_the_worlds_rates():
    rates = absorbing_world().sample(100_000, seed=0).x @ absorbing_world().directions.T
    fires = rates > 0.5
    assert (fires.float().mean(0).view(5, 4) - torch.tensor([0.25, 0.05, 0.05, 0.05])).abs().max() < 0.006
    assert not (fires[:, 1] & ~fires[:, 0]).any()
    control = absorbing_world(implied=False)
    loose = control.sample(100_000, seed=0).x @ control.directions.T > 0.5
    assert abs(float(loose[loose[:, 1], 0].float().mean()) - 0.25) < 0.03
    assert torch.allclose(control.directions @ control.directions.T, torch.eye(20), atol=1e-5)


def test_the_control_has_no_pairs():
    control = absorbing_world(implied=False)
    found = measure_absorption(built(control.directions, control.directions, k=12), control, samples=N)
    assert found.pairs == found.found == 0 and math.isnan(found.gap) and not found.absorbed


def test_the_theory_without_a_bias_is_the_published_one():
    assert np.allclose(hedged(0.2, p=0), (0.973, 0.230), atol=1e-3)
    assert np.allclose(hedged(0.5, p=0), (0.851, 0.526), atol=1e-3)


@pytest.mark.parametrize("q", [0.2, 0.5])
def test_the_theory_is_what_least_error_gives(q):
    groups = 3
    world = hedging_world(q, groups=groups, d=8)
    x = world.sample(N, seed=0).x.double()
    parents, children = world.directions[:groups].double(), world.directions[groups:-1].double()
    which = (x @ parents.T).argmax(1)

    def error(angle):
        w = math.cos(angle) * parents + math.sin(angle) * children
        across = torch.eye(8, dtype=torch.float64) - w[:, :, None] * w[:, None, :]
        left = across[which]  # what no code along w can make good, of x less any bias
        bias = torch.linalg.lstsq(left.mean(0), (left @ x[..., None])[..., 0].mean(0)[:, None], driver="gelsd").solution
        return float((left @ (x[..., None] - bias)).square().mean())

    angles = np.linspace(0, 0.9, 91)
    best = angles[np.argmin([error(angle) for angle in angles])]
    assert np.allclose((math.cos(best), math.sin(best)), hedged(q, p=1 / groups), atol=0.02)


@pytest.mark.parametrize("q", [0.2, 0.5])
def test_hedging_is_measured(q):
    world = hedging_world(q)
    parent, child = hedged(q)
    parents, children = world.directions[:4], world.directions[4:8]
    w = parent * parents + child * children
    found = measure_hedging(built(w, w, k=1, centre=world.directions[8]), world, samples=N)
    assert (found.pairs, found.found) == (4, 4)
    assert np.allclose(found.parent_writes, found.expected, atol=1e-6) and found.gap < 1e-6
    clean = measure_hedging(built(parents, -parents, k=1, centre=world.directions[8]), world, samples=N)
    assert np.allclose(clean.parent_writes, (1, 0), atol=1e-6) and abs(clean.gap - child) < 1e-6
    right = measure_hedging(built(parents, parents, k=1, centre=world.directions[8]), world, samples=N)
    assert found.fvu < right.fvu, "hedging is what the reconstruction error asks for"


def test_exactly_one_parent_fires():
    world = hedging_world(0.3)
    fires = world.sample(50_000, seed=0).x @ world.directions.T > 0.5
    assert (fires[:, :4].sum(1) == 1).all() and fires[:, 8].all()
    assert (fires[:, :4].float().mean(0) - 0.25).abs().max() < 0.01
    assert abs(float(fires[fires[:, 1], 5].float().mean()) - 0.3) < 0.02 and not (fires[:, 4:8] & ~fires[:, :4]).any()
    control = hedging_world(0.3, implied=False)
    loose = control.sample(50_000, seed=0).x @ control.directions.T > 0.5
    assert (loose[:, :4].sum(1) == 1).all() and (loose[:, 4:8] & ~loose[:, :4]).any()
    assert (loose[:, 4:8].float().mean(0) - 0.075).abs().max() < 0.01


def test_what_cannot_be_made_or_measured(world):
    with pytest.raises(BadInput, match="do not fit"):
        absorbing_world(groups=20)
    with pytest.raises(BadInput, match="q=1.0"):
        hedging_world(1.0)
    with pytest.raises(BadInput, match="hedging_world"):
        measure_hedging(built(world.directions, world.directions, k=2), world)
    assert isinstance(world, World)


@pytest.mark.slow
def test_jumprelu_is_asked_for_fewer_features_than_the_world_has(tmp_path):
    """Its features are there or not and nothing between: once each is found, no code is near any threshold, and a
    penalty that only grows ends in numbers that are none."""
    world = absorbing_world(seed=0)
    config = JumpReLUConfig(d_in=world.d, d_out=world.d, n_features=20, k=2)
    made = train(world.samples(700_000, seed=0), [config], [tmp_path / "d"], epochs=1, batch_size=1_024)[0]
    rows = [json.loads(line) for line in (tmp_path / "d" / METRICS).read_text().splitlines()]
    assert max(row["l0"] for row in rows) < 1e4
    codes = made.encode(world.sample(10_000, seed=1).x)
    assert 1 < float((codes.values > 0).sum()) / 10_000 < 3
