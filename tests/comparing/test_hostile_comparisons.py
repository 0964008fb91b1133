"""Comparisons and trees of features whose arrays are not what they should be are refused in a sentence."""

import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from physalis.comparing import Comparison, Forest
from physalis.errors import BadInput


def put(arrays, name, value, at=0):
    arrays[name] = arrays[name].copy()
    arrays[name][at] = value


def cast(arrays, name, dtype):
    arrays[name] = arrays[name].astype(dtype)


OF_BOTH = {
    "garbage": b"garbage",
    "nothing": b"",
    "a header without end": (1 << 60).to_bytes(8, "little") + b"{",
    "a header that is a list": (2).to_bytes(8, "little") + b"[]",
}
SUMMARIES = ("", "[]", "null", "{}", "\xff", "[" * 100_000, '{"widths": 7}', "7")
OF_A_PAIR = {
    "an array less": lambda a: a.pop("a.fate"),
    "an array too short": lambda a: a.update({"a.cosine": a["a.cosine"][:-1]}),
    "a table": lambda a: a.update({"a.fate": np.zeros((len(a["a.fate"]), 2), np.uint8)}),
    "a fate that is none": lambda a: put(a, "a.fate", 9),
    "fates that are no numbers": lambda a: cast(a, "a.fate", np.float32),
    "cosines that are whole": lambda a: a.update({"a.cosine": np.zeros(len(a["a.cosine"]), np.int32)}),
    "a partner that is none": lambda a: put(a, "a.partner", 10**6),
    "a partner below": lambda a: put(a, "b.by_code", -3),
    "a group that is none": lambda a: put(a, "a.group", 10**6),
    "a member that is none": lambda a: put(a, "member.feature", 10**6),
    "a whole that is none": lambda a: put(a, "group.feature", -1),
    "a side that is none": lambda a: put(a, "group.side", 2),
    "parts that overlap": lambda a: put(a, "group.offsets", 10**6, -1),
    "parts from elsewhere": lambda a: put(a, "group.offsets", 1),
}
OF_A_TREE = {
    "an array less": lambda a: a.pop("1.parent"),
    "a parent that is none": lambda a: put(a, "1.parent", 10**6),
    "a parent below": lambda a: put(a, "1.parent", -2),
    "parents that are no numbers": lambda a: cast(a, "1.parent", np.float64),
    "a level too short": lambda a: a.update({"0.n_fired": a["0.n_fired"][1:]}),
    "heirs that are many": lambda a: put(a, "1.heir", 7),
    "shares that are whole": lambda a: cast(a, "1.heir", np.float32),
}


@pytest.fixture(params=["pair", "tree"])
def subject(request, tmp_path):
    """(what opens it, a copy of its folder, the name of its arrays)"""
    if request.param == "pair":
        return Comparison, copy(request.getfixturevalue("split")[0].folder, tmp_path), "features.safetensors"
    return Forest, copy(request.getfixturevalue("grown").folder, tmp_path), "nodes.safetensors"


def copy(folder, to):
    return shutil.copytree(folder, to / "copy")


@pytest.mark.parametrize("content", OF_BOTH.values(), ids=OF_BOTH)
def test_files_that_hold_no_arrays(subject, content):
    kind, folder, name = subject
    (folder / name).write_bytes(content)
    with pytest.raises(BadInput, match=rf"{name} cannot be read .*delete it and make it again"):
        kind.open(folder)


@pytest.mark.parametrize("text", SUMMARIES, ids=range(len(SUMMARIES)))
def test_summaries_that_are_none(subject, text):
    kind, folder, _ = subject
    (folder / "summary.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(BadInput, match=r"summary.json( is not readable JSON|: ).*The folder is damaged"):
        kind.open(folder)


def test_summaries_of_more_features_than_there_are(subject):
    kind, folder, name = subject
    said = json.loads((folder / "summary.json").read_text())
    (said["widths"][0] if kind is Forest else said["a"])["n_features"] = 10**12
    (folder / "summary.json").write_text(json.dumps(said))
    with pytest.raises(BadInput, match=rf"{name} cannot be read"):
        kind.open(folder)


def changed(folder, name, change):
    arrays = load_file(folder / name)
    change(arrays)
    save_file(arrays, folder / name)


@pytest.mark.parametrize("change", OF_A_PAIR.values(), ids=OF_A_PAIR)
def test_arrays_of_a_pair(split, tmp_path, change):
    folder = copy(split[0].folder, tmp_path)
    changed(folder, "features.safetensors", change)
    with pytest.raises(BadInput, match="features.safetensors"):
        Comparison.open(folder)


@pytest.mark.parametrize("change", OF_A_TREE.values(), ids=OF_A_TREE)
def test_arrays_of_a_tree(grown, tmp_path, change):
    folder = copy(grown.folder, tmp_path)
    changed(folder, "nodes.safetensors", change)
    with pytest.raises(BadInput, match="nodes.safetensors"):
        Forest.open(folder)
