"""verify: what is whole is called right, and whatever was changed is called by its name."""

import json
import resource
import shutil
import sqlite3
import sys

import damage
import pytest

import physalis as ph
from physalis.activations import STATISTICS
from physalis.atlas.schema import DATABASE
from physalis.errors import BadInput
from physalis.sweeping.sweeping import sweep
from physalis.training.checkpoints import CHECKPOINT
from physalis.verifying import verify
from physalis.web.publish.site import publish


@pytest.fixture(scope="module")
def every(tiny_activations, tiny_dictionary, tiny_evaluation, tiny_atlas, comparison, forest, tmp_path_factory):
    """A folder of each kind that is made."""
    made = tmp_path_factory.mktemp("made")
    publish(tiny_atlas, made / "site", features=[1, 2])
    ph.encode(tiny_dictionary, tiny_activations, out=made / "codes", device="cpu")
    sweep(tiny_activations, made / "sweep", architectures=["topk"], ks=[4], widths=[128], batch_size=512)
    return {
        "activations": tiny_activations.folder, "dictionary": tiny_dictionary, "evaluation": tiny_evaluation,
        "atlas": tiny_atlas.folder, "comparison": comparison.folder, "lineage": forest.folder, "site": made / "site",
        "sweep": made / "sweep", "codes": made / "codes",
    }  # fmt: skip


KINDS = ("activations", "dictionary", "evaluation", "atlas", "comparison", "lineage", "site", "sweep", "codes")


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_whole_is_right(kind, every):
    before = {p: p.stat().st_mtime_ns for p in every[kind].rglob("*")}
    found = ph.verify(every[kind])
    assert found.right and found.finished and found.kind == kind, [each for each in found.files if not each.right]
    named = {each.name for each in found.files}
    assert {"manifest.json", *json.loads((every[kind] / "manifest.json").read_text())["files"]} <= named
    assert {p: p.stat().st_mtime_ns for p in every[kind].rglob("*")} == before


@pytest.mark.parametrize("kind", KINDS)
def test_every_file_is_looked_at(kind, every, tmp_path):
    """A bit that is turned over in any file, and any file that is not there."""
    shutil.copytree(every[kind], tmp_path / "a")
    names = [each.name for each in verify(tmp_path / "a").files if (tmp_path / "a" / each.name).is_file()]
    assert kind == "evaluation" or len(names) > 1
    for name in [*names[:6], *names[-3:]]:
        if name.endswith("manifest.json"):  # what it says has a sum nowhere
            continue
        path = tmp_path / "a" / name
        held = path.read_bytes()
        path.write_bytes(held[:-1] + bytes([held[-1] ^ 1]))
        assert name in wrong(tmp_path / "a"), name
        path.unlink()
        assert name in wrong(tmp_path / "a"), name
        path.write_bytes(held)
    assert not wrong(tmp_path / "a")


def wrong(folder):
    return {each.name for each in verify(folder).files if not each.right}


HARMS = {
    "NaN": (damage.ROWS["NaN"], "shard-000000.safetensors"),
    "place": (damage.PLACES["place"], "shard-000000.safetensors"),
    "link": (damage.a_link("tokens.npy"), "tokens.npy"),
    "far out": (damage.TEXTS["token ids below 0"], "what they hold"),
    "another mean": (damage.mean(lambda x: x + 1), "what they hold"),
    "manifest": (damage.MANIFESTS["a list"], "manifest.json"),
    "deep": (damage.MANIFESTS["deep"], "manifest.json"),
    "traversal": (damage.MANIFESTS["files above"], "manifest.json"),
    "config": (damage.said("config", "context", value="x"), "manifest.json"),
}


@pytest.mark.parametrize("name", HARMS)
def test_what_is_wrong_with_activations_is_named(name, every, tmp_path):
    shutil.copytree(every["activations"], tmp_path / "a")
    harm, where = HARMS[name]
    harm(tmp_path / "a")
    assert where in wrong(tmp_path / "a")


@pytest.mark.parametrize("name", ["one NaN", "fewer features", "dictionary n_features = 1000000000000"])
def test_what_is_wrong_with_a_dictionary_is_named(name, every, tmp_path):
    shutil.copytree(every["dictionary"], tmp_path / "a")
    damage.DICTIONARIES[name](tmp_path / "a")
    assert "what they hold" in wrong(tmp_path / "a")


def test_a_database_is_read_page_by_page(every, tmp_path):
    shutil.copytree(every["atlas"], tmp_path / "a")
    path = tmp_path / "a" / DATABASE
    held = bytearray(path.read_bytes())
    held[8192:16384] = b"\xff" * 8192
    path.write_bytes(held)
    damage.agree(tmp_path / "a", DATABASE)
    assert wrong(tmp_path / "a") == {"what they hold"}
    shutil.copyfile(every["atlas"] / DATABASE, path)
    with sqlite3.connect(path) as database:
        database.execute("DELETE FROM pages WHERE id = 3")
    database.close()
    damage.agree(tmp_path / "a", DATABASE)
    assert "what they hold" in wrong(tmp_path / "a")


def test_unfinished_folders(every, tmp_path):
    shutil.copytree(every["activations"], tmp_path / "a")
    (tmp_path / "a/manifest.json").unlink()
    found = verify(tmp_path / "a")
    assert found.right and not found.finished and found.kind == "activations"
    assert {"job.json", "text.json", "shard-000000.safetensors"} <= {each.name for each in found.files}
    for name in ("tokens.npy", "shard-000001.safetensors"):
        damage.truncated(name, 0.9)(tmp_path / "a")
    (tmp_path / "a" / CHECKPOINT).write_bytes(b"\xff" * 99)
    (tmp_path / "a/metrics.jsonl").write_text('{"step": 0, "tokens": 0}\n[]\n')
    assert wrong(tmp_path / "a") == {"text.json", "shard-000001.safetensors", CHECKPOINT, "metrics.jsonl"}
    (tmp_path / "a/job.json").write_text("[]")
    assert "job.json" in wrong(tmp_path / "a")


def test_the_command(every, tmp_path, physalis):
    code, printed, said = physalis("verify", every["activations"])
    assert code == 0 and "Nothing is wrong." in printed and "tokens.npy" in printed
    code, printed, said = physalis("verify", every["dictionary"], "--json")
    assert code == 0 and json.loads(printed)["right"] is True
    shutil.copytree(every["dictionary"], tmp_path / "a[/b]")
    damage.truncated("dictionary.safetensors")(tmp_path / "a[/b]")
    code, printed, said = physalis("verify", tmp_path / "a[/b]")
    assert code == 1 and "WRONG" in printed and "are wrong" in printed and "a[/b]" in printed.replace("\n", "")
    code, printed, said = physalis("verify", tmp_path / "a[/b]", "--json")
    assert code == 1 and json.loads(printed)["right"] is False
    code, printed, said = physalis("verify", tmp_path)
    assert code == 2 and "holds nothing that physalis made" in said
    with pytest.raises(BadInput, match="holds nothing that physalis made"):
        verify(tmp_path / STATISTICS)


def test_folders_in_folders_end(tiny_dictionary, tmp_path):
    inside = tmp_path / "d"
    for _ in range(40):
        inside.mkdir()
        (inside / "job.json").write_text("{}")
        inside = inside / "d"
    found = verify(tmp_path / "d")
    assert any("deeper than anything of ours" in each.said for each in found.files) and len(found.files) < 20


def test_a_checkpoint_that_says_more_than_memory_is_read_in_pieces(tmp_path):
    """A file of holes takes no room on a disk."""
    folder = tmp_path / "d"
    folder.mkdir()
    (folder / "job.json").write_text('{"kind": "dictionary", "job": {}}')
    size = 1 << 32
    head = json.dumps({"x": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}, "__metadata__": {"step": "3"}})
    with open(folder / "checkpoint.safetensors", "wb") as file:
        file.write(len(head).to_bytes(8, "little") + head.encode())
        file.truncate(8 + len(head) + size)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    verify(folder)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < (1 << 30 if sys.platform == "darwin" else 1 << 20)  # bytes there, kilobytes here
