"""The file notes.db: records that are only ever added, and beside them which of them count now.

What counts follows from the records alone, in whatever order they came; it is worked out anew for each slot that new
records touch, in the same transaction, so that pages are read without looking at history. A write that was acknowledged
is on the disk: it survives a kill, and the file that it went into is the one that stands there (``databases.Shared``).
"""

import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from physalis import artifact
from physalis.databases import Shared
from physalis.databases.caution import check_schema
from physalis.databases.shared import is_unmade, make
from physalis.errors import BadInput, Unavailable
from physalis.people.beside import notes_beside
from physalis.people.notes.records import Entry, FullList, Listing, ListRow, Writing, Written, read
from physalis.people.notes.words import TOKENS
from physalis.people.refusals import Missing

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
    f"CREATE VIRTUAL TABLE search USING fts5 (text, {TOKENS})",
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

Kind = TypeVar("Kind", bound=Writing)


class Seen(NamedTuple):
    """What every page of an atlas asks of its notes."""

    features: frozenset[int]
    """Those with labels, notes, or a place in a list."""
    lists: Sequence[ListRow]
    """All lists, by name."""


def open_ledger(path: Path, atlas: str) -> Shared[Seen]:
    """Open or make the file. Raises BadInput as ``Notes.open`` says."""

    def check(db: sqlite3.Connection, name: str) -> None:
        bound = _bound(db, name)
        if bound != atlas:
            raise BadInput(
                f"{name} holds notes about another atlas: its manifest has the hash {bound}, this one's has {atlas}. "
                "The same number may be another feature there. Open the notes that belong to this atlas, or, if its "
                "features are the same (it was only built again), bind the notes to it: physalis notes rebind ATLAS."
            )

    if not path.parent.is_dir():
        raise BadInput(f"{path} cannot be made: there is no folder {path.parent}.")
    if (path.parent / artifact.JOB).exists() or (path.parent / artifact.MANIFEST).exists():
        raise BadInput(
            f"{path} would stand inside {path.parent}, and be lost when that is deleted to be built again. "
            f"Keep notes beside it, such as {notes_beside(path.parent)}."
        )
    try:
        if is_unmade(path):
            make(path, lambda db: _fill(db, atlas), prepare=_prepare, busy_s=BUSY_S)
        return Shared(path, check, look=_look, prepare=_prepare, busy_s=BUSY_S)
    except Unavailable as error:
        raise BadInput(f"{path} cannot be opened as notes. {error}") from error


def _look(db: sqlite3.Connection) -> Seen:
    features = db.execute(
        "SELECT DISTINCT feature FROM records WHERE kind IN ('label', 'note', 'entry') AND current = 1"
    )
    lists = db.execute(
        "SELECT body, (SELECT count(*) FROM records e WHERE e.kind = 'entry' AND e.list = l.list AND "
        "e.current = 1) FROM records l WHERE l.kind = 'list' AND l.current = 1"
    )
    found = [ListRow(list=kept_as(Listing, body), n_entries=n) for body, n in lists.fetchall()]
    by_name = sorted(found, key=lambda row: (row.list.name, row.list.list))
    return Seen(frozenset(feature for (feature,) in features.fetchall()), by_name)


def _prepare(db: sqlite3.Connection) -> None:
    # Some builds of SQLite take json_extract for unsafe in a table's definition. Ours uses it, and any other definition
    # is refused before a table is touched.
    db.execute("PRAGMA trusted_schema = ON")


def _fill(db: sqlite3.Connection, atlas: str) -> None:
    for statement in _TABLES:
        db.execute(statement)
    db.execute("INSERT INTO meta VALUES ('atlas', ?)", (atlas,))
    db.execute(f"PRAGMA application_id = {_APPLICATION}")
    db.execute(f"PRAGMA user_version = {SCHEMA}")


def rebind(path: Path | str, *, atlas: str) -> str:
    """Bind notes to another atlas with the same features, by its manifest's hash; returns the hash they had before.

    For an atlas that was built again from the same dictionary: labels stay with the numbers of their features. Raises
    BadInput if the file holds no notes.
    """
    path = Path(path)
    if not path.exists():
        raise BadInput(f"There is no {path}. Check the path.")
    before: list[str] = []
    try:
        file = Shared(path, lambda db, name: before.append(_bound(db, name)), prepare=_prepare, busy_s=BUSY_S)
        with file.change() as db:
            db.execute("UPDATE meta SET value = ? WHERE key = 'atlas'", (atlas,))
        file.close()
    except Unavailable as error:
        raise BadInput(f"{path} cannot be opened as notes. {error}") from error
    return before[-1]


def add(db: sqlite3.Connection, records: Iterable[Written]) -> int:
    """Add the records that are not there yet; returns how many. Raises BadInput for a known id with another content."""
    fresh = 0
    touched: dict[str, None] = {}
    for record in records:
        known = db.execute("SELECT body FROM records WHERE id = ?", (record.id,)).fetchone()
        if known:
            check_same(kept(known[0]), record)
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


def current(db: sqlite3.Connection, id: str, kind: type[Kind]) -> Kind:
    """The record of this kind with this id. Raises Missing if there is none, or it was replaced or removed."""
    found = db.execute("SELECT body, current FROM records WHERE id = ?", (id,)).fetchone()
    if not found:
        raise Missing(f"Nothing here has the id {id}.")
    if not found[1]:
        raise Missing(f"What had the id {id} was changed or removed meanwhile. Read it again.")
    record = kept(found[0])
    if not isinstance(record, kind):
        raise Missing(f"There is no {kind.__name__.lower()} with the id {id}: it is a {record.kind}.")
    return record


def full_list(db: sqlite3.Connection, id: str) -> FullList:
    """A list with its features in order. Raises Missing if there is none."""
    head = db.execute("SELECT body FROM records WHERE kind = 'list' AND current = 1 AND list = ?", (id,)).fetchone()
    if not head:
        raise Missing(f"There is no list with the id {id}.")
    rows = db.execute("SELECT body FROM records WHERE kind = 'entry' AND current = 1 AND list = ?", (id,))
    entries = sorted((kept_as(Entry, body) for (body,) in rows), key=lambda entry: (entry.place, entry.time, entry.id))
    return FullList(list=kept_as(Listing, head[0]), entries=tuple(entries))


def kept(body: Any) -> Written:
    """The record that a row holds. Raises Unavailable if it was damaged from outside."""
    try:
        return read(body)
    except BadInput as error:
        raise Unavailable(f"A record of these notes is damaged. {error}") from error


def kept_as(kind: type[Kind], body: Any) -> Kind:
    """The record of this kind that a row holds. Raises Unavailable if it holds another."""
    found = kept(body)
    if not isinstance(found, kind):
        raise Unavailable(f"A record of these notes is damaged: what should be a {kind.__name__.lower()} is none.")
    return found


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


def _pragma(db: sqlite3.Connection, name: str) -> Any:
    return db.execute(f"PRAGMA {name}").fetchone()[0]


def _bound(db: sqlite3.Connection, name: str) -> str:
    """The hash of the atlas that the notes are about."""
    if _pragma(db, "application_id") != _APPLICATION:
        raise BadInput(f"{name} is a database of something else, not notes. Choose another path; nothing was changed.")
    version = _pragma(db, "user_version")
    if version > SCHEMA:
        raise BadInput(f"{name} has schema version {version}; this physalis reads up to {SCHEMA}. Install a newer one.")
    try:
        check_schema(db, _TABLES)
    except BadInput as error:
        raise BadInput(f"{name} cannot be read as notes: {error}. Put back your copy.") from error
    row = db.execute("SELECT value FROM meta WHERE key = 'atlas'").fetchone()
    if row is None:
        raise BadInput(f"{name} does not say which atlas it is about. Put back your copy.")
    return str(row[0])
