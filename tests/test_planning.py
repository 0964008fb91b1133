"""Planning: sizes are counted, rates are measured, nothing is written."""

import pytest

from physalis.errors import BadInput
from physalis.planning import plan
from physalis.site import Site


def test_a_plan(tiny, tiny_dictionary, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    p = plan(tiny, Site("resid_post", 1), tokens=12_000, n_features=4 * tiny.d_model, k=4, batch_size=512)
    assert p.fits and p.train_seconds > 0 and p.recording.seconds > 0
    on_disk = (tiny_dictionary / "dictionary.safetensors").stat().st_size
    assert p.dictionary_bytes == pytest.approx(on_disk, rel=0.1)
    assert not list(tmp_path.iterdir())
    twice = plan(tiny, Site("resid_post", 1), tokens=24_000, n_features=8 * tiny.d_model, k=4, batch_size=512)
    assert twice.dictionary_bytes > 1.9 * p.dictionary_bytes
    assert twice.recording.disk_bytes == pytest.approx(2 * p.recording.disk_bytes, rel=0.05)


def test_bad_input_is_a_sentence(tiny):
    with pytest.raises(BadInput, match="must be smaller than the number of features"):
        plan(tiny, Site("resid_post", 1), n_features=32, k=32)
    with pytest.raises(BadInput, match="layers"):
        plan(tiny, Site("resid_post", 99))
