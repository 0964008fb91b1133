"""Settings and arrays that are not what they should be end in a sentence that says what stands there."""

import json
import os
import struct
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from test_exchange import D, F, learned, pick, random, saelens, sparsify

from physalis.errors import BadInput
from physalis.exchange import convert, files

USUAL = ("W_enc", "b_enc", "W_dec", "b_dec")


@pytest.fixture
def w():
    return {"W_enc": random(D, F, seed=1), "b_enc": random(F, seed=2), "W_dec": random(F, D, seed=3),
            "b_dec": random(D, seed=4)}  # fmt: skip


def refused(source, out, said, **options):
    with pytest.raises(BadInput, match=said):
        convert(source, out / "out", **options)
    assert not (out / "out").exists()


@pytest.mark.parametrize("cfg, said", [
    ({"architecture": ["topk"]}, "architecture = .*should be a word"),
    ({"architecture": 7}, "should be a word"),
    ({"architecture": "topk", "k": [4]}, "k = .*should be a number"),
    ({"architecture": "topk", "k": "4"}, "should be a number"),
    ({"architecture": "topk", "k": float("inf")}, "should be a number"),
    ({"architecture": "topk", "k": 10**400}, "should be a number"),
    ({"architecture": "topk", "k": True}, "should be a number"),
    ({"architecture": "topk", "k": -4}, "k must be at least 1"),
    ({"architecture": "topk", "k": 1e12}, "must be smaller than the number of features"),
    ({"architecture": "standard", "normalize_activations": [1]}, "a word or true or false"),
    ({"architecture": "standard", "metadata": "none"}, "settings by name"),
    ({"architecture": "standard", "metadata": {"hook_name": 9}}, "hook_name = 9, which"),
    ({"architecture": "standard", "metadata": {"model_name": ["gpt2"]}}, "model_name"),
    ({"architecture": "standard", "metadata": {"training_architecture_details": 3}}, "settings by name"),
    ({"architecture": "matching_pursuit", "residual_threshold": "x"}, "should be a number"),
])  # fmt: skip
def test_settings_of_another_kind_are_named(tmp_path, w, cfg, said):
    refused(saelens(tmp_path / "a", cfg, pick(w, *USUAL)), tmp_path, said)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a": 1', "[]", "\xff", "7", '{"architecture": 1e400}', "{" + " " * 2_000_000]
)
def test_what_is_no_settings_is_said(tmp_path, w, text):
    path = saelens(tmp_path / "a", {}, pick(w, *USUAL))
    (path / "cfg.json").write_bytes(text.encode("latin-1"))
    refused(path, tmp_path, "cannot be read|not settings by name|should be a word|more than 1,048,576 bytes")


def test_aliases_in_yaml_are_not_followed(tmp_path, w):
    (tmp_path / "set").mkdir()
    tensors = {"W_enc": w["W_enc"].T, "W_dec": w["W_dec"], "b_enc": w["b_enc"], "b_dec": w["b_dec"]}
    save_file({n: v.contiguous() for n, v in tensors.items()}, tmp_path / "set" / "layer_0.safetensors")
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 10)]
    (tmp_path / "set" / "config.yaml").write_text("\n".join([*lines, "model_name: *a9"]))
    refused(tmp_path / "set" / "layer_0.safetensors", tmp_path, "refers to parts of itself")


@pytest.mark.parametrize("name", USUAL)
def test_a_tensor_that_is_missing_or_no_matrix_is_named(tmp_path, w, name):
    cfg = {"architecture": "standard"}
    path = saelens(tmp_path / "a", cfg, {each: value for each, value in w.items() if each != name})
    refused(path, tmp_path, f"no tensor '{name}'")
    flat = saelens(tmp_path / "b", cfg, pick(w, *USUAL) | {name: torch.ones(5)})
    refused(flat, tmp_path, "should be a matrix|should be|no tensor")
    deep = saelens(tmp_path / "c", cfg, pick(w, *USUAL) | {name: torch.ones(2, 3, 4)})
    refused(deep, tmp_path, "should be|cannot be read as saelens|stored the other way round")


def test_shares_and_scales_that_cannot_be_are_named(tmp_path, w):
    path = saelens(tmp_path / "a", {"architecture": "standard"}, pick(w, *USUAL))
    save_file({"sparsity": torch.full((F,), 1e30)}, path / "sparsity.safetensors")
    refused(path, tmp_path, "logarithm of a share")
    scaled = {"architecture": "standard", "normalize_activations": "expected_average_only_in"}
    path = saelens(tmp_path / "b", scaled, pick(w, *USUAL))
    for value in ('"x"', "[1]", "0", "-1"):
        (path / "activation_scaler.json").write_text(f'{{"scaling_factor": {value}}}')
        refused(path, tmp_path, "should be a number|cannot have been multiplied")


@pytest.mark.parametrize(
    "held", ["a word", {1, 2}, bytearray(b"x"), [1], {"ae": 3}, {"config": [1]}, {"ae": {"bias": "x"}}, {}]
)
@pytest.mark.parametrize("format", [None, "openai", "plain", "dictionary_learning"])
def test_pickles_that_hold_no_weights(tmp_path, held, format):
    torch.save(held, tmp_path / "ae.pt")
    refused(tmp_path / "ae.pt", tmp_path, "holds|has no tensor|cannot be read|wants to run", format=format)


def test_settings_without_what_the_format_needs(tmp_path, w):
    path = sparsify(tmp_path / "a", w)
    for name in ("d_in", "k"):
        said = json.loads((path / "cfg.json").read_text())
        del said[name]
        (tmp_path / name).mkdir()
        (tmp_path / name / "cfg.json").write_text(json.dumps(said))
        os.link(path / "sae.safetensors", tmp_path / name / "sae.safetensors")
        refused(tmp_path / name, tmp_path, f"does not say '{name}'")
    refused(learned(tmp_path / "b", "AutoEncoder", {"encoder.weight": torch.ones(5)}, k="x"), tmp_path, "whole number")


def test_an_array_that_claims_terabytes(tmp_path):
    np.save(tmp_path / "W_enc.npy", np.zeros((2, 2), dtype=np.float32))
    header = (tmp_path / "W_enc.npy").read_bytes().replace(b"(2, 2), }", b"(1 << 20)"[:0] + b"(1099511627776, 1), }")
    size = struct.unpack("<H", header[8:10])[0]
    body = header[:10] + header[10:][:size].rstrip(b"\n ")[: size - 1].ljust(size - 1) + b"\n" + bytes(16)
    with zipfile.ZipFile(tmp_path / "params.npz", "w") as out:
        out.writestr("W_enc.npy", body)
    with pytest.raises(BadInput, match="cannot be read"):
        files.tensors(tmp_path / "params.npz")


def test_what_is_no_file_is_not_waited_for(tmp_path, w):
    path = saelens(tmp_path / "a", {"architecture": "standard"}, pick(w, *USUAL))
    (path / "cfg.json").unlink()
    os.mkfifo(path / "cfg.json")
    refused(path, tmp_path, "cfg.json is a pipe, where a file should be")
