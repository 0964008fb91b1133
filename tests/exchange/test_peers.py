"""What other tools wrote is read as they read it: their own files, with their own codes, through convert and load.

tests/peers holds small dictionaries written by SAELens, sparsify, dictionary_learning and circuit-tracer themselves
(the versions are in cases.json), by the grid of what changes numbers, with the codes and reconstructions that each tool
gives for 16 inputs. ``python benchmarks/exchange.py --keep tests/peers`` makes them anew.
"""

import json
import zipfile

import pytest
import torch
from safetensors.torch import load_file
from tree import TESTS

from physalis import dictionaries
from physalis.exchange import convert

PEERS = TESTS / "peers"
INDEX = json.loads((PEERS / "cases.json").read_text())
BAR = 1e-5


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    """The folder of an archive, unpacked."""
    done = {}

    def unpack(archive):
        if archive not in done:
            done[archive] = tmp_path_factory.mktemp(archive.removesuffix(".zip"))
            with zipfile.ZipFile(PEERS / archive) as held:
                held.extractall(done[archive])
        return done[archive]

    return unpack


@pytest.mark.parametrize("case", INDEX["cases"], ids=lambda case: f"{case['library']}: {case['case']}")
def test_codes_and_reconstructions_are_the_tools_own(case, unpacked, tmp_path):
    folder = unpacked(case["archive"]) / case["folder"]
    source = folder / "layer_0.safetensors" if (folder / "layer_0.safetensors").exists() else folder
    convert(source, tmp_path / "ours")
    d = dictionaries.load(tmp_path / "ours")
    known = load_file(folder.parent / "known.safetensors")
    codes = d.encode(known["x"])
    found = torch.zeros(known["codes"].shape).scatter_add_(1, codes.ids.long(), codes.values)
    assert (known["codes"] > 0).any() and (known["codes"] == 0).any()
    for name, ours in (("codes", found), ("y", d.rebuild(known["x"], codes))):
        apart = float((ours - known[name]).abs().max() / known[name].abs().max().clamp_min(1))
        assert apart < BAR, f"{name}: {apart:.1e}"


def test_every_option_that_changes_numbers_is_there():
    cases = {library: [case["case"] for case in INDEX["cases"] if case["library"] == library]
             for library in ("SAELens", "sparsify", "dictionary_learning", "circuit-tracer")}  # fmt: skip
    for word in ("standard", "gated", "topk", "jumprelu", "batchtopk", "matryoshka", "matching_pursuit", "skip_",
                 "layer_norm", "expected_average", "checkpoint", "inference", "by length", "not by length",
                 "b_dec kept", "b_dec subtracted", "hook_z", "float16", "bfloat16"):  # fmt: skip
        assert any(word in case for case in cases["SAELens"]), word
    for word in ("transcoder", "skip_connection", "normalize_decoder", "multi_topk", "float16"):
        assert any(word in case for case in cases["sparsify"]), word
    for word in ("Standard", "April", "Gated", "PAnneal", "GatedAnneal", "JumpRelu", "TopK", "BatchTopK", "Matryoshka",
                 "scaled", "interrupted"):  # fmt: skip
        assert any(word in case for case in cases["dictionary_learning"]), word
    assert len(cases["circuit-tracer"]) >= 6 and set(INDEX["versions"]) >= {"sae-lens", "torch"}
