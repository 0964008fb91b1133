"""Passages: held-out ones, and none that was learned from."""

import numpy as np
import pytest

from physalis.activations import Activations
from physalis.judging.passages import LENGTH, Passages
from physalis.recording import record
from physalis.site import Site


@pytest.fixture(scope="module")
def recorded(tiny, tmp_path_factory):
    """A text of which every other document is a copy."""
    folder, rng = tmp_path_factory.mktemp("copies"), np.random.default_rng(0)
    (folder / "text").mkdir()
    for i in range(40):
        words = " ".join(rng.choice(["alpha", "beta", "gamma", "delta", "if", "\n"], size=100))
        for name in (f"{i:02}", f"{i + 60:02}") if i % 2 else (f"{i:02}",):
            (folder / "text" / f"{name}.txt").write_text(words)
    site, out = Site("resid_post", 0), folder / "activations"
    return record(tiny, str(folder / "text"), [site], [out], tokens=20_000, context=64, held_out=0.3)[0]


def test_what_stands_in_the_learned_text_is_left_out(recorded):
    every = Passages(recorded, recorded.held_out)
    some = Passages(recorded, recorded.held_out, learned=recorded.train)
    learned = {
        tuple(row[i : i + LENGTH])
        for row in np.array(recorded.tokens)[recorded.train.contexts].tolist()
        for i in range(len(row) - LENGTH + 1)
    }
    copied = [tuple(every.tokens[at].tolist()) in learned for at in every.at]
    assert 0 < sum(copied) == some.n_copied < len(every) and every.n_copied == 0
    assert np.array_equal(some.at, every.at[~np.array(copied)])
    assert len(some.blocks) == len(some) == len(every) - some.n_copied


def test_without_copies_nothing_is_left_out(tiny_activations):
    assert isinstance(tiny_activations, Activations)
    some = Passages(tiny_activations, tiny_activations.held_out, learned=tiny_activations.train)
    assert some.n_copied == 0 and len(some)
