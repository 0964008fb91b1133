"""Artefacts: claimed by one writer, written whole or not at all, read back or refused in a sentence."""

import errno
import json
import multiprocessing
import os

import numpy as np
import pytest
from safetensors.numpy import save_file

from physalis import artifact
from physalis.artifact import Manifest, claims
from physalis.artifact.kinds import KINDS, NAMES, in_words, noun
from physalis.errors import BadInput

CONFIG = {"architecture": "TopK", "dictionary": {"d_in": 4, "d_out": 4, "n_features": 8, "k": 2}}


def make(folder, job=None, kind="dictionary"):
    with artifact.claim(folder, kind, job or {"k": 32}):
        artifact.write_atomic(folder / "a.bin", lambda path: path.write_bytes(b"abc"))
        return artifact.finish(folder, Manifest(kind=kind, config=CONFIG), ["a.bin"])


def test_it_is_read_as_it_was_written(tmp_path):
    made = make(tmp_path / "a")
    assert artifact.read(tmp_path / "a", "dictionary") == made
    assert made.files["a.bin"].startswith("ba7816bf")
    assert make(tmp_path / "b").hash == made.hash


def test_the_same_job_again_yields_what_is_there(tmp_path):
    made = make(tmp_path / "a")
    with artifact.claim(tmp_path / "a", "dictionary", {"k": 32}) as found:
        assert found == made


def test_another_job_is_refused(tmp_path):
    make(tmp_path / "a")
    with (
        pytest.raises(BadInput, match="another job: k was 32, now 64"),
        artifact.claim(tmp_path / "a", "dictionary", {"k": 64}),
    ):
        pass
    with (
        pytest.raises(BadInput, match="holds a dictionary, not an atlas"),
        artifact.claim(tmp_path / "a", "atlas", {"k": 32}),
    ):
        pass


def test_another_job_is_told_in_names(tmp_path):
    old = {
        "text": {"name": "a.txt"},
        "sites": ["L1", "L2"],
        "inputs": {"model": "a" * 64},
        "training": {"k": 4, "b": 2},
    }
    new = {"text": {"name": "b.txt"}, "sites": None, "inputs": {"model": "b" * 64}, "training": {"k": 8, "b": 2}}
    make(tmp_path / "a", old)
    for key, said in (
        ("text", "text name was a.txt, now b.txt."), ("sites", "sites was L1, L2, now not given."),
        ("inputs", "inputs model was another one."), ("training", "training k was 4, now 8."),
    ):  # fmt: skip
        with pytest.raises(BadInput) as refused, artifact.claim(tmp_path / "a", "dictionary", {**old, key: new[key]}):
            pass
        assert str(refused.value).startswith(f"{tmp_path / 'a'} already holds another job: {said} Choose")


def test_what_came_to_nothing_is_taken_over(tmp_path):
    with artifact.claim(tmp_path / "a", "dictionary", {"k": 32}):
        pass
    with artifact.claim(tmp_path / "a", "dictionary", {"k": 64}):
        (tmp_path / "a" / "text").write_text("cheap")
    with (
        pytest.raises(BadInput, match="another job: k was 64, now 8"),
        artifact.claim(tmp_path / "a", "dictionary", {"k": 8}),
    ):
        pass
    with (
        pytest.raises(BadInput, match="holds a dictionary, not an atlas"),
        artifact.claim(tmp_path / "a", "atlas", {"k": 8}, cheap=["text"]),
    ):
        pass
    with artifact.claim(tmp_path / "a", "dictionary", {"k": 8}, cheap=["text", "more"]):
        assert not (tmp_path / "a" / "text").exists()
    make(tmp_path / "a", {"k": 8})
    (tmp_path / "a" / "job.json").write_bytes(b"\xff{")
    with (
        pytest.raises(BadInput, match="already holds something that cannot be told: its job.json is damaged"),
        artifact.claim(tmp_path / "a", "dictionary", {"k": 8}, cheap=["text"]),
    ):
        pass


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.doc").write_text("mine")
    with pytest.raises(BadInput, match="something else .thesis.doc"), artifact.claim(tmp_path, "atlas", {}):
        pass
    assert (tmp_path / "thesis.doc").read_text() == "mine"


def hold(folder, held, leave):
    with artifact.claim(folder, "dictionary", {}):
        held.set()
        leave.wait(20)


def test_two_processes_do_not_write_one_folder(tmp_path):
    context = multiprocessing.get_context("fork")
    held, leave = context.Event(), context.Event()
    other = context.Process(target=hold, args=(tmp_path / "a", held, leave))
    other.start()
    assert held.wait(20)
    with pytest.raises(BadInput, match="Another process is writing"), artifact.claim(tmp_path / "a", "dictionary", {}):
        pass
    leave.set()
    other.join()
    with artifact.claim(tmp_path / "a", "dictionary", {}):
        pass


def test_a_failed_write_leaves_nothing(tmp_path):
    def fail(path):
        path.write_text("half")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        artifact.write_atomic(tmp_path / "a", fail)
    assert not list(tmp_path.iterdir())


def test_what_is_written_may_be_read_by_whom_files_may(tmp_path):
    """Also what safetensors writes, which keeps it for its owner."""
    plain, tensors = tmp_path / "plain", tmp_path / "tensors"
    plain.touch()
    artifact.write_atomic(tensors, lambda temporary: save_file({"x": np.zeros(3)}, temporary))
    assert tensors.stat().st_mode == plain.stat().st_mode


def test_a_full_disk_is_a_sentence(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BadInput, match="The disk is full.*run the same command again"):
        artifact.write_atomic(tmp_path / "a", lambda path: path.write_text("x"))
    assert not list(tmp_path.iterdir())


def test_a_name_that_is_no_utf_8_is_refused(tmp_path):
    folder = tmp_path / os.fsdecode(b"\xff")
    with pytest.raises(BadInput, match="no UTF-8"), artifact.claim(folder, "odd", {}):
        pytest.fail("it was claimed")
    assert not folder.exists()


def test_what_is_refused_leaves_nothing_of_it(tmp_path):
    folder = tmp_path / "above" / "folder"
    with pytest.raises(BadInput, match="not so"), artifact.claim(folder, "odd", {}):
        raise BadInput("not so")
    assert not folder.parent.exists()
    with pytest.raises(BadInput, match="not so"), artifact.claim(folder, "odd", {}):
        (folder / "made").write_text("in an hour")
        raise BadInput("not so")
    assert (folder / "made").exists()


def test_a_lock_that_was_deleted_meanwhile_is_none(tmp_path, monkeypatch):
    opened = claims._open_lock

    def deleted(folder):
        lock = opened(folder)
        (folder / artifact.LOCK).unlink()
        return lock

    monkeypatch.setattr(claims, "_open_lock", deleted)
    with pytest.raises(BadInput, match="deleted by another process"), artifact.claim(tmp_path / "a", "odd", {}):
        pytest.fail("it was claimed")


def test_what_lacks_something_may_be_of_another_version(tmp_path):
    with artifact.claim(tmp_path / "a", "odd", {}):
        artifact.finish(tmp_path / "a", Manifest(kind="odd", config={}), [])
    said = json.loads((tmp_path / "a" / artifact.MANIFEST).read_text())
    del said["config"]
    (tmp_path / "a" / artifact.MANIFEST).write_text(json.dumps(said))
    with pytest.raises(BadInput, match="config is missing. .* or of another version of physalis"):
        artifact.read(tmp_path / "a", "odd")


def test_reading_what_cannot_be_read(tmp_path):
    with pytest.raises(BadInput, match="no physalis atlas"):
        artifact.read(tmp_path, "atlas")
    with artifact.claim(tmp_path / "a", "atlas", {}):
        pass
    with pytest.raises(BadInput, match="unfinished. Run the command"):
        artifact.read(tmp_path / "a", "atlas")
    made = make(tmp_path / "b")
    with pytest.raises(BadInput, match="holds a dictionary, not an atlas"):
        artifact.read(tmp_path / "b", "atlas")
    newer = made.model_dump() | {"schema_version": artifact.SCHEMA + 1, "new": 1}
    (tmp_path / "b" / artifact.MANIFEST).write_text(json.dumps(newer))
    with pytest.raises(BadInput, match=f"schema version {artifact.SCHEMA + 1}.*Install a newer"):
        artifact.read(tmp_path / "b", "dictionary")
    (tmp_path / "b" / artifact.MANIFEST).write_text("{")
    with pytest.raises(BadInput, match="damaged"):
        artifact.read(tmp_path / "b", "dictionary")


def test_kinds_are_told_as_a_sentence_has_them(tmp_path):
    assert {each.kind_of() for each in KINDS} < NAMES.keys()
    assert (in_words("atlas"), in_words("activations"), noun("evaluation")) == ("an atlas", "a recording", "evaluation")
    assert in_words("poem") == "something of kind 'poem'" and in_words(3) == "something of no kind"
