"""What SQLite refuses, as sentences: a connection whose cursors raise Unavailable for what only the file is to blame.

Mistakes of the program (a wrong value, a statement of its own that is none) stay what they are.
"""

import sqlite3
from collections.abc import Callable
from functools import wraps
from typing import Any

from physalis.errors import Unavailable

_DAMAGED = "{} is damaged, or being overwritten. Whoever keeps it: put back your copy."
_LOCKED = "{} is kept locked by another program. Try again."
_WHY = {
    sqlite3.SQLITE_FULL: "The disk is full. Free some space, and try again.",
    sqlite3.SQLITE_READONLY: "{} may only be read here: its disk or its rights allow no more.",
    sqlite3.SQLITE_BUSY: _LOCKED,
    sqlite3.SQLITE_LOCKED: _LOCKED,
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_NOTADB: _DAMAGED.replace("damaged", "not a database: it is damaged"),
    sqlite3.SQLITE_INTERRUPT: "Reading {} takes longer than any file of ours does: it is damaged.",
    sqlite3.SQLITE_TOOBIG: "{} holds a value longer than any of ours: it is damaged.",
    sqlite3.SQLITE_READONLY_DBMOVED: "{} was moved or replaced meanwhile. Try again.",
    sqlite3.SQLITE_READONLY_ROLLBACK: "A change of {} was broken off, and is undone only where it may be written.",
}
_OURS = (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.NotSupportedError)


def in_words(error: sqlite3.Error, name: str) -> Exception:
    """The refusal to raise instead; the error itself if it is one of the program."""
    if isinstance(error, _OURS):
        return error
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)  # none: a text that is no UTF-8
    why = _WHY.get(code) or _WHY.get(code & 0xFF) or f"{{}} cannot be read or written: {error}."
    return Unavailable(why.format(name))


def _worded(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def worded(self: "Rows", *asked: Any) -> Any:
        try:
            return method(self, *asked)
        except sqlite3.DatabaseError as error:
            said = in_words(error, self.connection.name)
            if said is error:
                raise
            raise said from error

    return worded


class Rows(sqlite3.Cursor):
    """A cursor whose refusals are sentences."""

    connection: "Connection"

    execute = _worded(sqlite3.Cursor.execute)
    executemany = _worded(sqlite3.Cursor.executemany)
    executescript = _worded(sqlite3.Cursor.executescript)
    fetchone = _worded(sqlite3.Cursor.fetchone)
    fetchmany = _worded(sqlite3.Cursor.fetchmany)
    fetchall = _worded(sqlite3.Cursor.fetchall)
    __next__ = _worded(sqlite3.Cursor.__next__)


class Connection(sqlite3.Connection):
    """A connection whose cursors are Rows. ``name`` is what sentences call its file."""

    name = "The database"

    def cursor(self, factory: type[sqlite3.Cursor] = Rows) -> Any:
        return super().cursor(factory)

    # As they are, these two make cursors of their own.
    def execute(self, *asked: Any) -> Any:
        return self.cursor().execute(*asked)

    def executemany(self, *asked: Any) -> Any:
        return self.cursor().executemany(*asked)
