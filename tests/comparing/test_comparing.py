"""Comparing: what was planted is found as shared, split, merged or unique, and chance is not."""

import numpy as np
import planted
import pytest
import torch
from planted import basis, independent, made_of, noisy, write_activations, write_dictionary
from scipy.sparse import csr_array
from scipy.stats import binom, false_discovery_control

from physalis import artifact
from physalis.comparing import Comparison
from physalis.comparing.comparison import compare
from physalis.comparing.similarity import directions
from physalis.comparing.similarity.chance import judge
from physalis.comparing.similarity.codes import SparseCodes, beside, correlation, pair_correlation
from physalis.comparing.similarity.matching import HUNGARIAN, MUTUAL, match_codes, match_directions
from physalis.comparing.similarity.parents import find_parents, groups
from physalis.errors import BadInput

N = 64
SEEDS = 20
AT_MOST = binom.ppf(0.99, SEEDS, 0.05)
"""Of so many trials that should err one time in twenty."""


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Everything here is small: several threads would only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def normal(n, d, seed):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def codes(n, rate, seed, *, burst=1):
    """Random codes [3000, n]; with a burst, each feature fires on that many tokens in a row."""
    rng = np.random.default_rng(seed)
    starts = rng.random((3000, n)) < rate / burst
    on = np.any([np.roll(starts, i, 0) for i in range(burst)], 0)
    return SparseCodes(csr_array((on * rng.uniform(0.5, 1.5, on.shape)).astype(np.float32)))


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Activations of N independent features, and a dictionary that has them all."""
    folder = tmp_path_factory.mktemp("world")
    acts = write_activations(folder / "acts", made_of(independent(N, 0.04, 0), basis()[:N], 1))
    return acts, write_dictionary(folder / "all", basis()[:N])


@pytest.fixture(scope="module")
def permuted(world, tmp_path_factory):
    """Compared with itself in another order, and noisy: (comparison, order)."""
    folder = tmp_path_factory.mktemp("permuted")
    order = torch.randperm(N, generator=torch.Generator().manual_seed(3))
    other = write_dictionary(folder / "b", noisy(basis()[:N], 0.3, 4)[order], seed=1)
    return compare(world[1], other, world[0], out=folder / "out"), order, other


def test_the_same_dictionary_is_all_shared(permuted):
    found, order, _ = permuted
    for side, summary in (("a", found.summary.a), ("b", found.summary.b)):
        assert summary.fates["shared"].value == 1 and summary.fates["unique"].value == 0
        assert summary.n_silent == 0
        assert {row.fate for row in found.features(side, limit=N).rows} == {"shared"}
    rows = found.features("b", limit=N).rows
    assert [row.partner for row in rows] == order.tolist() == [row.by_code for row in rows]
    assert min(row.correlation for row in rows) > 0.95 and min(row.cosine for row in rows) > 0.9
    assert found.summary.agreement.value == 1
    assert found.summary.in_place.value == pytest.approx(float((order == torch.arange(N)).sum()) / N)
    assert found.summary.directions.method == HUNGARIAN
    assert found.summary.codes.share_a.value == 1


def test_the_baselines_share_nothing(permuted):
    summary = permuted[0].summary
    for matched in (summary.directions, summary.codes):
        assert matched.baselines and all(b.share.low <= 0.05 for b in matched.baselines)
        assert all(b.share.value == 0 for level in matched.levels[1:] for b in level.baselines)
    assert summary.a.split_by_chance.value == 0


def test_what_is_told_of_each_side_is_what_it_does(world, permuted):
    from physalis import dictionaries
    from physalis.activations import Activations

    acts, summary = Activations.open(world[0]), permuted[0].summary
    x = torch.cat([part.x.float() for part in acts.held_out.ordered(10_000)])
    for side, folder in ((summary.a, world[1]), (summary.b, permuted[2])):
        d = dictionaries.load(folder)
        given = d.encode(x)
        fvu = (x - d.decode(given)).square().sum() / (x - acts.mean).square().sum()
        assert side.fvu.value == pytest.approx(float(fvu), rel=1e-4)
        assert side.l0.value == pytest.approx(float((given.values > 0).sum() / len(x)), rel=1e-4)
        assert sum(side.density.counts) == sum(side.lengths.counts) == sum(side.to_mean.counts) == N
    assert summary.n_held_out == len(x) and summary.n_tokens == planted.ROWS
    every = torch.cat([part.x.float() for part in acts.ordered(10_000)])
    fires = dictionaries.load(world[1]).encode(every)
    counts = torch.bincount(fires.ids[fires.values > 0].long(), minlength=N)
    assert [row.n_fired for row in permuted[0].features("a", limit=N).rows] == counts.tolist()


@pytest.mark.parametrize("with_codes", [True, False])
def test_half_replaced_is_half_shared(world, tmp_path, with_codes):
    half = torch.cat([noisy(basis()[: N // 2], 0.3, 8), directions.units(normal(N // 2, planted.D, 9))])
    other = write_dictionary(tmp_path / "b", half, seed=1)
    found = compare(world[1], other, world[0] if with_codes else None, out=tmp_path / "out")
    share = found.summary.a.fates["shared"]
    assert share.low <= 0.5 <= share.high
    rows = found.features("a", limit=N).rows
    assert all(row.found and row.partner == row.id for row in rows[: N // 2])
    assert sum(row.found for row in rows[N // 2 :]) <= 0.1 * N
    assert found.features("a", fate="unique").total == sum(row.fate == "unique" for row in rows)
    assert found.summary.in_place.value >= 0.5
    assert (found.summary.codes is not None) == with_codes == (rows[0].correlation is not None)


def test_a_split_is_found_with_its_parts(split):
    found, _ = split
    whole = found.feature("a", 0)
    assert whole.fate == "split"
    group = found.groups[whole.group]
    assert (group.side, group.feature, [m.feature for m in group.members]) == ("a", 0, [0, 1, 2])
    assert group.coverage > 0.99 and group.purity > 0.99 and group.alone == pytest.approx(1 / 3, abs=0.05)
    for member in group.members:
        assert member.purity > 0.99 and member.coverage == pytest.approx(1 / 3, abs=0.05)
        assert member.cosine == pytest.approx(0.8**0.5, abs=1e-3)
        part = found.feature("b", member.feature)
        assert (part.fate, part.group) == ("merged", whole.group)
    assert {row.fate for row in found.features("a").rows[1:]} == {"shared"}
    assert len(found.groups) == 1


def test_the_other_way_round_it_is_a_merge(split):
    found = split[1]
    assert [found.feature("a", i).fate for i in range(3)] == ["merged"] * 3
    assert found.feature("b", 0).fate == "split"
    assert found.groups[0].side == "b"
    forth, back = split[0].summary, found.summary
    assert forth.a.fates == back.b.fates and forth.b.fates == back.a.fates


@pytest.mark.parametrize("spectrum", [0.0, 0.5], ids=["isotropic", "anisotropic"])
def test_independent_dictionaries_share_nothing(spectrum):
    """The expected share of false among found is at most the rate: here all found are false."""
    scale = torch.arange(1, 33) ** -spectrum
    false = [
        match_directions(normal(128, 32, 2 * seed) * scale, normal(160, 32, 2 * seed + 1) * scale, seed=seed).found
        for seed in range(SEEDS)
    ]
    assert sum(found.any() for found in false) <= AT_MOST
    assert np.mean([found.mean() for found in false]) < 0.01


@pytest.mark.parametrize("burst", [1, 20])
def test_independent_codes_share_nothing(burst):
    false = [
        match_codes(codes(40, 0.03, 2 * seed, burst=burst), codes(50, 0.03, 2 * seed + 1, burst=burst), seed=seed)
        for seed in range(SEEDS)
    ]
    assert sum(each.found.any() for each in false) <= AT_MOST


def test_the_rule_for_what_is_found_is_benjamini_and_hochbergs():
    rng = np.random.default_rng(0)
    drawn = rng.normal(size=4000)
    for shift in (0.0, 1.0, 3.0):
        scores = np.concatenate([rng.normal(size=150), rng.normal(shift, 1, 50)])
        judged = judge(scores, drawn, tested=200, rate=0.05)
        p = np.array([(1 + (drawn >= s).sum()) / 4001 for s in scores])
        assert np.allclose(judged.p, p)
        assert (judged.found == (false_discovery_control(p) <= 0.05)).all()
    nothing = judge(np.array([3.0]), np.empty(0), tested=1, rate=0.05)
    assert not nothing.found.any() and nothing.chance.threshold is None


@pytest.mark.parametrize("pairs", [1 << 22, 100])
def test_what_two_do_together_is_summed_sparsely_and_right(pairs, monkeypatch):
    monkeypatch.setattr("physalis.comparing.similarity.codes.PAIRS", pairs)
    a, b = codes(7, 0.05, 0), codes(30, 0.1, 1)
    one, two = a.codes.toarray().astype(np.float64), b.codes.toarray().astype(np.float64)
    rows = np.array([5, 0, 3])
    parts = [(here.together.copy(), here.code.copy(), correlation(a, b, here)) for here in beside(a, b, rows)]
    together, code, r = (np.concatenate(each) for each in zip(*parts, strict=True))
    assert (together == ((one[:, rows] > 0).T.astype(int) @ (two > 0))).all()
    assert np.allclose(code, (one[:, rows] > 0).T @ two)
    wanted = np.corrcoef(one.T, two.T)[:7, 7:]
    assert np.allclose(r, wanted[rows])
    at = np.arange(7), np.arange(7) * 4
    assert np.allclose(pair_correlation(a, b, *at), wanted[at])
    assert (a.moved(700).codes.toarray() == np.roll(one, 700, 0).astype(np.float32)).all()


def test_features_that_fire_too_seldom_are_not_judged():
    a = codes(5, 0.05, 0).codes.toarray()
    a[:, 2] = 0
    a[:9, 2] = 1
    seldom = SparseCodes(csr_array(a))
    matching = match_codes(seldom, seldom)
    assert matching.a.tolist() == [0, 1, 3, 4] == matching.b.tolist()
    assert np.isnan(pair_correlation(seldom, seldom, np.array([2]), np.array([2]))[0])


def test_a_large_dictionary_is_matched_by_another_method():
    a = directions.units(normal(90, 32, 0))
    order = torch.randperm(90, generator=torch.Generator().manual_seed(1))
    b = directions.units(a[order] + 0.05 * normal(90, 32, 2))
    matching = match_directions(a, b, most=50)
    assert matching.method == MUTUAL
    cosine = (a @ b.T).numpy()
    wanted = [(i, j) for i, j in enumerate(cosine.argmax(1)) if cosine[:, j].argmax() == i]
    assert list(zip(matching.a.tolist(), matching.b.tolist(), strict=True)) == wanted
    assert (order.numpy()[matching.b] == matching.a).all() and matching.found.all()
    one, two = codes(30, 0.05, 0), codes(40, 0.05, 1)
    assert match_codes(one, two, most=5).method == MUTUAL
    mutual = match_codes(one, one, most=5)
    assert (mutual.a == mutual.b).all() and len(mutual.a) == 30


def test_a_narrower_dictionary_first_or_second_gives_the_same_pairs():
    a, b = normal(60, 32, 0), normal(40, 32, 1)
    b = torch.cat([b, a[:20]])[:50]
    forth, back = match_directions(a, b), match_directions(b, a)
    pairs = set(zip(forth.a.tolist(), forth.b.tolist(), strict=True))
    assert pairs == set(zip(back.b.tolist(), back.a.tolist(), strict=True)) and len(pairs) == 50
    assert 10 <= forth.found.sum() == back.found.sum() <= 12
    assert forth.partners(60)[:10].tolist() == list(range(40, 50)) and forth.found[:10].all()


def test_dense_features_are_nobodys_parent_and_one_that_carries_on_is_no_split():
    rng = np.random.default_rng(0)
    whole = rng.random(3000) < 0.1
    big = whole & (rng.random(3000) < 0.9)
    small = whole & ~big
    dense = rng.random(3000) < 0.8
    narrow = SparseCodes(csr_array(np.stack([whole, dense], 1).astype(np.float32)))
    wide = SparseCodes(csr_array(np.stack([big, small, rng.random(3000) < 0.02], 1).astype(np.float32)))
    parents = find_parents(wide, narrow, normal(3, 8, 0), normal(2, 8, 1))
    assert parents.parent.tolist() == [0, 0, -1]
    (group,) = groups(narrow, wide, parents)
    assert group.coverage == 1 and group.purity == 1
    assert group.alone == pytest.approx(big.sum() / whole.sum()) and not group.is_split


def test_run_again_it_is_only_read(world, permuted, monkeypatch):
    monkeypatch.setattr("physalis.comparing.comparison._compared", None)
    found, _, other = permuted
    again = compare(world[1], other, world[0], out=found.folder)
    assert again.summary == found.summary and isinstance(again, Comparison)
    with pytest.raises(BadInput, match="another job: tokens"):
        compare(world[1], other, world[0], out=found.folder, tokens=5_000)


def test_a_kill_in_between_changes_nothing(world, permuted, tmp_path, monkeypatch):
    found, _, other = permuted

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as m, pytest.raises(KeyboardInterrupt):
        m.setattr(artifact, "finish", killed)
        compare(world[1], other, world[0], out=tmp_path / "out")
    with pytest.raises(BadInput, match="unfinished"):
        Comparison.open(tmp_path / "out")
    compare(world[1], other, world[0], out=tmp_path / "out")
    for path in found.folder.iterdir():
        assert path.read_bytes() == (tmp_path / "out" / path.name).read_bytes()


def test_what_cannot_be_compared_is_refused(world, tmp_path):
    acts, a = world
    elsewhere = write_dictionary(tmp_path / "b", basis()[:N], site="L1.resid_post")
    with pytest.raises(BadInput, match="of another site each: 'L0.resid_post' and 'L1.resid_post'"):
        compare(a, elsewhere, out=tmp_path / "x")
    with pytest.raises(BadInput, match="reads L1.resid_post, these activations are of L0.resid_post"):
        compare(elsewhere, elsewhere, acts, out=tmp_path / "y")
    with pytest.raises(BadInput, match="between 0 and 1; received 5"):
        compare(a, a, out=tmp_path / "z", rate=5.0)
    with pytest.raises(BadInput, match="at least 1 token"):
        compare(a, a, acts, out=tmp_path / "v", tokens=0)
    with pytest.raises(BadInput, match="holds a recording, not a dictionary"):
        compare(a, acts, out=tmp_path / "w")


def test_lists_are_sorted_and_cut(permuted):
    found = permuted[0]
    rows = found.features("a", sort="cosine", descending=True, offset=2, limit=3).rows
    every = sorted((row.cosine for row in found.features("a", limit=N).rows), reverse=True)
    assert [row.cosine for row in rows] == every[2:5]
    with pytest.raises(BadInput, match=f"count from 0 to {N - 1}; received {N}"):
        found.feature("b", N)
