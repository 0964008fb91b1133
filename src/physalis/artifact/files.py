"""files: one file at a time, read whole or refused in a sentence, written whole or not at all, and never through a
link.

Folders come from strangers and from disks that fail. So what is read has a bound, and is a file and nothing that one
waits for; what is written goes to a new file of a name that nobody can know, and takes the old one's place at once.
"""

import errno
import fcntl
import hashlib
import json
import os
import re
import secrets
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from physalis.errors import BadInput

MOST = 1 << 26
"""Bytes of a JSON file, at most: the manifest of a billion tokens has a tenth of that."""

BY_SAFETENSORS = re.compile(r"\.tmp[0-9A-Za-z]{6}")
LEFT_BEHIND = re.compile(r"\.(.+)\.[0-9a-f]{16}\.tmp")
"""The names of files that a kill may leave half written, and in them what these were to be."""

FULL = (errno.ENOSPC, errno.EDQUOT)
FORBIDDEN = (errno.EACCES, errno.EPERM)
DISK = (*FULL, errno.EROFS, errno.EIO)
"""What goes wrong with nothing but a disk."""

_OS_ERROR = re.compile(r"os error (\d+)")
_SQLITE = {"full": errno.ENOSPC, "disk I/O error": errno.EIO, "readonly": errno.EROFS, "unable to open": errno.EACCES}

Failure = OSError | SafetensorError | sqlite3.OperationalError
FAILURES = (OSError, SafetensorError, sqlite3.OperationalError)
"""What libraries raise where a disk fails: not all of them say it as an OSError."""


def write_atomic(path: Path, write: Callable[[Path], object]) -> None:
    """Call ``write`` with a temporary path beside ``path``, then fsync and rename to ``path``: a link that stands there
    is replaced and not followed. Raises BadInput if the disk is full or read-only, or the folder not ours to write."""
    temporary = temporary_of(path)
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666)
        mode = os.fstat(handle).st_mode
        os.close(handle)
        write(temporary)
        with open(temporary, "rb+") as f:
            if os.fstat(f.fileno()).st_mode != mode:  # safetensors puts a file there that only its owner may read
                os.fchmod(f.fileno(), stat.S_IMODE(mode))
            os.fsync(f.fileno())
        os.replace(temporary, path)
    except FAILURES as error:
        _remove(temporary)
        raise failed(error, path) from error
    except BaseException:
        _remove(temporary)
        raise


def temporary_of(path: Path) -> Path:
    """Where a file is written before it takes its place: a name that nobody can know, and that ``tidy`` knows again."""
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")


@contextmanager
def holding(folder: Path) -> Iterator[None]:
    """Wait until no other process holds ``folder``, and keep others waiting, without a file of our own in it."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def is_held(folder: Path) -> bool:
    """Whether some process is ``holding`` it now."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except OSError:
        return True
    finally:
        os.close(handle)


def tidy(folder: Path, ours: Callable[[str], object] = bool) -> None:
    """Delete what a kill left half written in ``folder``, though not below it: of the files of whose names ``ours`` is
    true. Only for who alone writes these now."""
    for name in os.listdir(folder):
        if (left := LEFT_BEHIND.fullmatch(name)) and ours(left[1]):
            _remove(folder / name)


def tidy_all(folder: Path) -> None:
    """``tidy``, in a folder that is ours alone: also what safetensors left, which writes beside what it is to write."""
    tidy(folder)
    for name in os.listdir(folder):
        if BY_SAFETENSORS.fullmatch(name):
            _remove(folder / name)


def remove(path: Path) -> None:
    """Delete what stands at ``path``, be it a file, a link or what should be a file and is a folder. Raises BadInput if
    that folder is not empty, or the disk does not allow it."""
    try:
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    except OSError as error:
        if error.errno == errno.ENOTEMPTY:
            raise BadInput(f"{path} is a folder, and should be a file. Delete it, or choose another --out.") from error
        raise failed(error, path) from error


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:  # as where nothing can be written
        pass


def failed(error: Failure, path: Path) -> BadInput:
    """What a person is told where ``path`` could not be written."""
    number = _number(error)
    start = f"writing {path.name} into {path.parent} stopped"
    if number in FULL:
        return BadInput(
            f"The disk is full: {start}. Nothing half written was kept. "
            "Free some space and run the same command again; it goes on where it stopped."
        )
    if number == errno.EROFS:
        return BadInput(
            f"The disk is read-only: {start}. Choose an --out on another disk, or have this one mounted for writing."
        )
    if number in FORBIDDEN:
        return BadInput(
            f"Permission is missing: {start}. Choose an --out that is yours, or have its permissions changed."
        )
    said = os.strerror(number) if number else str(error)
    return BadInput(
        f"The disk failed ({said}): {start}. Nothing half written was kept. Choose another --out, or mend that and run "
        "the same command again; it goes on where it stopped."
    )


def _number(error: Failure) -> int | None:
    if isinstance(error, OSError):
        return error.errno
    if isinstance(error, SafetensorError):  # it says what the system said, in words
        found = _OS_ERROR.search(str(error))
        return int(found[1]) if found else None
    return next((number for words, number in _SQLITE.items() if words in str(error)), None)


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Whatever fails while an artefact is written into ``folder`` is a BadInput, be it a full or a read-only disk, or
    one of its files that is not ours to read or write. Other errors are none of the disk's, and pass."""
    try:
        yield
    except FAILURES as error:
        name = error.filename if isinstance(error, OSError) else None
        path = Path(os.fsdecode(name)) if isinstance(name, str | bytes) else folder / "files"
        inside = path.absolute().is_relative_to(folder.absolute())
        if _number(error) in DISK or (isinstance(error, OSError) and name is not None and inside):
            raise failed(error, path) from error
        raise


def unreadable(error: OSError, path: Path) -> BadInput:
    """What a person is told where ``path`` could not be read."""
    why = "it is missing" if error.errno == errno.ENOENT else (error.strerror or str(error)).lower()
    cure = "Have its permissions changed" if error.errno in FORBIDDEN else "Copy the folder again, or make it again"
    return BadInput(f"{path} cannot be read: {why}. {cure}.")


def plain(path: Path) -> int:
    """The size of a file in bytes. Raises BadInput if it is missing, a link, a folder or a pipe."""
    try:
        about = os.lstat(path)
    except OSError as error:
        raise unreadable(error, path) from error
    if not stat.S_ISREG(about.st_mode):
        what = "a link" if stat.S_ISLNK(about.st_mode) else "no file"
        raise BadInput(f"{path} is {what}: it was not read. Put the file itself there, or make the folder again.")
    return about.st_size


def read_bytes(path: Path, *, most: int = MOST) -> bytes:
    """A whole file. Raises BadInput if it is missing, not ours to read, longer than ``most`` bytes or no file."""
    with _opened(path) as (f, size):
        if size > most:
            raise BadInput(
                f"{path} has {size:,} bytes, and should have no more than {most:,}: it was not read. Copy the folder "
                "again, or make it again."
            )
        return f.read(most)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[BufferedReader, int]]:
    """A file and its size. Raises BadInput if it is none, missing, or cannot be read."""
    try:
        # A pipe would have one wait for whoever writes to it.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as f:
            about = os.fstat(f.fileno())
            if not stat.S_ISREG(about.st_mode):
                raise BadInput(f"{path} is no file. Copy the folder again, or make it again.")
            yield f, about.st_size
    except OSError as error:
        raise unreadable(error, path) from error


def read_json(path: Path) -> Any:
    """The value in a JSON file. Raises BadInput as ``read_bytes``, and for what is no JSON."""
    text = read_bytes(path)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path} is not readable JSON ({error}). The folder is damaged: make it again.") from error


def file_digest(path: Path) -> str:
    """sha256 of a file's bytes. Raises BadInput if it cannot be read."""
    with _opened(path) as (f, _):
        return hashlib.file_digest(f, "sha256").hexdigest()


def write_json(path: Path, value: Any) -> None:
    """Write a JSON value atomically, keys sorted, one line a top-level key."""
    text = json.dumps(value, sort_keys=True, indent=1) + "\n"
    write_atomic(path, lambda temporary: temporary.write_text(text))
