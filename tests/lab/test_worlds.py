"""Worlds: the fast sampler against the slow statement of what it draws, streams, files, and what training reads."""

from itertools import islice

import numba
import numpy as np
import pytest
import torch
from scipy.special import ndtr, ndtri

from physalis.errors import BadInput
from physalis.lab import recipes
from physalis.lab.recipes import Recipe
from physalis.lab.worlds import World

N = 100_000


@pytest.fixture(scope="module", params=[False, True], ids=["gated", "scaled"])
def world(request):
    return World.make(Recipe(
        n_features=60, d=12, n_roots=3, branching=3, depth=2, rank=3, correlation=0.4, std=(1.0, 1.0),
        scale_children_by_parent=request.param, seed=3,
    ))  # fmt: skip


def slowly(world, n, seed):
    """Codes [n, features] by the definition, with numpy's random numbers."""
    rng = np.random.default_rng(seed)
    factor, parent = world.factor.double().numpy(), world.parent.numpy()
    shared = rng.standard_normal((n, factor.shape[1])) @ factor.T
    own = rng.standard_normal((n, world.n_features)) * np.sqrt(1 - (factor**2).sum(1))
    fires = shared + own > -ndtri(world.probabilities.numpy())
    magnitude = world.mean.numpy() + world.std.numpy() * rng.standard_normal((n, world.n_features))
    codes = np.where(fires, np.maximum(magnitude, 0), 0)
    for f in range(world.n_features):  # parents come before their children
        children = np.flatnonzero(parent == f)
        if len(children):
            scale = codes[:, f] / float(world.mean[f]) if world.scaled[f] else 1.0
            codes[:, children] *= np.where(codes[:, f] > 0, scale, 0)[:, None]
            if world.exclusive[f]:
                lot = np.where(codes[:, children] > 0, rng.random((n, len(children))), -1)
                codes[:, children] *= lot == lot.max(1, keepdims=True)
    return codes


def dense(codes, features):
    ids = codes.ids.long() + features * torch.arange(len(codes.ids))[:, None]
    out = torch.zeros(len(codes.ids) * features)
    return out.index_add_(0, ids.flatten(), codes.values.flatten()).view(-1, features).double().numpy()


def apart(a, b, n):
    """How many standard errors two frequencies are apart."""
    p = (a + b) / 2
    return np.abs(a - b) / np.sqrt(2 * p * (1 - p) / n + 1e-12)


def test_it_draws_what_the_slow_reference_draws(world):
    n = N
    fast, slow = dense(world.sample(n, seed=0).codes, 60), slowly(world, n, 1)
    a, b = fast > 0, slow > 0
    assert apart(a.mean(0), b.mean(0), n).max() < 4.5
    both_a, both_b = a.T.astype(np.float32) @ a / n, b.T.astype(np.float32) @ b / n
    enough = (both_a + both_b) * n > 50
    assert apart(both_a, both_b, n)[enough].max() < 5
    correlated = np.abs(both_b - np.outer(b.mean(0), b.mean(0)))[~np.eye(60, dtype=bool)]
    assert correlated.max() > 0.02, "the world has nothing to get wrong"
    often = np.minimum(a.sum(0), b.sum(0)) > 30
    for moment in (1, 2):
        x, y = [np.where(c > 0, c, np.nan)[:, often] ** moment for c in (fast, slow)]
        error = np.sqrt(np.nanvar(x, 0) / a.sum(0)[often] + np.nanvar(y, 0) / b.sum(0)[often])
        assert (np.abs(np.nanmean(x, 0) - np.nanmean(y, 0)) / error).max() < 4.5


def test_children_follow_parents_and_exclude_one_another(world):
    fires = dense(world.sample(20_000, seed=2).codes, 60) > 0
    for f in range(60):
        children = np.flatnonzero(world.parent.numpy() == f)
        if len(children):
            assert fires[:, children].sum(1).max() == 1
            assert not fires[~fires[:, f]][:, children].any()


def test_activations_are_the_sum_of_directions(world):
    sample = world.sample(5_000, seed=0)
    expected = dense(sample.codes, 60) @ world.directions.double().numpy() + world.bias.double().numpy()
    assert np.abs(sample.x.numpy() - expected).max() < 1e-5


def test_a_sample_depends_on_its_number_only(world):
    whole = world.sample(70_000, seed=5)
    part = world.sample(300, seed=5)
    assert torch.equal(whole.x[:300], part.x)
    assert torch.equal(world.sample(50, seed=5, start=69_950).x, whole.x[-50:])
    threads = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        assert torch.equal(world.sample(70_000, seed=5).x, whole.x)
    finally:
        numba.set_num_threads(threads)
    assert not torch.equal(world.sample(300, seed=6).x, part.x)


def test_samples_that_need_more_room_are_whole(world):
    roomy, tight = (world._drawn(np.arange(3_000), 0, width) for width in (60, 1))
    assert torch.equal(roomy.x, tight.x)
    assert np.array_equal(dense(roomy.codes, 60), dense(tight.codes, 60))
    n = 400
    crowd = World.from_arrays(torch.eye(n), torch.full((n,), 0.9), mean=torch.ones(n), std=torch.zeros(n))
    assert abs(float((crowd._drawn(np.arange(50), 0, 7).codes.values > 0).sum(1).float().mean()) - 360) < 5


def test_certain_and_impossible_features():
    sure = World.from_arrays(torch.eye(3), torch.tensor([1.0, 0.0, 0.5]), mean=torch.ones(3), std=torch.zeros(3))
    rates = (sure.sample(20_000, seed=0).x > 0).float().mean(0)
    assert rates[0] == 1 and rates[1] == 0 and abs(rates[2] - 0.5) < 0.02


def test_the_bound_is_above_the_tail():
    p = World.make(Recipe(n_features=400, d=8, n_roots=0, rank=25, correlation=0.1, orthogonal_steps=0))._plan
    eps = np.zeros((2_000, p.factor.shape[1]), np.float32)
    eps[:, :25] = np.random.default_rng(0).standard_normal((2_000, 25))
    eps[1_000:] *= 2  # far beyond what is ever drawn
    product = eps[:, : len(p.bound) - 1] @ p.bound[1:] + p.bound[0]
    bound = product.clip(0).astype(np.int32).view(np.float32)
    tail = ndtr(eps.astype(float) @ p.factor.T.astype(float) - p.threshold)
    assert (bound > tail).all()
    typical = slice(0, 1_000)
    assert bound[typical].sum() < 1.5 * tail[typical].sum(), "a loose bound costs time"


def test_compensation_keeps_rates_that_can_be_kept():
    p = torch.tensor([0.4, 0.3, 0.1, 0.05, 0.02, 0.2], dtype=torch.float64)
    parent = torch.tensor([-1, -1, 0, 0, 2, -1])
    needed = recipes.compensated(p, parent, exclusive=True)
    expected = [0.4, 0.3, 0.25 * (1 + 0.05 / 0.4), 0.125 * (1 + 0.1 / 0.4), 0.2, 0.2]
    assert torch.allclose(needed, torch.tensor(expected, dtype=torch.float64))
    world = World.from_arrays(
        torch.eye(6), needed, mean=torch.ones(6), std=torch.zeros(6), parent=parent, exclusive=torch.arange(6) == 0
    )
    rates = (world.sample(N, seed=0).x > 0).double().mean(0)
    assert (rates - p).abs().max() < 0.01


def test_the_recipe():
    world = World.make(Recipe(seed=1, orthogonal_steps=20))
    p = recipes.zipf(1_024, exponent=0.5, p_max=0.4, p_min=5e-4)
    assert abs(float(p[0]) - 0.4) < 1e-12 and abs(float(p[-1]) - 5e-4) < 1e-12
    assert abs(float((p[3] - p[-1]) / (p[0] - p[-1])) - (0.5 - 1 / 32) / (1 - 1 / 32)) < 1e-12
    assert int((world.parent >= 0).sum()) == 8 * (4 + 16 + 64)
    assert world.parent[8:40].tolist() == [i // 4 for i in range(32)]
    assert torch.allclose(world.directions.norm(dim=1), torch.ones(1_024), atol=1e-5)
    random = World.make(Recipe(seed=1, orthogonal_steps=0)).directions

    def off(w):
        return float((w @ w.T - torch.eye(1_024)).square().sum())

    assert off(world.directions) < 0.98 * off(random)
    assert abs(float(world.bias.norm()) - 0.5) < 1e-6


def test_a_world_shares_no_random_numbers_with_a_start_of_the_same_seed():
    start = torch.nn.functional.normalize(torch.randn(60, 12, generator=torch.Generator().manual_seed(0)), dim=1)
    made = World.make(Recipe(n_features=60, d=12, n_roots=0, orthogonal_steps=0, seed=0)).directions
    assert (start * made).sum(1).abs().max() < 0.9


def test_the_gradient_that_orthogonalises_is_that_of_all_pairs():
    generator = torch.Generator().manual_seed(0)
    w = torch.nn.functional.normalize(torch.randn(7, 4, generator=generator), dim=1)
    ours = recipes.nearly_orthogonal(7, 4, steps=30, lr=1e-2, generator=torch.Generator().manual_seed(0))
    w.requires_grad_(True)
    adam = torch.optim.Adam([w], lr=1e-2)
    for _ in range(30):
        dots = w @ w.T
        length = dots.diagonal()
        loss = (dots - torch.diag(length)).square().sum() + 7 * (length - 1).square().sum()
        adam.zero_grad()
        loss.backward()
        adam.step()
    assert torch.allclose(ours, torch.nn.functional.normalize(w.detach(), dim=1), atol=1e-4)


def test_it_is_saved_and_read_back(world, tmp_path):
    world.save(tmp_path / "world")
    world.save(tmp_path / "world")  # the same world again is no mistake
    again = World.open(tmp_path / "world")
    assert again.digest == world.digest and again.config == world.config
    assert torch.equal(again.sample(100, seed=0).x, world.sample(100, seed=0).x)
    with pytest.raises(BadInput, match="already holds another job"):
        World.make(Recipe(n_features=60, d=12, n_roots=3, orthogonal_steps=0)).save(tmp_path / "world")


def test_training_reads_samples(world):
    samples = world.samples(10_000, seed=1)
    assert (samples.d_in, samples.d_out, samples.n_batches(512, epochs=2)) == (12, 12, 39)
    batches = list(samples.train.batches(512, seed=0, epochs=2))
    assert len(batches) == 39 and all(b.y is b.x and b.x.shape == (512, 12) for b in batches)
    assert batches[0].x.dtype == torch.float32
    for later, b in zip(islice(samples.batches(512, seed=0, epochs=2, start=30), 9), batches[30:], strict=True):
        assert torch.equal(later.x, b.x)
    first = torch.cat([b.x for b in samples.batches(1_000, seed=0)])
    second = torch.cat([b.x for b in samples.batches(1_000, seed=0, epochs=2)])[10_000:]
    assert not torch.equal(first, second)

    def rows(x):
        return sorted(map(tuple, x.tolist()))

    assert rows(first) == rows(second), "an epoch is every sample once"
    own = {tuple(row) for row in first.tolist()} - {tuple(world.bias.tolist())}
    assert not any(tuple(row) in own for seed in range(3) for row in world.sample(10_000, seed=seed).x.tolist())


def test_the_frame_centres_and_scales(world):
    samples = world.samples(1_000)
    x, _ = samples.frame.apply(next(world.samples(100_000).batches(100_000, seed=0)))
    assert x.mean(0).abs().max() < 0.02
    assert abs(float(x.square().mean()) - 1) < 0.02
    assert samples.origin["world"]["n_features"] == 60 and samples.inputs == {"world": world.digest}


def test_what_is_no_world():
    ones = torch.ones(2)
    with pytest.raises(BadInput, match="ancestor"):
        World.from_arrays(torch.eye(2), 0.5 * ones, mean=ones, std=ones, parent=torch.tensor([1, 0]))
    with pytest.raises(BadInput, match="from 0 to 1"):
        World.from_arrays(torch.eye(2), 2 * ones, mean=ones, std=ones)
    with pytest.raises(BadInput, match="squared length"):
        World.from_arrays(torch.eye(2), 0.5 * ones, mean=ones, std=ones, factor=torch.ones(2, 1))
    with pytest.raises(BadInput, match="p_min"):
        World.make(Recipe(p_min=0.5))
