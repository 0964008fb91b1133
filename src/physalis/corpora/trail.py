"""trail: which bytes of which files a text was read from, so that a later look tells whether they still are."""

import hashlib
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

BUFFER = 1 << 18
"""Bytes read at a time."""


class _Hashed(io.RawIOBase):
    """The bytes of a file, hashed as they are read."""

    def __init__(self, path: Path) -> None:
        self.path, self.n, self.whole = path, 0, False
        self._file, self._sha = open(path, "rb", buffering=0), hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        n = self._file.readinto(buffer) or 0
        self._sha.update(memoryview(buffer)[:n])
        self.n, self.whole = self.n + n, self.whole or (n == 0 and len(buffer) > 0)
        return n

    def close(self) -> None:
        self._file.close()
        super().close()

    def said(self) -> dict[str, Any]:
        return {"bytes": self.n, "sha256": self._sha.hexdigest(), "whole": self.whole}


@dataclass(slots=True)
class Trail:
    """The files that were read, in order, each with how many of its bytes and their sha256."""

    _opened: list[tuple[Path, _Hashed | dict[str, Any]]] = field(default_factory=list)
    ended: bool = False
    """Whether the text was read to its end: then one more file changes it too."""

    def open(self, path: Path) -> io.BufferedReader:
        """A file whose bytes are noted as they are read. Raises OSError."""
        raw = _Hashed(path)
        self._opened.append((path, raw))
        return io.BufferedReader(raw, BUFFER)

    def note(self, path: Path) -> None:
        """Note the whole of a file that is read in no order. Raises OSError."""
        self._opened.append((path, {"bytes": path.stat().st_size, "sha256": _sha(path), "whole": True}))

    def said(self) -> dict[str, Any]:
        """As it is stored. Names are relative to the folder that holds all files: no paths, no times."""
        names = relative([path for path, _ in self._opened])
        said = [each.said() if isinstance(each, _Hashed) else each for _, each in self._opened]
        return {"ended": self.ended, "files": [{"name": n, **s} for n, s in zip(names, said, strict=True)]}


def changed(said: dict[str, Any], paths: Sequence[Path]) -> str | None:
    """What is no longer as a trail says it was, in words; None where all is. ``paths`` are the files that the source
    names now. Reads again only what was read then. Raises OSError."""
    files = said["files"]
    if len(paths) < len(files):
        return f"there were {len(files):,} files, now {len(paths):,}"
    if said["ended"] and len(paths) > len(files):
        return f"there were {len(files):,} files, now {len(paths):,}"
    now = relative(paths[: len(files)])
    for file, path, name in zip(files, paths, now, strict=False):
        if file["name"] != name:
            return f"where {file['name']} was read, {name} stands now"
        size = path.stat().st_size
        longer = file["whole"] and size != file["bytes"]
        if size < file["bytes"] or longer or _sha(path, file["bytes"]) != file["sha256"]:
            return f"{name} is another file than it was"
    return None


def relative(paths: Sequence[Path]) -> list[str]:
    """The paths without the folder that they have in common; a file that is alone is its name."""
    if not paths:
        return []
    root = os.path.commonpath([path.absolute().parent for path in paths])
    return [str(path.absolute().relative_to(root)) for path in paths]


def _sha(path: Path, n: int | None = None) -> str:
    with open(path, "rb") as f:
        if n is None:
            return hashlib.file_digest(f, "sha256").hexdigest()
        sha = hashlib.sha256()
        while n > 0 and (part := cast(IO[bytes], f).read(min(n, BUFFER))):
            sha.update(part)
            n -= len(part)
        return sha.hexdigest()
