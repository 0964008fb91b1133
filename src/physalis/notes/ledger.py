"""The file notes.db: records that are only ever added, and beside them which of them count now.

What counts follows from the records alone, in whatever order they came; it is worked out anew for each slot that new
records touch, in the same transaction, so that pages are read without looking at history. A write that was acknowledged
is on the disk: it survives a kill. SQLite in WAL mode, a connection for each thread, on a local disk.
"""

import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Literal, TypeVar

from physalis import artifact
from physalis.errors import BadInput
from physalis.notes.records import Record, Written, read

SCHEMA = 1
"""Version of the tables. A newer one is refused."""
BUSY_S = 20.0
"""How long a write waits for others."""

_TABLES = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    """CREATE TABLE records (
        seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, slot TEXT NOT NULL, body TEXT NOT NULL,
        current INTEGER NOT NULL DEFAULT 0,
        kind TEXT AS (json_extract(body, '$.kind')), time TEXT AS (json_extract(body, '$.time')),
        feature INTEGER AS (json_extract(body, '$.feature')), list TEXT AS (json_extract(body, '$.list')),
        target TEXT AS (json_extract(body, '$.on') || ':' || json_extract(body, '$.target')),
        value INTEGER AS (json_extract(body, '$.value')))""",
    "CREATE INDEX records_slot ON records (slot)",
    "CREATE INDEX records_feature ON records (kind, feature) WHERE current = 1",
    "CREATE INDEX records_list ON records (kind, list) WHERE current = 1",
    "CREATE INDEX records_target ON records (target) WHERE current = 1",
    "CREATE TABLE replaced (id TEXT PRIMARY KEY) WITHOUT ROWID",
    "CREATE VIRTUAL TABLE search USING fts5 (text, tokenize = 'unicode61 remove_diacritics 2')",
    """CREATE TRIGGER shown AFTER UPDATE OF current ON records
        WHEN new.current > old.current AND json_extract(new.body, '$.kind') IN ('label', 'note') BEGIN
        INSERT INTO search (rowid, text) VALUES (new.seq, json_extract(new.body, '$.text')); END""",
    """CREATE TRIGGER hidden AFTER UPDATE OF current ON records
        WHEN new.current < old.current AND json_extract(new.body, '$.kind') IN ('label', 'note') BEGIN
        DELETE FROM search WHERE rowid = old.seq; END""",
)

_LIVE = "slot = ? AND kind <> 'removal' AND id NOT IN (SELECT id FROM replaced)"

_SETTLE = f"""UPDATE records SET current = NOT current WHERE slot = ? AND current IS NOT
    (seq IS (SELECT seq FROM records WHERE {_LIVE} ORDER BY time DESC, id DESC LIMIT 1))"""
"""Makes the newest live record of a slot the current one, and touches no row that is right already."""

_APPLICATION = int.from_bytes(b"phys")

Result = TypeVar("Result")
Kind = TypeVar("Kind", bound=Record)


class NotThere(BadInput):
    """What should be read or changed does not exist, or not any more."""


class NotYours(BadInput):
    """Someone else wrote it."""


class _Connection(sqlite3.Connection):
    """One that can be held weakly."""


class Ledger:
    """An open notes.db. ``db`` is this thread's connection; changes go through ``write``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._local = threading.local()
        self._connections: weakref.WeakSet[_Connection] = weakref.WeakSet()
        self._lock = threading.Lock()

    @property
    def db(self) -> sqlite3.Connection:
        """This thread's connection."""
        if not hasattr(self._local, "db"):
            self._local.db = _connect(self.path, "rw")
            with self._lock:
                self._connections.add(self._local.db)
        return self._local.db

    def write(self, change: Callable[[sqlite3.Connection], Result]) -> Result:
        """Call ``change`` inside a transaction; when this returns, what it did is on the disk.

        Raises BadInput if the disk is full, the file may not be written, or others kept it for too long; then nothing
        was changed.
        """
        try:
            with _transaction(self.db):
                return change(self.db)
        except sqlite3.OperationalError as error:
            sentence = {
                sqlite3.SQLITE_FULL: "The disk is full. Free some space.",
                sqlite3.SQLITE_READONLY: "This user may not write there.",
                sqlite3.SQLITE_BUSY: f"Others have been writing for {BUSY_S:.0f} seconds. Try again.",
            }.get(error.sqlite_errorcode & 0xFF)
            if sentence is None:
                raise
            raise BadInput(f"Nothing was written into {self.path}: {sentence}") from error

    def close(self) -> None:
        """Close the connections of all threads. A later call opens new ones."""
        with self._lock:
            connections, self._local = [*self._connections], threading.local()
            self._connections.clear()
        for connection in connections:
            connection.close()


def beside(atlas: Path) -> Path:
    """Where the notes of an atlas folder are kept."""
    return atlas.resolve().with_name(f"{atlas.resolve().name}.notes.db")


def open_ledger(path: Path, atlas: str) -> Ledger:
    """Open or make the file. Raises BadInput as ``Notes.open`` says."""
    if not path.parent.is_dir():
        raise BadInput(f"{path} cannot be made: there is no folder {path.parent}.")
    if (path.parent / artifact.JOB).exists() or (path.parent / artifact.MANIFEST).exists():
        raise BadInput(
            f"{path} would stand inside {path.parent}, and be lost when that is deleted to be built again. "
            f"Keep notes beside it, such as {beside(path.parent)}."
        )
    with _opening(path) as db:
        if not _tables(db):
            with _transaction(db):
                if not _tables(db):  # another process may just have made them
                    for statement in _TABLES:
                        db.execute(statement)
                    db.execute("INSERT INTO meta VALUES ('atlas', ?)", (atlas,))
                    db.execute(f"PRAGMA application_id = {_APPLICATION}")
                    db.execute(f"PRAGMA user_version = {SCHEMA}")
        bound = _bound(db, path)
        if bound != atlas:
            raise BadInput(
                f"{path} holds notes about another atlas: its manifest has the hash {bound}, this one's has {atlas}. "
                "The same number may be another feature there. Open the notes that belong to this atlas, or, if its "
                "features are the same (it was only built again), bind the notes to it with physalis.notes.rebind."
            )
        _use_wal(db)
    return Ledger(path)


def rebind(path: Path | str, *, atlas: str) -> str:
    """Bind notes to another atlas with the same features, by its manifest's hash; returns the hash they had before.

    For an atlas that was built again from the same dictionary: labels stay with the numbers of their features. Raises
    BadInput if the file holds no notes.
    """
    path = Path(path)
    if not path.exists():
        raise BadInput(f"There is no {path}. Check the path.")
    with _opening(path) as db:
        with _transaction(db):
            bound = _bound(db, path)
            db.execute("UPDATE meta SET value = ? WHERE key = 'atlas'", (atlas,))
    return bound


def add(db: sqlite3.Connection, records: Iterable[Written]) -> int:
    """Add the records that are not there yet; returns how many. Raises BadInput for a known id with another content."""
    fresh = 0
    touched: dict[str, None] = {}
    for record in records:
        known = db.execute("SELECT body FROM records WHERE id = ?", (record.id,)).fetchone()
        if known:
            check_same(read(known[0]), record)
            continue
        fresh += 1
        slot = record.slot
        touched[slot] = None
        db.execute("INSERT INTO records (id, slot, body) VALUES (?, ?, ?)", (record.id, slot, record.model_dump_json()))
        for id in record.replaces:
            db.execute("INSERT OR IGNORE INTO replaced VALUES (?)", (id,))
            for (other,) in db.execute("SELECT slot FROM records WHERE id = ?", (id,)):
                touched[other] = None
    db.executemany(_SETTLE, ((slot, slot) for slot in touched))
    return fresh


def put(db: sqlite3.Connection, record: Kind) -> Kind:
    """Add a record in the place of all that live in its slot; returns it as added."""
    replaces = tuple(sorted({*record.replaces, *live(db, record.slot)}))
    record = record.model_copy(update={"replaces": replaces})
    add(db, [record])  # pyright: ignore[reportArgumentType]
    return record


def live(db: sqlite3.Connection, slot: str) -> list[str]:
    """Ids of the records of a slot that nothing replaces: several where edits were made apart."""
    return [id for (id,) in db.execute(f"SELECT id FROM records WHERE {_LIVE}", (slot,))]


def current(db: sqlite3.Connection, id: str) -> Written:
    """The record with this id. Raises NotThere if there is none, or it was replaced or removed."""
    found = db.execute("SELECT body, current FROM records WHERE id = ?", (id,)).fetchone()
    if not found:
        raise NotThere(f"Nothing here has the id {id}.")
    if not found[1]:
        raise NotThere(f"What had the id {id} was changed or removed meanwhile. Read it again.")
    return read(found[0])


def check_same(known: Written, other: Written) -> None:
    """Raises BadInput if two records of one id differ: a record is never changed."""
    if known != other:
        raise BadInput(
            f"Two different records have the id {known.id}: {_short(known)} and {_short(other)}. A record is never "
            f'changed. Restore the line as it was; to edit it, add a line with a new id and "replaces": ["{known.id}"].'
        )


def _short(record: Written) -> str:
    text = record.model_dump_json(exclude={"id"})
    return text if len(text) <= 200 else f"{text[:197]}..."


def _connect(path: Path, mode: Literal["rw", "rwc"]) -> _Connection:
    uri = f"{path.resolve().as_uri()}?mode={mode}"
    # ``isolation_level=None`` leaves transactions to us; a connection is closed by whoever closes the ledger.
    db = sqlite3.connect(
        uri, uri=True, timeout=BUSY_S, isolation_level=None, check_same_thread=False, factory=_Connection
    )
    db.execute("PRAGMA synchronous = FULL")  # in WAL mode less would acknowledge what a power cut can still take away
    db.execute("PRAGMA fullfsync = 1")  # the same on a Mac; nothing elsewhere
    return db


@contextmanager
def _opening(path: Path) -> Iterator[sqlite3.Connection]:
    try:
        with closing(_connect(path, "rwc")) as db:
            yield db
    except sqlite3.DatabaseError as error:
        raise BadInput(
            f"{path} cannot be opened as notes: {error}. Check the path, and who may write there."
        ) from error


@contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")


def _pragma(db: sqlite3.Connection, name: str) -> Any:
    return db.execute(f"PRAGMA {name}").fetchone()[0]


def _tables(db: sqlite3.Connection) -> int:
    return db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]


def _bound(db: sqlite3.Connection, path: Path) -> str:
    """The hash of the atlas that the notes are about."""
    if _pragma(db, "application_id") != _APPLICATION:
        raise BadInput(f"{path} is a database of something else, not notes. Choose another path; nothing was changed.")
    version = _pragma(db, "user_version")
    if version > SCHEMA:
        raise BadInput(f"{path} has schema version {version}; this physalis reads up to {SCHEMA}. Install a newer one.")
    return db.execute("SELECT value FROM meta WHERE key = 'atlas'").fetchone()[0]


def _use_wal(db: sqlite3.Connection) -> None:
    """SQLite waits for others everywhere but here."""
    deadline = time.monotonic() + BUSY_S
    while _pragma(db, "journal_mode") != "wal":
        try:
            db.execute("PRAGMA journal_mode = WAL")
            return  # where the disk cannot have it, the file stays as it is, slower and as safe
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
