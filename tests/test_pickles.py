"""Pickled files are read without running what they contain."""

import pickle
from collections import OrderedDict

import pytest
import torch

from physalis.errors import BadInput
from physalis.exchange import files, pickles, read

RAN = []


def run(what):
    RAN.append(what)
    return torch.zeros(1)


class Malicious:
    def __reduce__(self):
        return run, ("code",)


class System:
    def __reduce__(self):
        import os

        return os.system, ("true",)


def test_weights_are_read_and_it_is_said(tmp_path, capsys):
    torch.save(
        OrderedDict(a=torch.ones(3), k=torch.tensor(4), name="x", nested={"b": [1, 2.5, None]}), tmp_path / "a.pt"
    )
    held = pickles.load(tmp_path / "a.pt")
    assert torch.equal(held["a"], torch.ones(3)) and held["nested"] == {"b": [1, 2.5, None]}
    said = capsys.readouterr()
    assert "a.pt is a pickle" in said.err and said.out == ""
    assert set(files.tensors(tmp_path / "a.pt")) == {"a", "k"}


@pytest.mark.parametrize("bad, name", [(Malicious(), "run"), (System(), "system")])
@pytest.mark.parametrize("new", [True, False])
def test_a_malicious_pickle_does_not_run(tmp_path, bad, name, new):
    held = {"encoder.weight": torch.ones(2, 2), "x": bad}
    torch.save(held, tmp_path / "ae.pt", _use_new_zipfile_serialization=new)
    with pytest.raises(BadInput, match=f"wants to run .*{name}.*It was not run"):
        pickles.load(tmp_path / "ae.pt")
    with pytest.raises(BadInput, match="wants to run"):
        read(tmp_path)
    assert RAN == []


def test_a_pickle_that_is_no_torch_file_does_not_run(tmp_path):
    (tmp_path / "ae.pt").write_bytes(pickle.dumps({"bias": Malicious()}))
    with pytest.raises(BadInput, match="cannot be read as a torch file|wants to run"):
        pickles.load(tmp_path / "ae.pt")
    (tmp_path / "ae.pt").write_bytes(b"not a pickle at all")
    with pytest.raises(BadInput, match="cannot be read as a torch file"):
        pickles.load(tmp_path / "ae.pt")
    with pytest.raises(BadInput, match="cannot be read as a torch file"):
        pickles.load(tmp_path / "missing.pt")
    assert RAN == []


def test_words_are_found_without_building_anything(tmp_path):
    torch.save({"pre_bias": torch.ones(2), "x": Malicious()}, tmp_path / "a.pt")
    assert {"pre_bias", "x"} <= pickles.words(tmp_path / "a.pt")
    assert RAN == []
    (tmp_path / "b.pt").write_bytes(b"\x00\x01")
    assert pickles.words(tmp_path / "b.pt") == frozenset() == pickles.words(tmp_path / "none.pt")


def test_a_pickle_inside_npz_is_not_read(tmp_path):
    import numpy as np

    np.savez(tmp_path / "params.npz", W_enc=np.array([Malicious()], dtype=object))
    with pytest.raises(BadInput, match="cannot be read"):
        read(tmp_path)
    assert RAN == []
