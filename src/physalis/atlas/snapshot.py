"""Snapshot: an atlas.db as it stands at one moment, read by any thread and believed in nothing. No torch.

Every answer is of that one file: once another stands at its path, or something was written into it, none is given.
"""

import sqlite3
import threading
from pathlib import Path
from typing import Any

from physalis.atlas.schema import LAYOUT, TABLES
from physalis.databases import Stamp
from physalis.databases.caution import LONGEST, be_careful, check_schema
from physalis.databases.sentences import Connection
from physalis.errors import BadInput, Unavailable

STEPS, TIMES = 10_000_000, 100
"""Instructions of SQLite between two looks at a statement, and looks until it is stopped. Reading the numbers of a
million features takes some 30 million instructions; damage can send it round in circles."""
CACHE_KB = 8_000
BATCH = 100
"""Rows that are read before their sizes are looked at."""


class Snapshot:
    """One file. Threads share it: each gets its own connection."""

    def __init__(self, file: Path, stamp: Stamp) -> None:
        """Raises BadInput if the file holds other tables than an atlas's, or is of a newer physalis."""
        self.file, self.stamp = file, stamp
        self._local = threading.local()
        ((version,),) = self.rows("PRAGMA user_version")
        self.layout = version or 1
        if self.layout > LAYOUT:
            raise BadInput(f"it has layout {self.layout}; this physalis reads up to {LAYOUT}. Install a newer physalis")
        check_schema(self._db, TABLES if self.layout > 1 else tuple(t for t in TABLES if "TABLE causes" not in t))

    def rows(self, query: str, *values: Any) -> list[Any]:
        """All rows of an answer. Together they are no larger than the file: more would be read from it in circles.

        Raises Unavailable if the file is damaged."""
        found, room = [], self.stamp.size
        asked = self._db.execute(query, values)
        while rows := asked.fetchmany(BATCH):
            room -= len(rows) + sum(_size(column) for column in zip(*rows, strict=True))
            if room < 0:
                raise Unavailable(f"{self.file.name} is damaged. Whoever keeps it: copy it again.")
            found += rows
        return found

    def value(self, query: str, *values: Any) -> Any:
        """The first value of an answer; None without any."""
        found = self._db.execute(query, values).fetchone()
        return None if found is None else found[0]

    def check_still(self) -> None:
        """Raises Unavailable if the file is another by now, or was written into."""
        if Stamp.of(self.file) != self.stamp:
            raise Unavailable(f"{self.file.name} changed just now. Try again.")

    @property
    def _db(self) -> Connection:
        if not hasattr(self._local, "db"):
            self._local.db = self._connect()
            self.check_still()  # or the connection may be to another file
        self._local.looks = 0
        return self._local.db

    def _connect(self) -> Connection:
        # ``immutable``: the file never changes once its manifest is written, so no locks and no -shm files.
        uri = f"{self.file.resolve().as_uri()}?mode=ro&immutable=1"
        try:
            db = sqlite3.connect(uri, uri=True, check_same_thread=False, factory=Connection)
        except sqlite3.OperationalError as error:
            raise Unavailable(f"{self.file.name} cannot be opened ({error}).") from error
        db.name = self.file.name
        be_careful(db)
        db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, min(LONGEST, self.stamp.size))
        db.execute(f"PRAGMA cache_size = -{CACHE_KB}")
        # A text that is none shall be seen, and not cost the rows beside it.
        db.text_factory = lambda raw: raw.decode("utf-8", "replace")

        def look() -> bool:
            self._local.looks += 1
            return self._local.looks > TIMES

        self._local.looks = 0
        db.set_progress_handler(look, STEPS)
        return db


def _size(column: tuple[Any, ...]) -> int:
    """Bytes, or characters, of the values of a column that have any."""
    if not {*map(type, column)} & {str, bytes}:
        return 0
    return sum(len(value) for value in column if isinstance(value, str | bytes))
