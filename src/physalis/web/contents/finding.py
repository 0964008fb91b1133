"""find: what can be shown of what lies in folders. No torch here, and nothing is opened."""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from physalis import artifact
from physalis.comparing import forest, reader
from physalis.errors import BadInput
from physalis.training import history
from physalis.web.graphs import stored

Kind = Literal["atlas", "graph", "comparison", "tree", "run", "lab"]
KINDS: tuple[Kind, ...] = get_args(Kind)
DEEP = 2
"""Levels of folders that are looked through below each that is given."""
MOST = 200
"""Artefacts of one server: each is open, and an atlas keeps some of it in memory."""
_OF_MANIFESTS: dict[str | None, Kind] = {
    "atlas": "atlas", stored.KIND: "graph", reader.KIND: "comparison", forest.KIND: "tree", "lab": "lab",
}  # fmt: skip


class Found(NamedTuple):
    """An artefact that can be shown."""

    kind: Kind
    folder: Path
    name: str
    """Its folder's, from the one in which all of them lie."""
    prefix: str
    """Where its room begins, such as "/a/commas"."""


class Other(NamedTuple):
    """An artefact that has no pages."""

    kind: str
    folder: Path
    name: str
    """As that of what can be shown."""


def find(folders: Sequence[Path]) -> list[Found]:
    """What the folders are, or else hold: atlases first, then graphs, comparisons, trees, runs and labs, in the order
    in which they were given, and inside each by name. What is an artefact of another kind is for ``find_others``.
    Raises BadInput for more than MOST of them."""
    places: dict[Path, tuple[Kind, Path]] = {}
    for folder in folders:
        for place in _look(folder, DEEP):
            kind = kind_of(place)
            if kind is not None:
                places[place.resolve()] = (kind, place)
    if len(places) > MOST:
        raise BadInput(f"These folders hold {len(places)} things to show, and one server shows {MOST}. Give fewer.")
    found: list[Found] = []
    taken: set[str] = set()
    for kind, place in sorted(places.values(), key=lambda each: KINDS.index(each[0])):
        prefix = _prefix(kind, place, taken)
        taken.add(prefix)
        found.append(Found(kind, place, os.path.relpath(place.resolve(), around(folders)), prefix))
    return found


def find_others(folders: Sequence[Path]) -> list[Other]:
    """The finished artefacts there that cannot be shown, MOST of them, each kind by itself."""
    found: dict[Path, Other] = {}
    for folder in folders:
        for place in _look(folder, DEEP):
            kind = artifact.kind_of(place)
            if kind is not None and kind_of(place) is None:
                name = os.path.relpath(place.resolve(), around(folders))
                found[place.resolve()] = Other(kind, place, name)
    return sorted(found.values(), key=lambda each: each.kind)[:MOST]


def around(folders: Sequence[Path]) -> Path:
    """The folder, or the one in which all of several lie."""
    return Path(os.path.commonpath([folder.resolve() for folder in folders]))


def kind_of(folder: Path) -> Kind | None:
    """What a folder is, if it can be shown."""
    said = artifact.kind_of(folder)
    if said in _OF_MANIFESTS:
        return _OF_MANIFESTS[said]
    return "run" if said in (None, "dictionary") and _is_run(folder) else None


def _is_run(folder: Path) -> bool:
    """Whether `physalis train` writes, or wrote, there."""
    if not (folder / history.METRICS).is_file():
        return False
    try:
        said = artifact.read_json(folder / artifact.JOB)
    except BadInput:
        return False
    return isinstance(said, dict) and said.get("kind") == "dictionary" and "training" in said.get("job", {})


def _look(folder: Path, deep: int) -> Iterator[Path]:
    """Artefacts, none of which is looked into."""
    if kind_of(folder) is not None or (folder / artifact.MANIFEST).exists():
        yield folder
    elif deep:
        try:
            inside = sorted(entry.path for entry in os.scandir(folder) if entry.is_dir() and entry.name[0] != ".")
        except OSError:  # no folder, or none that may be read
            return
        for each in inside:
            yield from _look(Path(each), deep - 1)


def _prefix(kind: Kind, folder: Path, taken: set[str]) -> str:
    """After the folder's name; after its parent's too, or a number, where that is taken."""
    place = folder.resolve()
    names = [_plain(place.name), f"{_plain(place.parent.name)}-{_plain(place.name)}"]
    names += [f"{names[0]}-{n}" for n in range(2, len(taken) + 3)]
    return next(prefix for prefix in (f"/{kind[0]}/{name}" for name in names) if prefix not in taken)


def _plain(name: str) -> str:
    """As an address holds it unescaped, and a cookie too."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-") or "unnamed"
