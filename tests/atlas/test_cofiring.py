"""Features that fire together: what is listed is what the exact correlations of the firings say, chance left out."""

import numpy as np
import pytest

from physalis.atlas.build.counting import ENOUGH, beyond_chance, count_cofiring

TOKENS, RARE, LISTED = 60_000, 1_500, 12


def listed(fires: np.ndarray, feature: int) -> dict[int, float]:
    """What is listed beside one feature, of [tokens, features] firings."""
    token, ids = np.nonzero(fires)
    offsets = np.concatenate([[0], np.cumsum(fires.sum(1))])
    rows = np.flatnonzero(fires[:, feature]).astype(np.int32)
    out, correlation = np.full((1, LISTED), -1, np.int32), np.zeros((1, LISTED), np.float32)
    z = beyond_chance(fires.shape[1])
    count_cofiring(
        feature, np.array([0, len(rows)]), rows, offsets, ids.astype(np.uint16), fires.sum(0), z, out, correlation
    )
    return {int(i): float(c) for i, c in zip(out[0], correlation[0], strict=True) if i >= 0}


def exact(fires: np.ndarray, feature: int) -> np.ndarray:
    x = fires[:, feature] - fires[:, feature].mean()
    n, p = len(fires), fires.mean(0)
    return x @ fires / n / np.sqrt(p * (1 - p) * x.var())


@pytest.fixture(scope="module")
def fires() -> np.ndarray:
    """A dense feature, rare ones that have nothing to do with it, and four that mostly fire where it does."""
    rng = np.random.default_rng(0)
    dense = rng.random(TOKENS) < 0.4
    rare = rng.random((TOKENS, RARE)) < 0.002
    kin = (rng.random((TOKENS, 4)) < 0.1) & (dense[:, None] | (rng.random((TOKENS, 4)) < 0.05))
    return np.concatenate([dense[:, None], kin, rare], 1)


def test_chance_is_not_listed_beside_a_dense_feature(fires):
    assert fires[:, 0].sum() > 10 * ENOUGH, "only some of its firings are looked at"
    found, truth = listed(fires, 0), exact(fires, 0)
    assert set(found) == {1, 2, 3, 4}
    assert np.abs(truth[5:]).max() < 0.03, "what was left out is chance"
    for id, value in found.items():
        assert value == pytest.approx(truth[id], abs=0.05)


def test_rare_features_that_belong_together_are_listed(fires):
    together = fires.copy()
    together[:, 5] = together[:, 6]
    together[np.flatnonzero(together[:, 6])[::3], 5] = False
    found, truth = listed(together, 6), exact(together, 6)
    assert found[5] == pytest.approx(truth[5], abs=1e-5) and found[5] > 0.7
    assert all(value == pytest.approx(truth[id], abs=1e-5) for id, value in found.items())


def test_the_bound_grows_with_what_is_compared():
    assert beyond_chance(20) == pytest.approx(2.807, abs=1e-3)
    assert beyond_chance(100_000) > beyond_chance(1_000) > beyond_chance(20)
