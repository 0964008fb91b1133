"""encode: what is kept is what the dictionary gives, by token and by feature, and whoever reads it says the same as
without it."""

import hashlib
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import physalis as ph
from physalis import artifact, dictionaries
from physalis.activations import Activations
from physalis.artifact import MANIFEST
from physalis.atlas.build import building
from physalis.codes import StoredCodes, encode, encoding, segments
from physalis.codes.segments import name_of
from physalis.comparing import compared
from physalis.comparing.comparison import compare
from physalis.errors import BadInput
from physalis.placement.encoding import encoded
from physalis.recording import record
from physalis.site import Site
from physalis.verifying import verify

pytestmark = pytest.mark.usefixtures("shards_are_segments")


@pytest.fixture(scope="module")
def shards_are_segments():
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(segments, "SEGMENT", 2048)
        yield


@pytest.fixture(scope="module")
def codes(shards_are_segments, tiny_activations, tiny_dictionary, tmp_path_factory):
    out = tmp_path_factory.mktemp("encoded") / "codes"
    return encode(tiny_dictionary, tiny_activations.folder, out=out, device="cpu")


@pytest.fixture(scope="module")
def dense(tiny_activations, tiny_dictionary):
    """What the dictionary gives, [tokens, features], tokens in the order of the text."""
    dictionary, found = dictionaries.load(tiny_dictionary), {}
    for _, _, at, given in encoded(dictionary, tiny_activations):
        rows = given.dense(dictionary.config.n_features).numpy()
        found |= dict(zip(at.tolist(), rows, strict=True))
    return np.stack([found[at] for at in sorted(found)])


def contents(folder):
    files = (path for path in sorted(folder.iterdir()) if path.name != artifact.LOCK)
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_tokens_have_the_codes_that_the_dictionary_gives(codes, dense, tiny_activations):
    n, inside = codes.n_tokens, codes.segments.sizes[0]
    assert len(codes.segments) > 2 and codes.n_codes == (dense > 0).sum()
    assert np.array_equal(codes.at, tiny_activations.at) and n == tiny_activations.n_tokens
    for start, stop in ((0, n), (inside - 3, inside + 2), (n - 1, n)):
        assert np.array_equal(codes.rows(start, stop).dense().numpy(), dense[start:stop])
    for start, stop in ((-1, 3), (4, 4), (0, n + 1)):
        with pytest.raises(BadInput, match="There are tokens 0 to"):
            codes.rows(start, stop)


def test_features_have_their_firings(codes, dense):
    assert np.array_equal(codes.n_fired, (dense > 0).sum(0)) and codes.density.max() <= 1
    for feature in (0, codes.n_features - 1):
        tokens = np.flatnonzero(dense[:, feature])
        assert np.array_equal(codes.firings(feature).at, codes.at[tokens])
        assert np.array_equal(codes.firings(feature).values, dense[tokens, feature])
    seen = []
    for block in codes.blocks(budget=2_000):
        for i in range(len(block.offsets) - 1):
            here = slice(block.offsets[i], block.offsets[i + 1])
            assert np.array_equal(block.values[here], dense[dense[:, block.first + i] > 0, block.first + i])
            seen.append(block.first + i)
    assert seen == [*range(codes.n_features)]
    with pytest.raises(BadInput, match="There are features 0 to"):
        codes.firings(codes.n_features)


def test_a_part_is_read_as_encoding_gives_it(codes, tiny_activations, tiny_dictionary):
    dictionary = dictionaries.load(tiny_dictionary)
    for part in (tiny_activations, tiny_activations.train, tiny_activations.held_out):
        pairs = zip(encoded(dictionary, part, size=700), codes.encoded(part, size=700), strict=True)
        for wanted, found in pairs:
            assert torch.equal(wanted.x, found.x) and torch.equal(wanted.at, found.at) and found.y is found.x
            fires = wanted.codes.values > 0
            assert torch.equal(wanted.codes.values[fires], found.codes.values[found.codes.values > 0])
            assert torch.equal(wanted.codes.ids[fires].long(), found.codes.ids[found.codes.values > 0].long())


def test_a_table_has_a_row_for_each_feature(codes, dense):
    pytest.importorskip("pandas", reason="pandas is not installed: pip install -e '.[dev]'")
    table = codes.table()
    assert table.index.name == "feature" and len(table) == codes.n_features
    assert np.array_equal(table["max_code"], dense.max(0)) and np.array_equal(table["n_fired"], codes.n_fired)
    fires = dense.any(0)
    wanted = dense.sum(0, dtype=np.float64)[fires] / (dense > 0).sum(0)[fires]
    assert np.allclose(table["mean_code"][fires], wanted) and not table["mean_code"][~fires].any()


def test_what_was_stopped_goes_on(codes, tiny_activations, tiny_dictionary, tmp_path, monkeypatch):
    """In the middle of its segments; one that is not whole by then is made again."""
    made, save = [], segments.save_file

    def stop(arrays, path):
        if len(made) == 3:
            raise KeyboardInterrupt
        made.append(path)
        save(arrays, path)

    with monkeypatch.context() as patched:
        patched.setattr(segments, "save_file", stop)
        with pytest.raises(KeyboardInterrupt):
            encode(tiny_dictionary, tiny_activations.folder, out=tmp_path / "codes", device="cpu")
    with pytest.raises(BadInput, match="is unfinished"):
        StoredCodes.open(tmp_path / "codes")
    there = {name: path.stat().st_ino for i in range(3) if (path := tmp_path / "codes" / (name := name_of(i))).exists()}
    assert len(there) == 3
    last = tmp_path / "codes" / name_of(2)
    last.write_bytes(last.read_bytes()[:-9])
    encode(tiny_dictionary, tiny_activations.folder, out=tmp_path / "codes", device="cpu")
    assert contents(tmp_path / "codes") == contents(codes.folder)
    assert (tmp_path / "codes" / name_of(1)).stat().st_ino == there[name_of(1)]


def test_a_segment_that_is_missing_in_the_middle_is_made_alone(
    codes, tiny_activations, tiny_dictionary, tmp_path, monkeypatch
):
    folder = tmp_path / "codes"
    shutil.copytree(codes.folder, folder)
    (folder / MANIFEST).unlink()
    (folder / name_of(1)).unlink()
    made, write, read, ordered = [], encoding.write_segment, [], Activations.ordered

    def counted(*arguments, **which):
        for rows in ordered(*arguments, **which):
            read.append(len(rows.at))
            yield rows

    monkeypatch.setattr(encoding, "write_segment", lambda path, arrays: (made.append(path.name), write(path, arrays)))
    monkeypatch.setattr(Activations, "ordered", counted)
    encode(tiny_dictionary, tiny_activations.folder, out=folder, device="cpu")
    assert made == [name_of(1)] and sum(read) == codes.segments.sizes[1]
    assert contents(folder) == contents(codes.folder)


def test_a_finished_folder_is_opened(codes, tiny_activations, tiny_dictionary, monkeypatch):
    monkeypatch.setattr(encoding, "write_codes", None)
    again = encode(tiny_dictionary, tiny_activations, out=codes.folder, device="cpu")
    assert again.manifest == codes.manifest
    said = f"StoredCodes({str(codes.folder)!r}, {codes.n_features:,} features, {codes.n_tokens:,} tokens,"
    assert repr(again).startswith(said)


def test_a_disk_without_room_is_told_before(tiny_activations, tiny_dictionary, tmp_path, monkeypatch):
    monkeypatch.setattr(encoding.shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(BadInput, match=r"The codes take about \d+ MB more, and the disk is full after 0 MB"):
        encode(tiny_dictionary, tiny_activations.folder, out=tmp_path / "codes", device="cpu")
    assert not (tmp_path / "codes").exists()


def test_the_room_is_what_is_written(codes, tiny_activations, tiny_dictionary, tmp_path, monkeypatch):
    """But for headers, and for what is measured of a sample."""
    size = sum((codes.folder / name).stat().st_size for name in codes.manifest.files)
    measured = 24 * len(codes.segments.measured) + 1000 * len(codes.segments)
    monkeypatch.setattr(encoding.shutil, "disk_usage", lambda path: SimpleNamespace(free=size - measured - 1))
    with pytest.raises(BadInput, match="the disk is full"):
        encode(tiny_dictionary, tiny_activations.folder, out=tmp_path / "codes", device="cpu")
    k = dictionaries.load(tiny_dictionary).config.k
    most = size + 8 * (k * codes.n_tokens - codes.n_codes)
    monkeypatch.setattr(encoding.shutil, "disk_usage", lambda path: SimpleNamespace(free=most))
    assert encode(tiny_dictionary, tiny_activations.folder, out=tmp_path / "codes", device="cpu").n_codes


def test_an_atlas_is_the_same_with_them(codes, tiny, tiny_activations, tiny_dictionary, tmp_path, monkeypatch):
    given = (tiny_dictionary, tiny_activations.folder, tiny)
    building.build_atlas(*given, tmp_path / "without", causes=0)
    before = contents(codes.folder)
    with monkeypatch.context() as patched:
        patched.setattr(building, "write_codes", None)
        building.build_atlas(*given, tmp_path / "with", codes=codes.folder, causes=0)
    assert contents(tmp_path / "with") == contents(tmp_path / "without")
    assert contents(codes.folder) == before


def test_a_comparison_is_the_same_with_them(codes, widths, comparison, tiny_activations, tmp_path, monkeypatch):
    other = encode(widths[0], tiny_activations.folder, out=tmp_path / "codes", device="cpu")
    with monkeypatch.context() as patched:
        patched.setattr(compared, "encoded", None)
        kept = [codes.folder, other.folder]
        found = compare(*widths[:2], tiny_activations.folder, codes=kept, out=tmp_path / "pair")
    assert contents(found.folder) == contents(comparison.folder)
    with pytest.raises(BadInput, match="Codes are compared on the activations"):
        compare(*widths[:2], codes=kept, out=tmp_path / "nothing")


def test_codes_of_something_else_are_refused(codes, widths, tiny, tiny_text, tiny_activations, tmp_path):
    (elsewhere,) = record(tiny, str(tiny_text), [Site("resid_post", 1)], [tmp_path / "acts"], tokens=4_000, context=32)
    for dictionary, acts, match in (
        (widths[0], tiny_activations.folder, "codes of another dictionary"),
        (widths[1], elsewhere.folder, "codes of another recording"),
    ):
        with pytest.raises(BadInput, match=match):
            ph.build_atlas(dictionary, acts, tiny, tmp_path / "atlas", codes=codes.folder)
        with pytest.raises(BadInput, match=match):
            compare(dictionary, dictionary, acts, codes=[codes.folder], out=tmp_path / "pair")
    with pytest.raises(BadInput, match="has no codes of some rows"):
        list(codes.encoded(elsewhere))
    assert not (tmp_path / "atlas").exists() and not (tmp_path / "pair").exists()


def shorter(path):
    path.write_bytes(path.read_bytes()[:-8])


def out_of_range(path):
    """Features that are not there, for compiled code to follow."""
    with open(path, "rb+") as f:
        size = int.from_bytes(f.read(8), "little")
        start = json.loads(f.read(size))["ids"]["data_offsets"][0]
        f.seek(8 + size + start)
        f.write(b"\xff\xff")


def exchanged(path):
    """Two tokens' features, each of them a feature: by token something else is said than by feature."""
    arrays = {name: np.array(each) for name, each in segments._open(path).items()}
    arrays["ids"] = np.roll(arrays["ids"], 1)
    path.unlink()
    segments.save_file(arrays, path)


def emptied(path):
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [shorter, out_of_range, emptied, Path.unlink])
def test_a_damaged_segment_is_refused_when_it_is_read(codes, tmp_path, damage):
    folder = shutil.copytree(codes.folder, tmp_path / "codes")
    damage(folder / name_of(1))
    with pytest.raises(BadInput, match=name_of(1)):
        opened = StoredCodes.open(folder)
        assert opened.rows(0, 5).n_features  # of another segment, which is whole
        opened.firings(0)
    found = verify(folder)
    assert not found.right and [each.name for each in found.files if not each.right][0] == name_of(1)


def test_halves_that_disagree_are_found(codes, tmp_path):
    folder = shutil.copytree(codes.folder, tmp_path / "codes")
    exchanged(folder / name_of(1))
    wrong = {each.name: each.said for each in verify(folder).files if not each.right}
    assert "something else by token than by feature" in wrong["what they hold"]


@pytest.mark.parametrize(
    ("name", "value"), [("n_tokens", 7), ("n_features", 0), ("segments", []), ("n_codes", 5), ("segments", [{}])]
)
def test_a_manifest_that_says_something_else_is_refused(codes, tmp_path, name, value):
    folder = shutil.copytree(codes.folder, tmp_path / "codes")
    said = json.loads((folder / MANIFEST).read_text())
    said["facts"][name] = value
    (folder / MANIFEST).write_text(json.dumps(said))
    if name != "n_codes":  # is not needed to read
        with pytest.raises(BadInput):
            StoredCodes.open(folder)
    assert not verify(folder).right


def test_from_the_command_line(physalis, codes, tiny_activations, tiny_dictionary, tmp_path):
    words = ("encode", tiny_dictionary, tiny_activations.folder, "--device", "cpu", "--out", tmp_path / "codes")
    code, out, err = physalis(*words)
    assert code == 0 and f"{codes.n_codes:,} codes of {codes.n_features:,} features" in out, err
    assert out.splitlines()[-1].startswith("Next: physalis build-atlas") and "--codes" in out.splitlines()[-1]
    code, out, err = physalis(*words, "--json")
    assert code == 0 and json.loads(out)["facts"]["n_codes"] == codes.n_codes, err
