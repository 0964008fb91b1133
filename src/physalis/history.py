"""history: what a run leaves behind for whoever watches it: its rows of metrics, and when each was written. No torch.

``metrics.jsonl`` is part of the finished artefact and carries no times, so that the same job gives the same bytes.
``pace.jsonl`` has the times; it is there only while a run is unfinished. Both are cut back to where a run goes on after
a stop, so no step is told twice, and a line that a kill cut short is never read.
"""

import json
import os
import time
from pathlib import Path
from typing import Any, TextIO

from physalis.artifact import read_bytes, remove, write_atomic

METRICS, PACE = "metrics.jsonl", "pace.jsonl"

MOST = 1 << 30
"""Bytes of either file, at most."""

RECENT_S = 30.0
"""The rate is that of so many seconds: long enough to be steady, short enough to tell when another job begins."""


class Log:
    """Writes both files of a run that starts, or goes on, at step ``start``."""

    def __init__(self, folder: Path, start: int, *, tokens: int, checkpoint: Path, index: int) -> None:
        """``tokens`` were seen by then. ``checkpoint`` is where the run keeps its state, ``index`` which of the
        dictionaries in it this one is."""
        self._rows, self._pace = (_cut(folder / name, start) for name in (METRICS, PACE))
        where = os.path.relpath(checkpoint, folder)
        self._mark({"step": start, "tokens": tokens, "checkpoint": where, "index": index})

    def write(self, row: dict[str, Any]) -> None:
        """Add a row of metrics, which has a "step" and "tokens"."""
        self._rows.write(json.dumps(row) + "\n")
        self._mark({"step": row["step"], "tokens": row["tokens"]})

    def _mark(self, mark: dict[str, Any]) -> None:
        self._pace.write(json.dumps({**mark, "at": round(time.time(), 3)}) + "\n")

    def __enter__(self) -> "Log":
        return self

    def __exit__(self, *_: object) -> None:
        self._rows.close()
        self._pace.close()


def _cut(path: Path, start: int) -> TextIO:
    kept = [line for line, row in _rows(path) if row["step"] < start]
    if path.is_dir() and not path.is_symlink():
        remove(path)
    write_atomic(path, lambda temporary: temporary.write_text("".join(kept)))
    # A line is on disk, and seen by whoever watches, as soon as written.
    return open(path, "a", buffering=1, opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW, 0o666))


def _rows(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """Whole lines up to the first that is damaged, each with what it says; the last one may be being written."""
    try:
        text = read_bytes(path, most=MOST).decode() if os.path.lexists(path) else ""
    except ValueError:
        return []
    found = []
    for line in text.splitlines(keepends=True):
        try:
            row = json.loads(line) if line.endswith("\n") else None
        except (ValueError, RecursionError):
            break
        if not isinstance(row, dict) or not all(type(row.get(name)) is int for name in ("step", "tokens")):
            break
        found.append((line, row))
    return found


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of one of the files, in order, up to the first that is damaged; none if it is not there."""
    return [row for _, row in _rows(path)]


def reaches(folder: Path, start: int, *, steps: int, every: int) -> bool:
    """Whether the metrics hold all rows of a run of ``steps`` that goes on at ``start``: one each ``every`` steps, and
    that of the last."""
    wanted = {*range(0, start, every), *([steps - 1] if start == steps else [])}
    return [row["step"] for row in read(folder / METRICS) if row["step"] < start] == sorted(wanted)


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
