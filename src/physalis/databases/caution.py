"""How a database of anyone's is opened: it holds our tables and nothing that runs, and SQLite believes it little.

A file can define views without end, triggers, generated columns and indexes on expressions, all of which run when a
table is read or written; and damage can make SQLite read round in circles. https://www.sqlite.org/security.html
"""

import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from functools import lru_cache

from physalis.errors import BadInput

LONGEST = 1 << 26
"""Bytes of a value or row. The longest of ours are the features of a common word, 4 bytes each."""

_LIMITS = {
    sqlite3.SQLITE_LIMIT_LENGTH: LONGEST,
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: 1 << 20,
    sqlite3.SQLITE_LIMIT_COLUMN: 100,
    sqlite3.SQLITE_LIMIT_EXPR_DEPTH: 100,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
    sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH: 4,
}

_OWN = ("sqlite_sequence", "sqlite_stat1", "sqlite_stat4")
"""Tables that SQLite makes for itself, where someone asked it to count."""

Entry = tuple[str, str, str]
"""Kind, name and definition of something that a database holds."""


def be_careful(db: sqlite3.Connection) -> None:
    """Set a connection up for a file that may be anyone's."""
    for limit, most in _LIMITS.items():
        db.setlimit(limit, most)
    db.execute("PRAGMA trusted_schema = OFF")
    db.execute("PRAGMA cell_size_check = ON")
    db.execute("PRAGMA mmap_size = 0")  # a mapped file that is cut short ends the process


def check_schema(db: sqlite3.Connection, statements: tuple[str, ...]) -> None:
    """Raises BadInput unless the database holds what these statements make, and no more."""
    wanted, found = _made_by(statements), _entries(db)
    if wanted == found:
        return
    strange = sorted(name for _, name, _ in found - wanted)
    missing = sorted(name for _, name, _ in wanted - found)
    what = f"defines {ascii(strange[0][:60])} otherwise" if strange else f"has no {missing[0]}"
    raise BadInput(f"it {what} than physalis does" if strange else f"it {what}")


@lru_cache
def _made_by(statements: tuple[str, ...]) -> frozenset[Entry]:
    with closing(sqlite3.connect(":memory:")) as db:
        for statement in statements:
            db.execute(statement)
        return _entries(db)


def _entries(db: sqlite3.Connection) -> frozenset[Entry]:
    most = 1000
    rows = db.execute("SELECT type, name, sql FROM sqlite_master LIMIT ?", (most + 1,)).fetchall()
    if len(rows) > most:
        raise BadInput(f"it defines more than {most} things")
    return frozenset(_plain(rows))


def _plain(rows: Iterable[Sequence[object]]) -> Iterable[Entry]:
    for kind, name, sql in rows:
        if kind == "index" and sql is None and str(name).startswith("sqlite_autoindex_"):
            continue  # of a key that a table declares
        if kind == "table" and name in _OWN:
            continue
        yield str(kind), str(name), " ".join(str(sql).split())
