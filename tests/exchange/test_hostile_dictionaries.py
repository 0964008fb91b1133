"""Dictionaries of strangers: whatever stands in their files, a conversion ends, in a dictionary or in a sentence."""

import io
import json
import os
import pickle
import zipfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from test_exchange import USUAL, pick, saelens
from test_exchange import w as w
from test_kill import check_kills
from test_pickles import bomb

from physalis import artifact, dictionaries
from physalis.artifact import Manifest
from physalis.errors import BadInput
from physalis.exchange import convert, pickles, read, recognise, write
from physalis.exchange.imported import site_of

pytestmark = pytest.mark.usefixtures("one_thread")


def refused(source: Path, out: Path) -> str:
    """The sentence; nothing was written."""
    with pytest.raises(BadInput) as error:
        convert(source, out)
    assert not out.exists() and len(str(error.value)) < 1000
    return str(error.value)


VALUES = {
    "architecture": [[1], {"a": 1}, 1e400, "x" * 5000, "\x1b[2J", 7], "k": ["x", [4], 1e400, -1, 10**30, {}],
    "d_in": ["x", [1], 1e400, 1.5], "normalize_activations": [[1], 3, "x" * 5000], "apply_b_dec_to_input": [3, "x"],
    "metadata": [[1], "x", 3], "reshape_activations": [3, []], "activation_fn_kwargs": [3], "dtype": [],
}  # fmt: skip


@pytest.mark.parametrize(
    ("key", "value"), [(k, v) for k, each in VALUES.items() for v in each], ids=lambda v: str(v)[:9]
)
def test_settings_that_are_none(tmp_path, w, key, value):
    path = saelens(tmp_path / "a", {"architecture": "topk", "k": 4, key: value}, pick(w, *USUAL))
    refused(path, tmp_path / "out")


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a":' * 100_000, "9" * 5000, '{"k": ' + "9" * 5000 + "}", "\0", "{}x"]
)
def test_settings_that_do_not_parse(tmp_path, w, text):
    path = saelens(tmp_path / "a", {}, pick(w, *USUAL))
    (path / "cfg.json").write_text(text)
    assert "cfg.json" in refused(path, tmp_path / "out")


@pytest.mark.parametrize("key", ["dataset_path", "sae_lens_version", "context_size"])
def test_claims_that_nest_deep_are_no_claims(tmp_path, w, key):
    deep = json.loads("[" * 700 + "]" * 700)
    path = saelens(tmp_path / "a", {"architecture": "standard", "metadata": {key: deep}}, pick(w, *USUAL))
    refused(path, tmp_path / "out")


@pytest.mark.parametrize("name", ["hook_name", "model_name", "hook_name_out"])
@pytest.mark.parametrize("value", ["\x1b[2J", "x" * 5000, "blocks." + "9" * 5000 + ".hook_resid_post"], ids=range(3))
def test_names_that_no_terminal_should_see(tmp_path, w, name, value):
    path = saelens(tmp_path / "a", {"architecture": "standard", "metadata": {name: value}}, pick(w, *USUAL))
    assert name in refused(path, tmp_path / "out")


@pytest.mark.parametrize("hook", ["blocks.99999.hook_resid_post", "L" + "9" * 4999 + ".resid_post", "layers.99999"])
def test_a_layer_has_no_five_digits(hook):
    assert site_of(hook) is None


SHAPES = {
    "scalar": lambda t: torch.tensor(1.0), "1-d": lambda t: t.flatten(), "3-d": lambda t: t[None],
    "empty": lambda t: t[:0], "no width": lambda t: t[:, :0] if t.ndim == 2 else t[:0], "complex": lambda t: t + 0j,
    "cut": lambda t: t[:-1],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "shape"), [(n, s) for n in USUAL for s in SHAPES if not (s == "1-d" and n.startswith("b_"))]
)
def test_weights_of_another_shape(tmp_path, w, name, shape):
    path = saelens(tmp_path / "a", {"architecture": "standard"}, pick(w, *USUAL) | {name: SHAPES[shape](w[name])})
    refused(path, tmp_path / "out")


def test_weights_without_any_width(tmp_path):
    empty = {"W_enc": torch.zeros(0, 0), "W_dec": torch.zeros(0, 0), "b_enc": torch.zeros(0), "b_dec": torch.zeros(0)}
    refused(saelens(tmp_path / "a", {"architecture": "standard"}, empty), tmp_path / "out")


@pytest.mark.parametrize("name", ["sae_weights.safetensors", "cfg.json"])
@pytest.mark.parametrize("how", ["pipe", "folder", "device"])
def test_what_is_no_file_is_not_read(tmp_path, w, name, how):
    path = saelens(tmp_path / "a", {"architecture": "standard"}, pick(w, *USUAL))
    (path / name).unlink()
    if how == "pipe":
        os.mkfifo(path / name)
    elif how == "folder":
        (path / name).mkdir()
    else:
        (path / name).symlink_to("/dev/zero")
    assert "where a file should be" in refused(path, tmp_path / "out")


@pytest.mark.parametrize("name", ["ae.pt", "x.npz", "x.sae.pt", "layer_0.safetensors", "x"])
def test_a_pipe_for_a_file_is_not_waited_for(tmp_path, name):
    os.mkfifo(tmp_path / name)
    assert "is a pipe" in refused(tmp_path / name, tmp_path / "out")


HEADERS = {
    "claims 10^18 bytes": (10**18).to_bytes(8, "little") + b"{}",
    "claims 90 MB": (90 << 20).to_bytes(8, "little") + b"{}",
    "no JSON": (8).to_bytes(8, "little") + b"[[[[[[[[",
    "deep": (100_000).to_bytes(8, "little") + b"[" * 100_000,
    "outside": (62).to_bytes(8, "little") + b'{"W_dec":{"dtype":"F32","shape":[9,9],"data_offsets":[0,324]}}',
    "nothing": b"",
}


@pytest.mark.parametrize("header", HEADERS)
def test_a_header_of_safetensors_that_lies(tmp_path, w, header):
    path = saelens(tmp_path / "a", {"architecture": "standard"}, pick(w, *USUAL))
    (path / "sae_weights.safetensors").write_bytes(HEADERS[header])
    assert "sae_weights.safetensors" in refused(path, tmp_path / "out")


def npz(path: Path, shape: str, dtype: str = "<f4") -> Path:
    head = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    content = b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head.encode() + bytes(64)
    with zipfile.ZipFile(path, "w") as out:
        for name in ("W_enc", "W_dec", "b_enc", "b_dec", "threshold"):
            out.writestr(f"{name}.npy", content)
    return path


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ("(1099511627776, 1)", "<f4"), ("(-1, 4)", "<f4"), ("(4, 4, 4, 4)", "<f4"), ("(4,)", "<f4"), ("()", "<f4"),
        ("(4, 4)", "|O"), ("(4, 4)", "<U4"), ("(1, 1)", "|V99999999"), ("(4, 'x')", "<f4"), ("(4, 4)", "<c8"),
        ("(" * 200 + ")" * 200, "<f4"), ("(10**9**9,)", "<f4"),
    ],
    ids=range(12),
)  # fmt: skip
def test_an_array_in_an_npz_that_lies(tmp_path, shape, dtype):
    refused(npz(tmp_path / "params.npz", shape, dtype), tmp_path / "out")


def test_bombs_are_not_unpacked(tmp_path):
    bomb(tmp_path / "params.npz", W_enc=64 << 20)
    bomb(tmp_path / "ae.pt", archive_data__pkl=64 << 20)
    for name in ("params.npz", "ae.pt"):
        assert "unpacks to" in refused(tmp_path / name, tmp_path / "out")


def saved(path: Path, held: object) -> Path:
    torch.save(held, path)
    return path


HELD = [
    "text", {1, 2}, bytearray(4), [1], 3, None, {}, {"bias": "x"}, {1: torch.ones(2)}, {"ae": "x"}, {"ae": {}},
    {"encoder.weight": torch.ones(2)}, {"encoder.weight": torch.ones(2, 2), "bias": {1}},
    {"ae": {"bias": torch.ones(2)}}, {"pre_bias": 1, "latent_bias": 2},
    {"pre_bias": torch.ones(2), "latent_bias": "x", "activation": "TopK"},
    {"W_enc": 1, "b_enc": 1, "W_dec": 1, "b_dec": 1}, {"encoder.weight": torch.ones(2, 2).to_sparse()},
]  # fmt: skip


@pytest.mark.parametrize("held", HELD, ids=range(len(HELD)))
@pytest.mark.parametrize("name", ["ae.pt", "x_L0_50.layer3.sae.pt", "autoencoders.pt"])
def test_a_pickle_of_something_else(tmp_path, held, name):
    refused(saved(tmp_path / name, held), tmp_path / "out")


def test_containers_that_hold_each_other_are_walked_once(tmp_path):
    nested: dict = {"t": torch.ones(2, 2)}
    for _ in range(60):
        nested = {"a": nested, "b": nested}
    path = saved(tmp_path / "ae.pt", {"config": nested, "encoder.weight": torch.ones(2, 2), "bias": nested})
    refused(path, tmp_path / "out")
    trainer = saved(tmp_path / "ae_1.pt", {"config": {"dict_class": nested}, "encoder.weight": torch.ones(2, 2)})
    assert "dict_class" in refused(trainer, tmp_path / "out")
    own: dict = {"bias": torch.ones(2)}
    own["own"] = own
    refused(saved(tmp_path / "ae_2.pt", own), tmp_path / "out")


def test_a_storage_that_claims_more_than_it_has(tmp_path):
    torch.save({"encoder.weight": torch.ones(4, 4)}, tmp_path / "right.pt")
    with zipfile.ZipFile(tmp_path / "right.pt") as right, zipfile.ZipFile(tmp_path / "ae.pt", "w") as out:
        for name in right.namelist():
            content = right.read(name)
            if name.endswith("data.pkl"):
                content = content.replace(b"K\x10t", b"J" + (10**8).to_bytes(4, "little") + b"t")
            out.writestr(name, content)
    refused(tmp_path / "ae.pt", tmp_path / "out")


def test_a_program_that_never_ends_its_strings(tmp_path):
    program = io.BytesIO()
    pickle.Pickler(program, protocol=4).dump({"pre_bias": 1})
    for extra in (
        b"\x8d" + (10**15).to_bytes(8, "little"),
        b"\x8b" + (2**31 - 1).to_bytes(4, "little"),
        b"(" * 100_000,
    ):
        (tmp_path / "x.pt").write_bytes(b"\x80\x04" + extra + program.getvalue())
        assert pickles.words(tmp_path / "x.pt") <= {"pre_bias"}
        refused(tmp_path / "x.pt", tmp_path / "out")


YAMLS = [
    "a: &a [x]\nb: *a\n", "model_name: !!python/object/apply:os.system [ls]\n", "[" * 50_000, "model_name: [1]\n",
    "model_name: 2026-99-99\n", "- 1\n", "model_name: " + "9" * 5000 + "\n", "? [a]\n: b\n", "a: " + "x" * 2_000_000,
    "feature_input_hook: {a: b}\n",
]  # fmt: skip


@pytest.mark.parametrize("text", YAMLS, ids=range(len(YAMLS)))
def test_yaml_beside_the_weights(tmp_path, text):
    tensors = {"W_enc": torch.ones(9, 4), "W_dec": torch.ones(9, 4), "b_enc": torch.ones(9), "b_dec": torch.ones(4)}
    (tmp_path / "set").mkdir()
    save_file(tensors, tmp_path / "set/layer_0.safetensors")
    (tmp_path / "set/config.yaml").write_text(text)
    assert "config.yaml" in refused(tmp_path / "set/layer_0.safetensors", tmp_path / "out")


def test_the_rest_of_a_disk_is_not_searched_for_dictionaries(tmp_path, w):
    saelens(tmp_path / "a/b/near", {"architecture": "standard"}, pick(w, *USUAL))
    saelens(tmp_path / "a/b/c/d/e/far", {"architecture": "standard"}, pick(w, *USUAL))
    with pytest.raises(BadInput, match=r"Below it there are dictionaries in a/b/near: give one"):
        recognise(tmp_path)


def test_what_is_right_is_read_as_before(tmp_path, w):
    about = {"hook_name": "blocks.3.hook_resid_post", "model_name": "gpt2", "dataset_path": "a/b", "context_size": 128}
    path = saelens(tmp_path / "a", {"architecture": "standard", "metadata": about}, pick(w, *USUAL))
    found = read(path)
    assert found.claims.sites == ("L3.resid_post",) and dict(found.claims.details)["context_size"] == 128
    np.testing.assert_allclose(found.dictionary.state_dict()["b_dec"], w["b_dec"])


def write_saelens(out: Path, dictionary: Path) -> None:
    write([dictionary], out, to="saelens")


@pytest.mark.slow
def test_writing_survives_kills(tmp_path):
    d = dictionaries.make("L1", {"d_in": 256, "d_out": 256, "n_features": 4096, "k": 4})
    config = {"architecture": "L1", "dictionary": asdict(d.config), "site": "L3.resid_post", "model": "gpt2"}
    with artifact.claim(tmp_path / "a", "dictionary", {}):
        artifact.finish(
            tmp_path / "a", Manifest(kind="dictionary", config=config), [dictionaries.save(d, tmp_path / "a")]
        )
    check_kills(write_saelens, tmp_path / "a", folder=tmp_path, kills=4, seed=7)
