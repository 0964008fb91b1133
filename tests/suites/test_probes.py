"""Probes find what was planted, and nothing where there is nothing."""

import numpy as np
import pytest

from physalis.suites.probes import Halves, auroc, dense_probe, mean_difference, sparse_probe, token_auroc

RNG = np.random.default_rng(0)
LABELS = np.arange(400) % 2 == 1


def planted(strength: float) -> np.ndarray:
    """[400, 30] noise, of which columns 3 and 7 know the label together."""
    x = RNG.standard_normal((400, 30))
    x[:, 3] += strength * LABELS
    x[:, 7] -= strength * LABELS
    return x


def test_halves_are_apart_and_balanced():
    halves = Halves.drawn(np.arange(50) < 20, 1_000, seed=1)
    assert not {*halves.train} & {*halves.test}
    assert [int((each < 20).sum()) for each in halves] == [10, 10] and len(halves.train) == len(halves.test) == 20
    assert not np.array_equal(halves.train, Halves.drawn(np.arange(50) < 20, 1_000, seed=2).train)


def test_auroc():
    labels = np.array([False, False, True, True])
    assert auroc(np.array([0.0, 1, 2, 3]), labels) == 1
    assert auroc(np.array([3.0, 2, 1, 0]), labels) == 0
    assert auroc(np.array([1.0, 1, 1, 1]), labels) == 0.5
    assert np.isnan(auroc(np.array([1.0]), np.array([True])))


def test_a_sparse_probe_reads_the_features_that_know():
    x, halves = planted(1.5), Halves.drawn(LABELS, 400, seed=0)
    train = x[halves.train], LABELS[halves.train]
    probe = sparse_probe(*train, 2)
    assert {*probe.columns} == {3, 7}
    one, two, dense, means = (
        auroc(each(x[halves.test]), LABELS[halves.test])
        for each in (sparse_probe(*train, 1), probe, dense_probe(*train, seed=0), mean_difference(*train))
    )
    assert 0.75 < one < two and min(dense, means) > 0.85
    nothing = planted(0)
    probe = sparse_probe(nothing[halves.train], LABELS[halves.train], 2)
    assert auroc(probe(nothing[halves.test]), LABELS[halves.test]) == pytest.approx(0.5, abs=0.15)


def test_a_silent_feature_is_never_read():
    x = planted(0)
    x[:, 5] = 0
    assert 5 not in sparse_probe(x, LABELS, 29).columns


def test_tokens_alone():
    halves = Halves.drawn(LABELS, 400, seed=0)
    texts = [[int(RNG.integers(50)), 60 + int(label)] for label in LABELS]
    others, labels = [[61], [60], [99, 61]], np.array([True, False, True])
    usual, shifted = token_auroc(texts, LABELS, halves, others, labels, seed=0)
    assert usual == shifted == 1
    blind, none = token_auroc([[1, 2]] * 400, LABELS, halves, seed=0)
    assert blind == 0.5 and np.isnan(none)
