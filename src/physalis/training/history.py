"""history: what a run leaves behind for whoever watches it: its rows of metrics, and when each was written. No torch.

``metrics.jsonl`` is part of the finished artefact and carries no times, so that the same job gives the same bytes.
``pace.jsonl`` has the times; it is there only while a run is unfinished. Both are cut back to where a run goes on after
a stop, so no step is told twice, and a line that a kill cut short is never read; nor is one that is no row.
"""

import json
import os
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TextIO

from physalis.artifact import read_bytes, remove, write_atomic

METRICS, PACE = "metrics.jsonl", "pace.jsonl"

_REMEMBERED = 256
"""Bytes of a file by whose end it is known again."""
MOST = 1 << 30
"""Bytes of either file, at most."""

RECENT_S = 30.0
"""The rate is that of so many seconds: long enough to be steady, short enough to tell when another job begins."""


class Log:
    """Writes both files of a run that starts, or goes on, at step ``start``."""

    def __init__(self, folder: Path, start: int, *, tokens: int, checkpoint: Path, index: int) -> None:
        """``tokens`` were seen by then. ``checkpoint`` is where the run keeps its state, ``index`` which of the
        dictionaries in it this one is."""
        with ExitStack() as opened:  # closed again where the disk is full by now
            self._rows, self._pace = (opened.enter_context(_cut(folder / name, start)) for name in (METRICS, PACE))
            where = os.path.relpath(checkpoint, folder)
            self._mark({"step": start, "tokens": tokens, "checkpoint": where, "index": index})
            self._opened = opened.pop_all()

    def write(self, row: dict[str, Any]) -> None:
        """Add a row of metrics, which has a "step" and "tokens"."""
        self._rows.write(json.dumps(row) + "\n")
        self._mark({"step": row["step"], "tokens": row["tokens"]})

    def _mark(self, mark: dict[str, Any]) -> None:
        self._pace.write(json.dumps({**mark, "at": round(time.time(), 3)}) + "\n")

    def __enter__(self) -> "Log":
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()


def _cut(path: Path, start: int) -> TextIO:
    if path.is_dir() and not path.is_symlink():
        remove(path)
    kept = [line for line, row in _rows(path) if row["step"] < start]
    write_atomic(path, lambda temporary: temporary.write_text("".join(kept)))
    # A line is on disk, and seen by whoever watches, as soon as written.
    return open(path, "a", buffering=1, opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW, 0o666))


def _rows(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """Whole lines up to the first that is damaged, each with what it says; the last one may be being written."""
    text = read_bytes(path, most=MOST).decode("utf-8", "replace") if os.path.lexists(path) else ""
    found = []
    for line in _whole(text):
        if (row := _row(line)) is None or "\N{REPLACEMENT CHARACTER}" in line:
            break
        found.append((line, row))
    return found


def _whole(text: str) -> list[str]:
    """The whole lines of it, with their ends."""
    return text[: text.rfind("\n") + 1].splitlines(keepends=True)


def _row(line: str) -> dict[str, Any] | None:
    """The row of a line; None if it is none."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    there = isinstance(row, dict) and all(type(row.get(name)) is int for name in ("step", "tokens"))
    return row if there else None


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of one of the files, in order, up to the first that is damaged; none if it is not there."""
    return [row for _, row in _rows(path)]


def reaches(folder: Path, start: int, *, steps: int, every: int) -> bool:
    """Whether the metrics hold all rows of a run of ``steps`` that goes on at ``start``: one each ``every`` steps, and
    that of the last."""
    wanted = {*range(0, start, every), *([steps - 1] if start == steps else [])}
    return [row["step"] for row in read(folder / METRICS) if row["step"] < start] == sorted(wanted)


class Tail:
    """A file that grows, of which only what was added is read. Threads may share it."""

    def __init__(self, path: Path, keep: Callable[[list[Any], dict[str, Any]], list[Any]] | None = None) -> None:
        """``keep`` adds a row to what is kept of those before, and says what is kept now; without it, all rows are."""
        self._path, self._keep, self._lock = path, keep, threading.Lock()
        self._forget()

    def _forget(self) -> None:
        self._kept: list[Any] = []
        self._at, self._end, self._file = 0, b"", (0, 0)

    def rows(self) -> list[Any]:
        """What is kept of all rows so far, in order; nothing if the file is not there. One that was cut or replaced is
        read anew."""
        with self._lock:
            try:
                with open(self._path, "rb") as file:
                    about = os.fstat(file.fileno())
                    place = max(0, self._at - len(self._end))
                    file.seek(place)
                    # A file may have been replaced by one of the same number: what was read last has to stand there.
                    if (about.st_dev, about.st_ino) != self._file or file.read(len(self._end)) != self._end:
                        self._forget()
                        self._file = about.st_dev, about.st_ino
                        file.seek(0)
                    added = file.read()
            except (FileNotFoundError, NotADirectoryError):
                self._forget()
                return []
            if end := added.rfind(b"\n") + 1:
                self._at += end
                self._end = (self._end + added[:end])[-_REMEMBERED:]
                for row in filter(None, map(_row, _whole(added.decode("utf-8", "replace")))):
                    if self._keep is None:
                        self._kept.append(row)
                    else:
                        self._kept = self._keep(self._kept, row)
            return [*self._kept]


def recent(marks: list[dict[str, Any]], mark: dict[str, Any]) -> list[dict[str, Any]]:
    """Of the rows of PACE up to ``mark`` those that ``rate`` goes by: the one with which the present process began, and
    those of the last RECENT_S, or the last two. For ``Tail``."""
    if not all(isinstance(mark.get(name), int | float) for name in ("tokens", "at")):
        return marks
    if "checkpoint" in mark:
        return [mark]
    rows = marks[1:]
    first = next((i for i, each in enumerate(rows) if mark["at"] - each["at"] <= RECENT_S), len(rows) - 1)
    return [*marks[:1], *rows[max(first, 0) :], mark]


def rate(marks: list[dict[str, Any]]) -> float | None:
    """Tokens a second over the last RECENT_S that the present process has been training, from the rows of PACE. None
    until it has written a row."""
    begun = max((i for i, mark in enumerate(marks) if "checkpoint" in mark), default=0)
    here = marks[begun:]
    here = here[1:] if len(here) > 2 else here  # up to its first row a process compiles and reads
    recent = [mark for mark in here if here[-1]["at"] - mark["at"] <= RECENT_S] if here else []
    if len(recent) < 2:
        recent = here[-2:]
    seconds = recent[-1]["at"] - recent[0]["at"] if recent else 0
    return (recent[-1]["tokens"] - recent[0]["tokens"]) / seconds if seconds > 0 else None
