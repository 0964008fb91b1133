"""The one on-disk format: a folder with manifest.json and arrays; claim, write atomically, hash, finish, read back.

A verb that makes an artefact
1. ``claim``s the folder: takes its lock, refuses a folder that holds something else, and writes ``job.json``;
2. writes files with ``write_atomic`` (temporary name, fsync, rename), so that a kill leaves whole files or none;
3. ``finish``es: hashes the files and writes ``manifest.json`` last. A folder with a manifest is complete.
Manifests carry no times and no paths: the same job gives the same bytes, and a folder can be moved. What is finished is
opened without writing anything, so that it may lie where nothing can be written.
"""

import errno
import fcntl
import json
import os
import re
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import IO, Any

from physalis.artifact.files import (
    failed,
    file_digest,
    holding,
    is_held,
    plain,
    read_bytes,
    read_json,
    remove,
    temporary_of,
    tidy,
    tidy_all,
    unreadable,
    write_atomic,
    writing,
)
from physalis.artifact.kinds import in_words, noun
from physalis.artifact.manifest import AGAIN, MISFIT, SCHEMA, Manifest, digest, parsed, wrong
from physalis.errors import AnotherJob, BadInput

__all__ = [
    "AGAIN", "JOB", "LOCK", "MANIFEST", "MISFIT", "SCHEMA", "Manifest", "check_digest", "check_free", "check_no_link",
    "claim", "digest", "file_digest", "finish", "holding", "in_words", "inside", "is_claimed", "is_held", "is_named",
    "kind_of", "parsed", "plain", "read", "read_bytes", "read_json", "remove", "several", "temporary_of", "tidy",
    "unreadable", "write_atomic", "write_json", "writing", "wrong",
]  # fmt: skip

MANIFEST, JOB, LOCK = "manifest.json", "job.json", ".lock"
LOOK_S = 0.1
MOST = 6
"""Folders that a sentence names."""
HASH = re.compile("[0-9a-f]{40,}")


def write_json(path: Path, value: Any) -> None:
    """Write a JSON value atomically, keys sorted, one line a top-level key."""
    text = json.dumps(value, sort_keys=True, indent=1) + "\n"
    write_atomic(path, lambda temporary: temporary.write_text(text))


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


def finish(folder: Path, manifest: Manifest, files: list[str]) -> Manifest:
    """Hash ``files``, write manifest.json and return it as written."""
    done = manifest.model_copy(update={"files": {name: file_digest(folder / name) for name in sorted(files)}})
    write_json(folder / MANIFEST, done.model_dump())
    return done


def kind_of(folder: Path) -> str | None:
    """What a finished artefact says it is; None where nothing can be read. ``read`` says what is wrong."""
    try:
        found = read_json(folder / MANIFEST)
    except BadInput:
        return None
    kind = found.get("kind") if isinstance(found, dict) else None
    return kind if isinstance(kind, str) else None


def read(folder: Path, kind: str) -> Manifest:
    """The manifest of a finished artefact, of which everything that is read of its kind was checked. Raises BadInput if
    it is missing, unfinished, damaged, of another kind or newer, or if a file that it names is reached by a link."""
    path = folder / MANIFEST
    if not os.path.lexists(path):
        if (folder / JOB).exists():
            raise BadInput(
                f"{folder} is unfinished. Run the command that was making it again: it goes on where it stopped."
            )
        raise BadInput(f"{folder} holds no physalis {noun(kind)} (no {MANIFEST}). {_inside(folder, kind)}")
    value = read_json(path)
    found = value.get("kind", "") if isinstance(value, dict) else ""
    if isinstance(found, str) and found and found != kind:
        told = f"{in_words(found)}, not {in_words(kind)}"
        raise BadInput(f"{folder} holds {told}. Check which folder was given for what.")
    manifest = parsed(value, path)
    for name in manifest.files:
        check_no_link(folder, name)
    return manifest


def inside(folder: Path) -> list[Path]:
    """The folders right inside this one in which an artefact is, finished or not, in the order of their names."""
    return sorted({each.parent for name in (MANIFEST, JOB) for each in folder.glob(f"*/{name}")})


def several(folders: Sequence[Path]) -> str:
    """Folders, as far as a sentence names them."""
    more = f" and {len(folders) - MOST:,} more" if len(folders) > MOST else ""
    return f"{', '.join(map(str, folders[:MOST]))}{more}"


def _inside(folder: Path, kind: str) -> str:
    found = [each for each in inside(folder) if kind_of(each) == kind]
    if not found:
        return "Check the path."
    return (
        f"There {'is' if len(found) == 1 else 'are'} inside: {several(found)}. Name which you mean, such as {found[0]}."
    )


def check_no_link(folder: Path, name: str) -> None:
    """Raise BadInput if a file that a manifest names is reached by a link: a stranger's folder leads nowhere else."""
    for part in (name, *[*PurePosixPath(name).parents][:-1]):
        if (folder / part).is_symlink():
            raise BadInput(
                f"{folder / part} is a link, and what a manifest names lies in its folder: it was not followed. Put "
                "the file itself there."
            )


def check_digest(path: Path, manifest: Manifest) -> None:
    """Raise BadInput unless the file is, byte for byte, the one that the manifest beside it was written for."""
    said = manifest.files.get(path.name)
    if said is None:
        raise BadInput(f"The manifest in {path.parent} does not name {path.name}. {AGAIN}")
    if file_digest(path) != said:
        raise BadInput(
            f"{path} is not the file that its manifest was written for (its sha256 is another). {AGAIN} "
            f"`physalis verify {path.parent}` says what else is wrong."
        )
