"""Unfinished folders that a disk spoiled, or a stranger: the same command goes on from what is whole, or says what to
do. Links lead nowhere, and what is finished is opened where nothing can be written."""

import hashlib
import json
import os
import shutil
import signal
import sqlite3
from pathlib import Path

import damage
import numpy as np
import pytest
from safetensors.numpy import save_file

from physalis import artifact
from physalis.artifact import files
from physalis.dictionaries import TopKConfig
from physalis.errors import BadInput
from physalis.models.sources import packages
from physalis.people.comments import Comments
from physalis.people.comments.database import DATABASE, KEY, Database
from physalis.people.notes import Notes
from physalis.people.notes.files import export_notes
from physalis.recording import jobs, record
from physalis.search import meaning
from physalis.site import Site
from physalis.training import checkpoints, history
from physalis.training.checkpoints import CHECKPOINT
from physalis.training.training import Run, train

SITE = Site("resid_post", 1)
RECORDED = {"tokens": 3_000, "context": 32, "shard_rows": 512}


def contents(folder):
    return {
        p.name: hashlib.sha256(p.read_bytes()).hexdigest()
        for p in folder.iterdir()
        if p.is_file() and p.name != ".lock"
    }


@pytest.fixture(scope="module")
def recorded(tiny, text, tmp_path_factory):
    return record(tiny, text, [SITE], [tmp_path_factory.mktemp("recorded") / "acts"], **RECORDED)[0]


def unfinished(whole, folder, left):
    """The folder as it was before its end, less some of its shards."""
    shutil.copytree(whole, folder)
    (folder / "manifest.json").unlink()
    (folder / "statistics.safetensors").unlink()
    for path in sorted(folder.glob("shard-*"))[2 * left :]:
        path.unlink()


def spoiled(name):
    """Ways to spoil a file, and what holds JSON in a few more."""
    ways = {
        "missing": damage.missing(name), "empty": damage.written(name, b""), "cut": damage.truncated(name),
        "garbage": damage.written(name, b"\xff" * 999),
    }  # fmt: skip
    if ".json" in name:
        texts = {"a list": b"[]\n", "null": b"null\nnull\n", "deep": b"[" * 100_000 + b"\n", "a table": b"{}\n"}
        ways |= {how: damage.written(name, text) for how, text in texts.items()}
    return {f"{name} {how}": harm for how, harm in ways.items()}


RECORDING = ("text.json", "tokens.npy", "documents.npy", "layout.json", "shard-000000.json", damage.SHARD)
SPOILED = {how: harm for name in RECORDING for how, harm in spoiled(name).items()}


@pytest.mark.parametrize("how", SPOILED)
def test_a_spoiled_recording_ends_the_same(how, tiny, text, recorded, tmp_path):
    unfinished(recorded.folder, tmp_path / "acts", 2)
    SPOILED[how](tmp_path / "acts")
    record(tiny, text, [SITE], [tmp_path / "acts"], **RECORDED)
    assert contents(tmp_path / "acts") == contents(recorded.folder)


@pytest.mark.parametrize("name", ["tokens.npy", "documents.npy"])
def test_a_finished_recording_mends_its_text(name, tiny, text, recorded, tmp_path):
    shutil.copytree(recorded.folder, tmp_path / "acts")
    damage.truncated(name)(tmp_path / "acts")
    record(tiny, text, [SITE], [tmp_path / "acts"], **RECORDED)
    assert contents(tmp_path / "acts") == contents(recorded.folder)


def test_shards_of_a_text_that_nobody_can_tell_are_made_anew(tiny, text, recorded, tmp_path, monkeypatch, capsys):
    unfinished(recorded.folder, tmp_path / "acts", 2)
    (tmp_path / "acts/text.json").write_text("{")
    made, whole = [], jobs.collect
    monkeypatch.setattr(jobs, "collect", lambda *a, **k: made.append(a[3].number) or whole(*a, **k))
    record(tiny, text, [SITE], [tmp_path / "acts"], **RECORDED)
    assert made[:2] == [0, 1] and "recorded anew" in capsys.readouterr().err


FOLDERS = ("job.json", ".lock", "layout.json", "text.json", "tokens.npy", "shard-000000.json", damage.SHARD)


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_where_a_file_should_be_is_named(name, tiny, text, recorded, tmp_path):
    unfinished(recorded.folder, tmp_path / "acts", 2)
    damage.a_folder(name)(tmp_path / "acts")
    (tmp_path / "acts" / name / "mine").write_text("mine")
    with pytest.raises(BadInput, match=name):
        record(tiny, text, [SITE], [tmp_path / "acts"], **RECORDED)
    assert (tmp_path / "acts" / name / "mine").read_text() == "mine"


CONFIG = {"n_features": 128, "k": 4}
TRAINED = {"batch_size": 512, "epochs": 1}


def trained(acts, out):
    return train(acts, [TopKConfig(d_in=acts.d, d_out=acts.d, **CONFIG)], [out], **TRAINED)


@pytest.fixture(scope="module")
def stopped(tiny_activations, tmp_path_factory):
    """(a folder whose training was stopped after a checkpoint, what an unbroken one holds)."""
    whole, half = (tmp_path_factory.mktemp("stopped") / name for name in ("whole", "half"))
    trained(tiny_activations, whole)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoints, "EVERY_S", -1.0)
        descend = Run.descend

        def stops(self, batch, step, *rest):
            if step == 13:
                raise KeyboardInterrupt
            return descend(self, batch, step, *rest)

        patch.setattr(Run, "descend", stops)
        with pytest.raises(KeyboardInterrupt):
            trained(tiny_activations, half)
    assert (half / CHECKPOINT).exists()
    return half, contents(whole)


KEPT = {how: harm for name in (CHECKPOINT, history.METRICS, history.PACE) for how, harm in spoiled(name).items()}


@pytest.mark.parametrize("how", KEPT)
def test_a_spoiled_training_ends_the_same(how, stopped, tiny_activations, tmp_path):
    half, whole = stopped
    shutil.copytree(half, tmp_path / "half")
    KEPT[how](tmp_path / "half")
    trained(tiny_activations, tmp_path / "half")
    assert contents(tmp_path / "half") == whole


def test_a_checkpoint_that_is_not_whole_is_said(stopped, tiny_activations, tmp_path, capsys):
    shutil.copytree(stopped[0], tmp_path / "half")
    damage.truncated(CHECKPOINT)(tmp_path / "half")
    trained(tiny_activations, tmp_path / "half")
    assert "checkpoint.safetensors is damaged" in (said := capsys.readouterr().err) and "starts afresh" in said


JOBS = {
    "empty": b"", "a list": b"[]", "null": b"null", "cut": b'{"job": {', "garbage": b"\xff\xfe", "deep": b"[" * 99_999,
    "a job in words": b'{"kind": "dictionary", "schema_version": 1, "job": "x"}',
}  # fmt: skip


@pytest.mark.parametrize("job", JOBS)
def test_a_job_that_cannot_be_told_is_named(job, stopped, tiny_activations, tmp_path):
    shutil.copytree(stopped[0], tmp_path / "half")
    (tmp_path / "half/job.json").write_bytes(JOBS[job])
    with pytest.raises(BadInput, match="its job.json is damaged. Choose another --out, or delete the folder"):
        trained(tiny_activations, tmp_path / "half")


def test_no_link_is_written_through(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    for name in (".lock", "job.json", ".job.json.tmp", "manifest.json", "a.bin"):
        folder = tmp_path / f"in{name}"
        folder.mkdir()
        (folder / name).symlink_to(victim)
        try:
            with artifact.claim(folder, "sweep", {}):
                artifact.write_atomic(folder / "a.bin", lambda path: path.write_bytes(b"abc"))
                artifact.finish(folder, artifact.Manifest(kind="sweep", config={}), ["a.bin"])
        except BadInput:
            pass
        assert victim.read_text() == "mine" and not os.path.lexists(tmp_path / "elsewhere")


def test_links_are_named(tmp_path, stopped, tiny_activations):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/.lock").symlink_to(tmp_path / "nothing")
    with pytest.raises(BadInput, match=r"\.lock is a link"), artifact.claim(tmp_path / "a", "sweep", {}):
        pass
    assert not (tmp_path / "nothing").exists()
    shutil.copytree(stopped[0], tmp_path / "half")
    (tmp_path / "docs").mkdir()
    (tmp_path / "half/frozen").symlink_to(tmp_path / "docs")
    with pytest.raises(BadInput, match="frozen is a link to another folder"):
        trained(tiny_activations, tmp_path / "half")
    (tmp_path / "half/frozen").unlink()
    (tmp_path / "half" / history.METRICS).rename(tmp_path / "docs/metrics")
    (tmp_path / "half" / history.METRICS).symlink_to(tmp_path / "docs/metrics")
    before = (tmp_path / "docs/metrics").read_bytes()
    trained(tiny_activations, tmp_path / "half")
    assert contents(tmp_path / "half") == stopped[1] and (tmp_path / "docs/metrics").read_bytes() == before


def test_what_a_kill_leaves_behind_is_cleaned_up(tmp_path):
    def killed(path: Path):
        path.write_text("half")
        os._exit(9)

    with artifact.claim(tmp_path / "a", "sweep", {}):
        if (child := os.fork()) == 0:
            artifact.write_atomic(tmp_path / "a/x", killed)
        os.waitpid(child, 0)
        (left,) = (tmp_path / "a").glob(".x.*.tmp")
    (tmp_path / "a/.mine.tmp").write_text("mine")
    with artifact.claim(tmp_path / "a", "sweep", {}):
        assert not left.exists() and (tmp_path / "a/.mine.tmp").exists()


def killed_while_writing(path: Path, do) -> list[Path]:
    """What a process leaves in the folder of ``path`` that is killed in the middle of writing it."""
    before = {*path.parent.iterdir()}
    if (child := os.fork()) == 0:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(files.os, "replace", lambda *_: os._exit(9))
            patch.setattr(files.os, "link", lambda *_: os._exit(9))
            do()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    return [each for each in path.parent.iterdir() if each not in before]


def test_what_a_killed_export_leaves_is_cleaned_up(tmp_path, tiny_atlas):
    notes = Notes.open(tmp_path / "notes.db", atlas=tiny_atlas.manifest.hash)
    notes.label(3, "mine", author="Ada")
    (out := tmp_path / "out").mkdir()
    export_notes(notes, out)
    before = contents(out) | contents(out / "labels")
    notes.label(4, "mine too", author="Ada")
    (left,) = killed_while_writing(out / "labels/000000.jsonl", lambda: export_notes(notes, out))
    (out / "labels/.mine.tmp").write_text("mine")
    assert contents(out) | contents(out / "labels") == before | contents(out / "labels")
    export_notes(notes, out)
    assert not left.exists() and (out / "labels/.mine.tmp").exists()


def test_what_a_killed_invitation_leaves_is_cleaned_up(tmp_path):
    (folder := tmp_path / "comments").mkdir()
    (left,) = killed_while_writing(folder / KEY, lambda: Comments(Database(folder)))
    Comments(Database(folder))
    assert not left.exists() and (folder / KEY).exists()


def test_what_a_killed_search_by_meaning_leaves_is_cleaned_up(tmp_path):
    cache = tmp_path / "meaning.npy"
    (tmp_path / ".others.npy.0123456789abcdef.tmp").write_text("theirs")
    known = {b"k" * meaning.HASH: np.ones(4, np.float16)}
    (left,) = killed_while_writing(cache, lambda: meaning._write(cache, known))
    assert meaning._write(cache, known)
    assert not left.exists() and len([*tmp_path.iterdir()]) == 2


def test_what_was_being_unpacked_when_it_was_killed_is_deleted_and_what_is_now_is_not(tmp_path):
    with packages.workshop(tmp_path / "cache/model") as mine:
        (mine / "made").write_text("half")
        if (child := os.fork()) == 0:
            with packages.workshop(tmp_path / "cache/model"):
                os._exit(9)
        os.waitpid(child, 0)
        assert len(left := {*(tmp_path / "cache").iterdir()} - {mine}) == 1
        with packages.workshop(tmp_path / "cache/model") as again:
            assert {*(tmp_path / "cache").iterdir()} == {mine, again} and not left & {again}
    assert not [*(tmp_path / "cache").iterdir()]


def test_what_safetensors_was_writing_when_it_was_killed_is_deleted(tmp_path):
    """It writes into a file of its own, beside the one that it was told to write."""
    with artifact.claim(tmp_path / "made", "dictionary", {}):
        pass
    if (child := os.fork()) == 0:
        while True:
            save_file({"x": np.zeros(1 << 20)}, tmp_path / "made/x")
    while not (left := {path.name for path in (tmp_path / "made").iterdir()} - {"job.json", ".lock", "x"}):
        pass
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    (tmp_path / "made/x").unlink(missing_ok=True)
    (tmp_path / "made" / left.pop()).touch()  # whether it was caught in the middle or not
    with artifact.claim(tmp_path / "made", "dictionary", {}):
        assert {path.name for path in (tmp_path / "made").iterdir()} <= {"job.json", ".lock"}


def test_temporary_names_cannot_be_known(tmp_path, monkeypatch):
    names = set()
    for _ in range(2):
        artifact.write_atomic(tmp_path / "a", lambda path: names.add(path.name) or path.write_text("x"))
    assert len(names) == 2 and all(files.LEFT_BEHIND.fullmatch(name) for name in names)
    monkeypatch.setattr(files.secrets, "token_hex", lambda n: "0" * 16)
    (tmp_path / f".a.{'0' * 16}.tmp").symlink_to(tmp_path / "victim")
    with pytest.raises(BadInput, match="File exists"):
        artifact.write_atomic(tmp_path / "a", lambda path: path.write_text("y"))
    assert (tmp_path / "a").read_text() == "x" and not (tmp_path / "victim").exists()


def test_opening_what_is_finished_writes_nothing(recorded, tiny, text, tiny_activations, tmp_path):
    trained(tiny_activations, tmp_path / "d")
    shutil.copytree(recorded.folder, tmp_path / "acts")
    for folder in (tmp_path / "d", tmp_path / "acts"):
        (folder / ".lock").unlink()
    before = {p: p.stat().st_mtime_ns for p in [tmp_path / "d", tmp_path / "acts", *tmp_path.glob("*/*")]}
    trained(tiny_activations, tmp_path / "d")
    record(tiny, text, [SITE], [tmp_path / "acts"], **RECORDED)
    after = {p: p.stat().st_mtime_ns for p in [tmp_path / "d", tmp_path / "acts", *tmp_path.glob("*/*")]}
    assert after == before


def test_finished_folders_have_one_writer_too(tmp_path):
    def claim():
        return artifact.claim(tmp_path / "a", "sweep", {})

    with claim():
        artifact.finish(tmp_path / "a", artifact.Manifest(kind="sweep", config={}), [])
    (tmp_path / "a/.lock").unlink()
    with claim(), pytest.raises(BadInput, match="Another process is writing"), claim():
        pass
    assert not (tmp_path / "a/.lock").exists()


def test_an_out_that_is_a_file_is_named(tmp_path):
    (tmp_path / "a").write_text("mine")
    for out in (tmp_path / "a", tmp_path / "a/b"):
        with pytest.raises(BadInput, match="is no folder, or lies in none"), artifact.claim(out, "sweep", {}):
            pass


def test_manifests_lead_nowhere_else(tmp_path):
    with artifact.claim(tmp_path / "a", "sweep", {}):
        artifact.write_json(tmp_path / "a/x.json", 1)
        artifact.finish(tmp_path / "a", artifact.Manifest(kind="sweep", config={}), ["x.json"])
    said = json.loads((tmp_path / "a/manifest.json").read_text())
    for name in ("../x", "/etc/passwd", "a/../../x", "a\\..\\x", "x\0", ""):
        (tmp_path / "a/manifest.json").write_text(json.dumps({**said, "files": {name: "a" * 64}}))
        with pytest.raises(BadInput, match="leads out of the folder"):
            artifact.read(tmp_path / "a", "sweep")
    (tmp_path / "a/manifest.json").write_text(json.dumps(said))
    (tmp_path / "a/x.json").unlink()
    (tmp_path / "a/x.json").symlink_to("/etc/passwd")
    with pytest.raises(BadInput, match=r"x\.json is a link"):
        artifact.read(tmp_path / "a", "sweep")


@pytest.mark.parametrize("kind", ["notes", "comments"])
def test_a_database_whose_making_was_killed_is_made(kind, tmp_path):
    """In the middle of its tables, of which some were on the disk already."""
    (folder := tmp_path / "comments").mkdir()
    path = tmp_path / "notes.db" if kind == "notes" else folder / DATABASE

    def killed():
        db = sqlite3.connect(path, isolation_level=None)
        db.execute("PRAGMA cache_size = 2")  # what is more is written before it is committed
        db.execute("BEGIN")
        db.execute("CREATE TABLE t (a BLOB)")
        for _ in range(99):
            db.execute("INSERT INTO t VALUES (zeroblob(100000))")
        os._exit(9)

    def opened():
        return Notes.open(path, atlas="a" * 64) if kind == "notes" else Comments(Database(folder))

    if kind == "comments":
        opened()
        path.unlink()
    if (child := os.fork()) == 0:
        killed()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert path.stat().st_size and path.with_name(f"{path.name}-journal").exists()
    opened()
