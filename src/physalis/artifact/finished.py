"""finished: an artefact whose manifest is written, found and read back. Opening one writes nothing."""

import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from physalis.artifact.files import file_digest, read_json, write_json
from physalis.artifact.kinds import in_words, noun
from physalis.artifact.manifest import AGAIN, Manifest, parsed
from physalis.errors import BadInput

MANIFEST, JOB = "manifest.json", "job.json"
MOST = 6
"""Folders that a sentence names."""


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
