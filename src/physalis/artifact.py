"""The one on-disk format: a folder with manifest.json and arrays; claim, write atomically, hash, finish, read back.

A verb that makes an artefact
1. ``claim``s the folder: takes its lock, refuses a folder that holds something else, and writes ``job.json``;
2. writes files with ``write_atomic`` (temporary name, fsync, rename), so that a kill leaves whole files or none;
3. ``finish``es: hashes the files and writes ``manifest.json`` last. A folder with a manifest is complete.
Manifests carry no times and no paths: the same job gives the same bytes, and a folder can be moved.
"""

import fcntl
import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from pydantic import BaseModel, ConfigDict

from physalis import __version__
from physalis.errors import AnotherJob, BadInput

SCHEMA = 1
"""Version of every artefact's layout. A reader refuses a newer one by name."""

MANIFEST, JOB, LOCK = "manifest.json", "job.json", ".lock"
LOOK_S = 0.1
HASH = re.compile("[0-9a-f]{40,}")


class Manifest(BaseModel):
    """What a finished artefact says of itself. Its ``hash`` identifies it to everything made from it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    """"activations", "dictionary", "evaluation" or "atlas"."""
    schema_version: int = SCHEMA
    version: str = __version__
    """The physalis that wrote it."""
    config: dict[str, Any]
    """Everything that decided the content."""
    seed: int | None = None
    inputs: dict[str, str] = {}
    """Role to hash of what this was made from: {"activations": "…", "model": "…"}."""
    facts: dict[str, Any] = {}
    """What was measured while making it."""
    files: dict[str, str] = {}
    """File name to sha256."""

    @property
    def hash(self) -> str:
        return digest(self.model_dump())


def digest(value: Any) -> str:
    """sha256 of a JSON value, keys sorted."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """sha256 of a file's bytes."""
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def write_atomic(path: Path, write: Callable[[Path], object]) -> None:
    """Call ``write`` with a temporary path, then fsync and rename to ``path``. Raises BadInput if the disk is full."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        write(temporary)
        with open(temporary, "rb+") as f:
            os.fsync(f.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        if error.errno == 28:  # ENOSPC
            raise BadInput(
                f"The disk is full: writing {path.name} into {path.parent} stopped. Nothing half written was kept. "
                "Free some space and run the same command again; it goes on where it stopped."
            ) from error
        raise
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:
    """Write a JSON value atomically, keys sorted, one line a top-level key."""
    text = json.dumps(value, sort_keys=True, indent=1) + "\n"
    write_atomic(path, lambda temporary: temporary.write_text(text))


@contextmanager
def claim(folder: Path, kind: str, job: dict[str, Any], *, cheap: Sequence[str] = ()) -> Iterator[Manifest | None]:
    """Hold ``folder`` for one writer while the artefact is made; yields its manifest if that very job is finished.

    ``job`` is everything that decides the content. A folder of another job of this kind that came no further than files
    named in ``cheap`` is taken over: they are deleted. Raises BadInput if another process is writing there, if the
    folder holds another artefact or another job, or if it holds files that are not ours. A folder
    in which nothing but a job stands is anybody's.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / LOCK, "w") as lock:
        if not _lock(lock, fcntl.LOCK_EX):
            time.sleep(LOOK_S)  # whoever only looked (``is_claimed``) has gone by now
            if not _lock(lock, fcntl.LOCK_EX):
                raise BadInput(f"Another process is writing {folder}. Wait for it, stop it, or choose another --out.")
        said = {"kind": kind, "schema_version": SCHEMA, "job": job}
        said = json.loads(json.dumps(said))
        if (folder / JOB).exists():
            found = _job(folder)
            same_kind = found.get("kind", kind) == kind
            if found != said and not _loss(folder, cheap if same_kind else ()):
                for name in cheap:
                    (folder / name).unlink(missing_ok=True)
                write_json(folder / JOB, said)
            elif found != said:
                told = f"{folder} already holds {_difference(found, said)}. Choose another --out, or delete the folder."
                if found.get("kind") == kind and found.get("schema_version") == SCHEMA:
                    raise AnotherJob(told, folder, found.get("job", {}), said["job"])
                raise BadInput(told)
        else:
            if strangers := _loss(folder, ()):
                raise BadInput(
                    f"{folder} holds something else ({', '.join(strangers[:3])}). "
                    "Choose a new or empty folder for --out; nothing there was touched."
                )
            write_json(folder / JOB, said)
        yield read(folder, kind) if (folder / MANIFEST).exists() else None


def _job(folder: Path) -> dict[str, Any]:
    # Empty where the file is damaged.
    try:
        found = json.loads((folder / JOB).read_text())
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {}


def _loss(folder: Path, cheap: Sequence[str]) -> list[str]:
    # What the folder holds besides our own small files.
    ours = {JOB, LOCK, *cheap}
    return sorted(p.name for p in folder.iterdir() if p.name not in ours and not p.name.endswith(".tmp"))


def _lock(file: IO[Any], kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def is_claimed(folder: Path) -> bool:
    """Whether some process is writing an artefact there now."""
    try:
        with open(folder / LOCK) as lock:
            return not _lock(lock, fcntl.LOCK_SH)  # given back at once, as the file is closed
    except FileNotFoundError:
        return False


def _difference(found: dict[str, Any], said: dict[str, Any]) -> str:
    if not found:
        return f"something that cannot be told: its {JOB} is damaged"
    if found.get("kind") != said["kind"]:
        return f"an artefact of kind {found.get('kind')!r}, not {said['kind']!r}"
    if found.get("schema_version") != said["schema_version"]:
        return f"schema version {found.get('schema_version')}; this physalis writes {said['schema_version']}"
    old, new = found.get("job", {}), said["job"]
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
        return json.loads((folder / MANIFEST).read_text()).get("kind")
    except (OSError, json.JSONDecodeError):
        return None


def read(folder: Path, kind: str) -> Manifest:
    """The manifest of a finished artefact. Raises BadInput if it is missing, unfinished, of another kind or newer."""
    path = folder / MANIFEST
    if not path.exists():
        if (folder / JOB).exists():
            raise BadInput(
                f"{folder} is unfinished. Run the command that was making it again: it goes on where it stopped."
            )
        raise BadInput(f"{folder} holds no physalis {kind} (no {MANIFEST}). Check the path.")
    try:
        value = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise BadInput(f"{path} is not readable JSON ({error}). The folder is damaged: make it again.") from error
    if value.get("schema_version", 0) > SCHEMA:
        raise BadInput(
            f"{folder} has schema version {value['schema_version']}; this physalis {__version__} reads up to {SCHEMA}. "
            "Install a newer physalis."
        )
    if value.get("kind") != kind:
        raise BadInput(f"{folder} holds {value.get('kind')!r}, not {kind!r}. Check the order of the arguments.")
    return Manifest.model_validate(value)
