"""The same dictionary twice is consistent; one whose weights change places keeps its directions and loses its codes."""

import pytest

from physalis import dictionaries
from physalis.suites import Permuted
from physalis.suites.consistency import consistency


def test_directions_alone_are_not_features(tiny_activations, tiny_dictionary):
    of = dictionaries.load(tiny_dictionary)
    x = next(iter(tiny_activations.train.batches(2_048, seed=0))).x.float()
    permuted = Permuted(of, tiny_activations.frame.mean_in, seed=0)
    pairs = {"same": (of, of), "permuted": (of, permuted)}
    found = {(each.metric, each.subject): each.value for each in consistency(pairs, x, 0)}
    assert found["seeds_directions", "same"] == pytest.approx(1, abs=1e-5)
    assert found["seeds_directions", "permuted"] == pytest.approx(1, abs=1e-5)
    fires = (of.encode(x).dense() > 0).sum(0) >= 10  # who hardly fires counts 0
    assert found["seeds_codes", "same"] == pytest.approx(float(fires.float().mean()), abs=0.02)
    assert found["seeds_codes", "permuted"] < 0.5 * found["seeds_codes", "same"]
