"""differing(): what tells the job in a folder from the one that was asked for, in the words of the command line."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from physalis import artifact
from physalis.artifact import HASH
from physalis.errors import AnotherJob, BadInput

CALLED = {
    "architecture": "--dictionary", "n_features": "--features", "order": "--seed", "name": "--text",
    "architectures": "--dictionary", "sites": "--site", "site": "--site",
}  # fmt: skip
"""What keys of a job are called on the command line, where it is not their own name."""
DERIVED = {"steps", "warmup", "dead_after", "d_in", "d_out", "python", "shard_rows", "firing_tokens", "decay"}
"""Keys that follow from others, or have no option: named only where nothing else differs."""
GRID = ("architecture", "n_features", "k", "seed")
LONGER = {"epochs": "training", "tokens": "recording", "steps": "training"}
MOST = 100
"""Folders in which an artefact is looked for by its hash."""


def differing(error: AnotherJob, options: Collection[str], named: Sequence[str]) -> str:
    """The sentence. ``options`` are those of the command, ``named`` all that was typed: folders among it are told by
    their names."""
    places = _Places(error.folder, named)
    found = dict(_differences(error.was, error.now))
    found = {key: both for key, both in found.items() if key[-1] not in DERIVED} or found
    if any(key[-1] == "architecture" for key in found):  # what only one of them has follows from that
        found = {key: both for key, both in found.items() if key[0] != "dictionary" or None not in both}
    told = [_told(key, both, options, places) for key, both in found.items()]
    longer = [LONGER[key[-1]] for key, both in found.items() if key[-1] in LONGER and _is_more(*both)]
    more = f"A {longer[0]} is not lengthened: with more it is one of its own. " if longer and len(told) == 1 else ""
    if more and "--continue" in options:
        more += f"--continue {error.folder} goes on with it there. "
    several = f", and {len(told) - 4} more" if len(told) > 4 else ""
    return (
        f"{error.folder} holds another job: {'; '.join(told[:4])}{several}. {more}Choose another --out, or delete the "
        "folder."
    )


def _is_more(was: Any, now: Any) -> bool:
    return isinstance(was, int) and isinstance(now, int) and now > was


def _differences(was: Any, now: Any, inside: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], tuple]]:
    """Each key that differs, as the names on the way to it, with both values."""
    if inside and inside[-1] == "grid" and was and now:
        was, now = ({name: _column(each, i) for i, name in enumerate(GRID)} for each in (was, now))
    if inside[-1:] == ("settings",):  # what none was set of stands in no job
        was, now = was or {}, now or {}
    if isinstance(was, Mapping) and isinstance(now, Mapping):
        for key in dict.fromkeys([*now, *was]):
            yield from _differences(was.get(key), now.get(key), (*inside, key))
    elif was != now:
        yield inside or ("job",), (was, now)


def _column(grid: Sequence[Sequence[Any]], i: int) -> list[Any]:
    return list(dict.fromkeys(row[i] for row in grid))


def _told(key: tuple[str, ...], both: tuple, options: Collection[str], places: "_Places") -> str:
    was, now = both
    name = CALLED.get(key[-1], f"--{key[-1].replace('_', '-')}")
    if _is_hash(was) or _is_hash(now):
        role = name if name in options else key[-1].upper() if f"--{key[-1]}" not in options else f"--{key[-1]}"
        old, new = (places.name(each) for each in (was, now))
        return f"{role} was {old or 'another'}{f', now {new}' if new else ''}"
    if key[0] in ("dictionary", "settings") and name not in options:
        return f"--set {key[-1]} was {_spelt(was)}, now {_spelt(now)}"
    return f"{name if name in options else ' '.join(key).replace('_', ' ')} was {_spelt(was)}, now {_spelt(now)}"


def _is_hash(value: Any) -> bool:
    return isinstance(value, str) and HASH.fullmatch(value) is not None


def _spelt(value: Any) -> str:
    match value:
        case None:
            return "not given"
        case bool():
            return "yes" if value else "no"
        case list() | tuple():
            return " ".join(map(_spelt, value)) or "none"
        case Mapping():
            return _spelt(value["name"]) if "name" in value else "given"
        case float():
            return f"{value:g}"
        case int():
            return f"{value:,}"
    return str(value)


class _Places:
    """The names of folders whose artefacts are known by their hashes: those that were typed, and those beside them."""

    def __init__(self, out: Path, named: Sequence[str]) -> None:
        typed = [Path(each) for each in named if Path(each).is_dir()]
        beside = {folder.absolute().parent for folder in (out, *typed)}
        self._folders = [*typed, *[each for above in beside for each in sorted(above.iterdir())[:MOST]]]
        self._names: dict[str, str] | None = None

    def name(self, of: Any) -> str | None:
        """The name of the folder; None if none is known, or for what is no hash."""
        if self._names is None:
            self._names = {}
            for folder in self._folders:
                for kind in filter(None, [artifact.kind_of(folder)]):
                    try:
                        self._names.setdefault(artifact.read(folder, kind).hash, folder.name)
                    except BadInput:
                        continue
        return self._names.get(of) if isinstance(of, str) else None
