"""Disks that are full, read-only or not ours: one sentence that names the folder, and nothing half written."""

import errno
import os
import sqlite3
import subprocess
from contextlib import contextmanager

import pytest
from safetensors import SafetensorError

from physalis import artifact
from physalis.artifact import files
from physalis.dictionaries import TopKConfig
from physalis.errors import BadInput
from physalis.training.training import train

SAID = {
    "full": (OSError(errno.ENOSPC, "No space left on device"), "The disk is full: writing x into .*Free some space"),
    "over quota": (OSError(errno.EDQUOT, "Disk quota exceeded"), "The disk is full"),
    "read-only": (OSError(errno.EROFS, "Read-only file system"), "The disk is read-only: writing x into .*--out"),
    "not ours": (PermissionError(errno.EACCES, "Permission denied"), "Permission is missing: writing x into .*--out"),
    "broken": (OSError(errno.EIO, "Input/output error"), "The disk failed .Input/output error.: writing x into"),
    "full, as safetensors says": (
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"), "The disk is full"
    ),
    "read-only, as safetensors says": (
        SafetensorError("Error while serializing: I/O error: Read-only file system (os error 30)"), "is read-only"
    ),
    "full, as SQLite says": (sqlite3.OperationalError("database or disk is full"), "The disk is full"),
    "broken, as SQLite says": (sqlite3.OperationalError("disk I/O error"), "The disk failed"),
}  # fmt: skip


@pytest.mark.parametrize("how", SAID)
def test_what_fails_to_be_written_is_said(how, tmp_path):
    error, said = SAID[how]

    def fail(path):
        path.write_text("half")
        raise error

    with pytest.raises(BadInput, match=said):
        artifact.write_atomic(tmp_path / "x", fail)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("how", SAID)
def test_what_fails_beside_is_said_too(how, tmp_path):
    """As lines that are added to metrics, and folders that are made."""
    error, _ = SAID[how]
    if isinstance(error, OSError):
        error = type(error)(error.errno, error.strerror, str(tmp_path / "a/x"))
    with (
        pytest.raises(BadInput, match=r"(The disk|Permission) .*(stopped|failed)"),
        artifact.claim(tmp_path / "a", "s", {}),
    ):
        raise error


def test_errors_of_others_are_left_as_they_are(tmp_path):
    for error in (
        FileNotFoundError(2, "No such file", "/nowhere/else"),
        sqlite3.OperationalError("locked"),
        KeyError(1),
    ):
        with pytest.raises(type(error)), artifact.claim(tmp_path / "a", "s", {}):
            raise error


def test_files_that_cannot_be_read_are_said(tmp_path, monkeypatch):
    (tmp_path / "a").write_text("{}")

    def forbidden(path, flags, *mode):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(files.os, "open", forbidden)
    for read in (files.read_json, files.file_digest):
        with pytest.raises(BadInput, match="cannot be read: permission denied. Have its permissions changed"):
            read(tmp_path / "a")


def test_json_has_a_bound(tmp_path, monkeypatch):
    (tmp_path / "a").write_text("[" + "1," * 1000 + "1]")
    assert len(files.read_json(tmp_path / "a")) == 1001
    monkeypatch.setattr(files, "MOST", 1000)
    with pytest.raises(BadInput, match="should have no more than 1,000: it was not read"):
        files.read_bytes(tmp_path / "a", most=1000)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BadInput, match="is no file"):
        files.read_bytes(tmp_path / "pipe")


@contextmanager
def mounted(folder, *options):
    """A small disk of its own, where we may mount one."""
    done = subprocess.run(["mount", *options, str(folder)], capture_output=True)
    if done.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)  # some of its files may be mapped still


def trained(acts, out, **options):
    config = TopKConfig(d_in=acts.d, d_out=acts.d, n_features=512, k=4)
    return train(acts, [config], [out], batch_size=2048, epochs=1, **options)


def test_a_small_disk_fills(tiny_activations, tmp_path):
    with mounted(tmp_path, "-t", "tmpfs", "-o", "size=120k", "tmpfs") as disk:
        with pytest.raises(BadInput, match="The disk is full: writing .* into"):
            trained(tiny_activations, disk / "d")
        assert not list((disk / "d").glob("*.tmp")) and not (disk / "d/manifest.json").exists()
        subprocess.run(["mount", "-o", "remount,size=8m", str(disk)], check=True)
        trained(tiny_activations, disk / "d")


def test_a_disk_that_is_read_only(tiny_activations, tmp_path, physalis):
    trained(tiny_activations, tmp_path / "d")
    (tmp_path / "d/.lock").unlink()
    with mounted(tmp_path, "--bind", str(tmp_path)) as disk:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(disk)], check=True)
        assert trained(tiny_activations, disk / "d")[0].config.n_features == 512  # finished: only opened
        with pytest.raises(BadInput, match="The disk is read-only: writing .*Choose an --out on another disk"):
            trained(tiny_activations, disk / "new")
        for verb in ("train", "sweep"):
            code, _, said = physalis(verb, tiny_activations.folder, "--out", disk / "new")
            assert code == 2 and "Traceback" not in said
            assert "it is read-only, or another user's. Choose another." in said.splitlines()[-1]
