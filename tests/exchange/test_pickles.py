"""Pickled files are read without running what they contain."""

import pickle
import zipfile
from collections import OrderedDict

import numpy as np
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
    with pytest.raises(BadInput, match="missing.pt cannot be read"):
        pickles.load(tmp_path / "missing.pt")
    assert RAN == []


def test_words_are_found_without_building_anything(tmp_path):
    torch.save({"pre_bias": torch.ones(2), "x": Malicious()}, tmp_path / "a.pt")
    assert {"pre_bias", "x"} <= pickles.words(tmp_path / "a.pt")
    assert RAN == []
    (tmp_path / "b.pt").write_bytes(b"\x00\x01")
    assert pickles.words(tmp_path / "b.pt") == frozenset() == pickles.words(tmp_path / "none.pt")


def test_a_pickle_inside_npz_is_not_read(tmp_path):
    np.savez(tmp_path / "params.npz", W_enc=np.array([Malicious()], dtype=object))
    with pytest.raises(BadInput, match="cannot be read"):
        read(tmp_path)
    assert RAN == []


def bomb(path, **members):
    """A zip of zeros by member name: small as a file, as large as asked once it is unpacked."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, size in members.items():
            with archive.open(name.replace("_", "/", 1).replace("__", "."), "w") as member:
                for _ in range(size >> 20):
                    member.write(bytes(1 << 20))
    assert path.stat().st_size < 1 << 20


@pytest.mark.parametrize("members", [{"archive_data__pkl": 64 << 20}, {"archive_0": 64 << 20}])
def test_what_unpacks_to_more_than_it_is_is_not_read(tmp_path, members):
    torch.save({"pre_bias": torch.ones(2)}, tmp_path / "right.pt")
    assert "pre_bias" in pickles.words(tmp_path / "right.pt")
    bomb(tmp_path / "ae.pt", **members)
    with pytest.raises(BadInput, match="unpacks to 67,108,864 bytes"):
        pickles.load(tmp_path / "ae.pt")
    with pytest.raises(BadInput, match="unpacks to 67,108,864 bytes"):
        pickles.words(tmp_path / "ae.pt")


def test_an_npz_that_unpacks_to_much_more_than_it_is_is_not_read(tmp_path):
    np.savez_compressed(tmp_path / "params.npz", W_enc=np.zeros((1024, 16384), dtype=np.float32))
    with pytest.raises(BadInput, match="times its size, which no weights do"):
        read(tmp_path)
    right = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)
    np.savez_compressed(tmp_path / "right.npz", W_enc=right)
    assert torch.equal(files.tensors(tmp_path / "right.npz")["W_enc"], torch.from_numpy(right))


def test_a_few_numbers_that_are_said_to_be_many_are_not_read(tmp_path):
    torch.save({"bias": torch.ones(1).expand(1 << 40)}, tmp_path / "ae.pt")
    with pytest.raises(BadInput, match="too few numbers for that"):
        pickles.load(tmp_path / "ae.pt")
    tied = torch.ones(4, 4)
    torch.save({"a": tied, "b": tied.T}, tmp_path / "right.pt")
    assert torch.equal(pickles.load(tmp_path / "right.pt")["b"], tied)


def test_words_of_files_of_before_zips_are_found(tmp_path):
    torch.save({"pre_bias": torch.ones(2)}, tmp_path / "a.pt", _use_new_zipfile_serialization=False)
    assert "pre_bias" in pickles.words(tmp_path / "a.pt")
