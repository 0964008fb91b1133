"""claims: a folder held for one writer while an artefact is made in it, and the job that it is made for."""

import errno
import fcntl
import json
import os
import re
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from physalis.artifact.files import failed, read_json, tidy_all, write_json, writing
from physalis.artifact.finished import JOB, MANIFEST, read
from physalis.artifact.kinds import in_words
from physalis.artifact.manifest import SCHEMA, Manifest
from physalis.errors import AnotherJob, BadInput

LOCK = ".lock"
LOOK_S = 0.1
HASH = re.compile("[0-9a-f]{40,}")


@contextmanager
def claim(folder: Path, kind: str, job: dict[str, Any], *, cheap: Sequence[str] = ()) -> Iterator[Manifest | None]:
    """Hold ``folder`` for one writer while the artefact is made; yields its manifest if that very job is finished.

    ``job`` is everything that decides the content. A folder of another job of this kind that came no further than files
    named in ``cheap`` is taken over: they are deleted. Raises BadInput if another process is writing there, if the
    folder holds another artefact or another job, or if it holds files that are not ours. A folder in which nothing but
    a job stands is anybody's.
    """
    said = json.loads(json.dumps({"kind": kind, "schema_version": SCHEMA, "job": job}))
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    _make(folder)
    with _held(folder), _refusing(folder, made), writing(folder):
        if os.path.lexists(folder / JOB):
            found = _job(folder)
            same_kind = found.get("kind", kind) == kind
            if found != said and not _loss(folder, cheap if same_kind else ()):
                for name in cheap:
                    (folder / name).unlink(missing_ok=True)
                write_json(folder / JOB, said)
            elif found != said:
                told = _holds(folder, found, said)
                if found.get("kind") == kind and found.get("schema_version") == SCHEMA:
                    raise AnotherJob(told, folder, found["job"], said["job"])
                raise BadInput(told)
        else:
            _check_empty(folder)
            write_json(folder / JOB, said)
        _tidy(folder)
        yield read(folder, kind) if os.path.lexists(folder / MANIFEST) else None


def check_free(folder: Path, kind: str, known: Mapping[str, Any]) -> None:
    """Raise BadInput where ``claim`` would refuse ``folder`` for the kind, or for the part of the job that is ``known``
    already: what is None there is not. Nothing is made, locked or touched."""
    if not folder.is_dir():
        return
    if not os.path.lexists(folder / JOB):
        return _check_empty(folder)
    found = _job(folder)
    if not found or not _loss(folder, ()):
        return
    if found.get("kind") != kind:
        raise BadInput(_holds(folder, found, {"kind": kind}))
    was, now = _known(found["job"], known), json.loads(json.dumps(_known(known, known)))
    if was != now and os.path.lexists(folder / MANIFEST):
        said = {"kind": kind, "schema_version": found.get("schema_version")}
        raise AnotherJob(_holds(folder, found | {"job": was}, said | {"job": now}), folder, was, now)


def _known(job: Any, known: Mapping[str, Any]) -> dict[str, Any]:
    job = job if isinstance(job, Mapping) else {}
    return {
        key: _known(job.get(key), value) if isinstance(value, Mapping) else job.get(key)
        for key, value in known.items()
        if value is not None
    }


def _check_empty(folder: Path) -> None:
    if strangers := _loss(folder, ()):
        raise BadInput(
            f"{folder} holds something else ({', '.join(strangers[:3])}). "
            "Choose a new or empty folder for --out; nothing there was touched."
        )


@contextmanager
def _refusing(folder: Path, made: Sequence[Path]) -> Iterator[None]:
    """What is refused before anything of it is there leaves nothing: of the folders that were ``made``, from the inmost
    outwards, none stays."""
    try:
        yield
    except BadInput:
        with suppress(OSError):
            if made and not _loss(folder, ()):
                for each in list(folder.iterdir()):
                    each.unlink()
                for each in made:
                    each.rmdir()
        raise


def is_named(folder: Path) -> bool:
    """Whether the whole path can be spelt: safetensors, SQLite and JSON take no other."""
    try:
        str(folder.absolute()).encode()
    except UnicodeEncodeError:
        return False
    return True


def _make(folder: Path) -> None:
    if not is_named(folder):
        raise BadInput(f"{str(folder)!r} is no UTF-8, and weights are not written there. Choose another --out.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise BadInput(f"{folder} is no folder, or lies in none. Choose another --out.") from error
    except OSError as error:
        raise failed(error, folder) from error


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Be the only one who writes there."""
    try:
        lock = _open_lock(folder)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR):
            what = "a link" if error.errno == errno.ELOOP else "a folder"
            raise BadInput(
                f"{folder / LOCK} is {what}, and nothing of ours: it was not touched. Delete it, or choose another "
                "--out."
            ) from error
        raise failed(error, folder / LOCK) from error
    try:
        if not _lock(lock, fcntl.LOCK_EX):
            time.sleep(LOOK_S)  # whoever only looked (``is_claimed``) has gone by now
            if not _lock(lock, fcntl.LOCK_EX):
                raise BadInput(f"Another process is writing {folder}. Wait for it, stop it, or choose another --out.")
        if not _is_there(lock, folder):
            raise BadInput(f"{folder} was deleted by another process. Run the same command again.")
        yield
    finally:
        os.close(lock)


def _is_there(lock: int, folder: Path) -> bool:
    """Whether what was locked is still what others would lock: whoever held it may have deleted it."""
    for path in (folder / LOCK, folder):
        try:
            return os.path.samestat(os.fstat(lock), os.stat(path, follow_symlinks=False))
        except FileNotFoundError:
            continue
    return False


def _open_lock(folder: Path) -> int:
    """The lock's file, emptied by nobody. Where it may not be written, and of what was finished and copied without it,
    what is there is locked instead: to open something writes nothing."""
    if not os.path.lexists(folder / LOCK):
        if (folder / MANIFEST).exists():
            return os.open(folder, os.O_RDONLY)
        return _open_plain(folder / LOCK, os.O_RDWR | os.O_CREAT)
    try:
        return _open_plain(folder / LOCK, os.O_RDWR)
    except OSError as error:
        if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise
        return _open_plain(folder / LOCK, os.O_RDONLY)


def _open_plain(path: Path, flags: int) -> int:
    # Not through a link, and without waiting for whoever might write to a pipe.
    file = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    return file


def _tidy(folder: Path) -> None:
    """Delete what a kill left half written; refuse a link to another folder, through which what is written would land
    there."""
    for at, folders, _ in os.walk(folder):
        for name in folders:
            if (path := Path(at, name)).is_symlink():
                raise BadInput(
                    f"{path} is a link to another folder, and nothing is written through one. Delete the link, or "
                    "choose another --out."
                )
        tidy_all(Path(at))


def _job(folder: Path) -> dict[str, Any]:
    # Empty where the file is damaged.
    try:
        found = read_json(folder / JOB)
    except BadInput:
        return {}
    right = isinstance(found, dict) and isinstance(found.get("job"), dict) and isinstance(found.get("kind"), str)
    return found if right else {}


def _loss(folder: Path, cheap: Sequence[str]) -> list[str]:
    # What the folder holds besides our own small files.
    ours = {JOB, LOCK, *cheap}
    return sorted(p.name for p in folder.iterdir() if p.name not in ours and not p.name.endswith(".tmp"))


def _lock(file: IO[Any] | int, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def is_claimed(folder: Path) -> bool:
    """Whether some process is writing an artefact there now."""
    try:
        lock = _open_plain(folder / LOCK, os.O_RDONLY)
    except OSError:
        return False
    try:
        return not _lock(lock, fcntl.LOCK_SH)  # given back at once, as the file is closed
    finally:
        os.close(lock)


def _holds(folder: Path, found: dict[str, Any], said: dict[str, Any]) -> str:
    return f"{folder} already holds {_difference(found, said)}. Choose another --out, or delete the folder."


def _difference(found: dict[str, Any], said: dict[str, Any]) -> str:
    if not found:
        return f"something that cannot be told: its {JOB} is damaged"
    if found.get("kind") != said["kind"]:
        return f"{in_words(found.get('kind'))}, not {in_words(said['kind'])}"
    if found.get("schema_version") != said["schema_version"]:
        return f"schema version {found.get('schema_version')}; this physalis writes {said['schema_version']}"
    old, new = found["job"], said["job"]
    return "another job: " + ", ".join(list(_differing(old, new))[:3])


def _differing(old: dict[str, Any], new: dict[str, Any], inside: str = "") -> Iterator[str]:
    # Each key with both values, as a person would say them: names, not tables and hashes.
    for key in sorted({*old, *new}):
        was, now = old.get(key), new.get(key)
        name = f"{inside} {key}" if inside else key
        if was == now:
            continue
        if isinstance(was, dict) and isinstance(now, dict):
            yield from _differing(was, now, name)
        elif any(isinstance(each, str) and HASH.fullmatch(each) for each in (was, now)):
            yield f"{name} was another one"
        else:
            yield f"{name} was {_in_words(was)}, now {_in_words(now)}"


def _in_words(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "empty"
    return "not given" if value is None else "given" if isinstance(value, dict) else str(value)
