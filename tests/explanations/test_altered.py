"""Altered text: what the network does on training text in which tokens are replaced, and rules that know it."""

import shutil
from dataclasses import replace
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from pictures import pixel_model

from physalis import dictionaries
from physalis.errors import BadInput
from physalis.explanations import Surroundings, explain, pieces
from physalis.explanations.altered import ALTERED, SHARE, Altered, alter
from physalis.explanations.explaining import whole
from physalis.explanations.learning import Corpus, Learner

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def altered(tiny, tiny_dictionary, tiny_activations):
    stored = tiny_activations
    return alter(stored, stored.train, dictionaries.load(tiny_dictionary), tiny, tokens=2000, seed=3)


def test_some_tokens_are_replaced_and_the_first_is_not(altered, tiny_activations):
    stored = tiny_activations
    width = stored.context
    assert altered.tokens.shape == (-(-2000 // width), width)
    originals = np.asarray(stored.tokens)[stored.train.contexts]
    nearest = np.array([(row == originals).mean(1).max() for row in altered.tokens])
    assert nearest.min() > 1 - 3 * SHARE and 1 - nearest.mean() == pytest.approx(SHARE, abs=0.05)
    kept = np.zeros(stored.tokens.size, bool)
    kept[stored.train.at] = True
    per_context = kept.reshape(stored.tokens.shape)[stored.train.contexts].sum(1)
    assert len(altered.rows) == per_context[0] * len(altered.tokens), "what a recording keeps of each context counts"


def test_firings_are_what_the_network_does(altered, tiny, tiny_dictionary, tiny_activations):
    """Of every feature, counted again from the whole text at once."""
    (site,) = (part.site for part in tiny_activations.parts[0])
    x = tiny.run(torch.from_numpy(altered.tokens.astype(np.int64)), read=[site])[site].float().flatten(0, 1)
    with torch.no_grad():
        codes = dictionaries.load(tiny_dictionary).encode(x).dense().numpy()
    n = 0
    for feature in range(codes.shape[1]):
        at, values = altered.firings(feature)
        assert (np.diff(at) > 0).all() and set(at.tolist()) <= set(altered.rows.tolist())
        assert np.allclose(values, codes[at, feature], atol=1e-4) and (values > 0).all()
        n += len(at)
    assert n == int((codes[altered.rows] > 0).sum())


def test_what_the_rule_of_the_recording_leaves_out_does_not_count(altered, tiny, tiny_dictionary, tiny_activations):
    """A sink may stand elsewhere once the text is altered."""
    (part,) = tiny_activations.parts[0]
    x = tiny.run(torch.from_numpy(altered.tokens.astype(np.int64)), read=[part.site])[part.site].flatten(0, 1)
    norms = x.norm(dim=1).numpy()
    limit = float(np.quantile(norms[altered.rows], 0.6))
    strict = replace(part.hygiene, max_norm=limit)
    stored = Mock(wraps=tiny_activations, spec=tiny_activations, tokens=tiny_activations.tokens)
    stored.parts = ([part._replace(hygiene=strict)], [])
    fewer = alter(stored, tiny_activations.train, dictionaries.load(tiny_dictionary), tiny, tokens=2000, seed=3)
    assert np.array_equal(fewer.tokens, altered.tokens)
    assert fewer.rows.tolist() == [row for row in altered.rows.tolist() if norms[row] <= limit]
    assert set(fewer.at.tolist()) <= set(fewer.rows.tolist()) < set(altered.rows.tolist())


def test_it_is_kept_in_a_file(altered, tmp_path):
    altered.save(tmp_path / "altered.npz")
    again = Altered.load(tmp_path / "altered.npz")
    assert again is not None and Altered.load(tmp_path / "none.npz") is None
    assert all(np.array_equal(a, b) for a, b in zip(again, altered, strict=True))
    nothing = Altered.none(8)
    assert nothing.tokens.shape == (0, 8) and not len(nothing.firings(5).at)


def test_what_goes_along_is_told_from_what_is_needed():
    """Two words that always stand together as the text is found: which of them counts, only altered text says."""
    rng = np.random.default_rng(0)
    pieces = [f" {word}" for word in ("thing", "one", "two", "red", "blue", "old")]
    found = rng.integers(3, 6, (200, 16))
    found[::2, 5:8] = [1, 2, 0]  # "one two thing"
    broken = found.copy()
    broken[::4, 5] = 4  # "blue two thing"
    broken[2::4, 6] = 5  # "one old thing"
    text = Surroundings(np.concatenate([found, broken]), pieces)
    n = found.size

    def fires(tokens):
        return np.flatnonzero((tokens == 0) & (np.roll(tokens, 2, 1) == 1))  # a thing two after "one"

    as_found, as_altered = fires(found), fires(broken)
    every = np.arange(n)
    alone = Learner(Corpus.of(text, every, every)).learn(as_found, np.ones(len(as_found), np.float32))
    at = np.concatenate([as_found, n + as_altered])
    both = Learner(Corpus.of(text, np.arange(text.n), every)).learn(at, np.ones(len(at), np.float32))
    truth = np.concatenate([np.isin(every, as_found), np.isin(every, as_altered)])
    assert ((alone.predict(text) > 0)[:n] == truth[:n]).all() and ((alone.predict(text) > 0) != truth).any()
    assert ((both.predict(text) > 0) == truth).all(), str(both)


def test_what_is_damaged_is_made_again_and_what_is_of_another_job_forgotten(
    tiny, tiny_dictionary, tiny_activations, tmp_path, monkeypatch
):
    job, features = (tiny_dictionary, tiny_activations, tiny), range(0, 32, 2)
    files = explain(*job, tmp_path / "whole", features=features, altered=4000).manifest.files
    with monkeypatch.context() as patched:
        patched.setattr(pieces, "_explain", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            explain(*job, tmp_path / "rules", features=features, altered=4000)
    left = tmp_path / "rules" / ALTERED
    left.write_bytes(left.read_bytes()[:1000])
    assert explain(*job, tmp_path / "rules", features=features, altered=4000).manifest.files == files
    shutil.rmtree(tmp_path / "rules")
    plain = explain(*job, tmp_path / "rules", features=features)
    fresh = explain(*job, tmp_path / "fresh", features=features)
    assert plain.manifest.files == fresh.manifest.files != files


def test_rules_are_learned_from_it(tiny, tiny_dictionary, tiny_activations, tmp_path):
    job = (tiny_dictionary, tiny_activations, tiny)
    features = range(0, 32, 2)
    plain = explain(*job, tmp_path / "plain", features=features)
    rules = explain(*job, tmp_path / "rules", features=features, altered=4000)
    again = explain(*job, tmp_path / "again", features=features, altered=4000, workers=2)
    assert [each.rule for each in rules] == [each.rule for each in again] != [each.rule for each in plain]
    for one, other in zip(plain, rules, strict=True):
        assert (one.n_fired, one.n_held_out, one.token) == (other.n_fired, other.n_held_out, other.token)
    assert {each.name for each in (tmp_path / "rules").iterdir()} == {
        each.name for each in (tmp_path / "plain").iterdir()
    }
    assert rules.manifest.config["altered"] == 4000
    with pytest.raises(BadInput, match="altered"):
        explain(*job, tmp_path / "plain", features=features, altered=4000)
    for wrong, why in ((-1, "received -1"), (10**12, "16 times the training part")):
        with pytest.raises(BadInput, match=why):
            explain(*job, tmp_path / "none", altered=wrong)
    with pytest.raises(BadInput, match="received none"):
        explain(*job, tmp_path / "none", features=[])
    assert not (tmp_path / "none").exists()
    assert whole(np.int64(4), "altered") == 4
    with pytest.raises(BadInput, match=r"altered is a whole number; received 4\.5"):
        whole(4.5, "altered")
    with pytest.raises(BadInput, match="Rules are about text"):
        explain(tiny_dictionary, tiny_activations, pixel_model(), tmp_path / "none", altered=10)
