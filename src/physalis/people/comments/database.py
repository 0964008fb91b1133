"""Database: the file comments.db beside an atlas, and the key that signs what stands in it.

Everything that says who wrote what carries an HMAC-SHA256 (RFC 2104) under a key of this database. The key is another
file, comments.key, readable by its owner alone: whoever gets to write the database without it (a shared or restored
copy, another program) cannot put words in anyone's mouth. It does not protect from someone who can read both.
Every commit is on the disk before it is answered, in the file that stands there (``databases.Shared``): what was told
to be kept is kept after a kill.
"""

import hashlib
import hmac
import json
import os
import secrets
import sqlite3
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from physalis import artifact
from physalis.artifact.files import FULL, failed
from physalis.databases import Shared
from physalis.databases.caution import check_schema
from physalis.databases.shared import is_unmade, make
from physalis.errors import BadInput, Unavailable
from physalis.people.beside import comments_beside

DATABASE, KEY = "comments.db", "comments.key"
LAYOUT = 1
"""Version of the tables. A newer one is refused."""
ID = 16
"""Digits of a row's id."""

BUSY_S = 5.0
"""How long a request waits for others. Guests write little."""

_TABLES = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID",
    """CREATE TABLE invitations (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, affiliation TEXT NOT NULL, role TEXT NOT NULL, hash BLOB UNIQUE NOT NULL,
    created INTEGER NOT NULL, expires INTEGER NOT NULL, accepted INTEGER, revoked INTEGER, seal BLOB NOT NULL)""",
    """CREATE TABLE sessions (
    hash BLOB PRIMARY KEY, invitation TEXT NOT NULL REFERENCES invitations, expires INTEGER NOT NULL,
    seal BLOB NOT NULL) WITHOUT ROWID""",
    """CREATE TABLE comments (
    id TEXT PRIMARY KEY, place TEXT NOT NULL, anchor TEXT NOT NULL, parent TEXT REFERENCES comments,
    author TEXT NOT NULL REFERENCES invitations, name TEXT NOT NULL, affiliation TEXT NOT NULL, role TEXT NOT NULL,
    state TEXT NOT NULL, number INTEGER NOT NULL, written INTEGER NOT NULL, changed INTEGER NOT NULL,
    seal BLOB NOT NULL)""",
    """CREATE TABLE versions (
    comment TEXT NOT NULL REFERENCES comments, number INTEGER NOT NULL, text TEXT NOT NULL, time INTEGER NOT NULL,
    signature BLOB NOT NULL, PRIMARY KEY (comment, number)) WITHOUT ROWID""",
    "CREATE INDEX comments_at ON comments (place, state)",
    "CREATE INDEX comments_by ON comments (author, state)",
)


class Database:
    """The comments of one folder. Can be shared by threads (each gets its own connection) and by processes."""

    def __init__(self, folder: Path | str, *, clock: Callable[[], float] = time.time) -> None:
        """Open the folder's database, or make an empty one. ``clock`` tells seconds since 1970. Raises BadInput if it
        cannot be read, if its key is missing or another's, or if a newer physalis made it."""
        self.file = Path(folder) / DATABASE
        self._clock = clock
        if Path(folder).is_symlink() or self.file.with_name(KEY).is_symlink():
            raise BadInput(f"{folder} is reached by a link, and was not opened. Put the folder itself there.")
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            # The database is looked for first: another process that makes both now makes the key first.
            self._key = _key(self.file.with_name(KEY), wanted=self.file.exists())
            if is_unmade(self.file):
                make(self.file, self._fill, prepare=_prepare, busy_s=BUSY_S)
            self._file = Shared(self.file, self._check, busy_s=BUSY_S, prepare=_prepare)
        except Unavailable as error:
            raise BadInput(f"{self.file} cannot be read. {error}") from error
        except OSError as error:
            if error.errno in FULL:
                raise failed(error, self.file) from error
            raise BadInput(f"{self.file} cannot be made or opened: {error.strerror}. Check who may use it.") from error

    def now(self) -> int:
        """Seconds since 1970."""
        return int(self._clock())

    @property
    def rows(self) -> sqlite3.Connection:
        """This thread's connection. Raises Unavailable if the file is gone, damaged, or signed with another key."""
        return self._file.db

    def change(self) -> AbstractContextManager[sqlite3.Connection]:
        """A transaction: all of it is on disk when the block ends, or none of it if it raises. Raises Unavailable if
        the disk is full, the file may not be written or is not there, or others keep it for too long; and where it was
        replaced just then, so that this is not sure."""
        if not self.file.with_name(KEY).is_file():
            raise Unavailable(f"Nothing was written. {KEY} is gone, and without it nobody could read it. Put it back.")
        return self._file.change()

    def close(self) -> None:
        """Close the connections. Others are made if they are needed again."""
        self._file.close()

    def sign(self, *parts: Any) -> bytes:
        """The signature of some values. The first says what they are, so that no signature fits something else."""
        # JSON keeps the parts apart. ``repr`` is for values of a wrong type, which only a foreign hand can have put in.
        text = json.dumps(parts, default=repr, separators=(",", ":"))
        return hmac.digest(self._key, text.encode(), "sha256")

    def signed(self, signature: Any, *parts: Any) -> bool:
        """Whether that is their signature. Takes as long for a near miss as for any other."""
        return isinstance(signature, bytes) and hmac.compare_digest(signature, self.sign(*parts))

    def _fill(self, db: sqlite3.Connection) -> None:
        for statement in _TABLES:
            db.execute(statement)
        db.execute("INSERT INTO meta VALUES ('key', ?)", (self.sign("key"),))
        db.execute(f"PRAGMA user_version = {LAYOUT}")

    def _check(self, db: sqlite3.Connection, name: str) -> None:
        (layout,) = db.execute("PRAGMA user_version").fetchone()
        if layout > LAYOUT:
            raise BadInput(f"{name} has layout {layout}; this physalis reads up to {LAYOUT}. Install a newer one.")
        try:
            check_schema(db, _TABLES)
        except BadInput as error:
            raise BadInput(f"{name} cannot be read as comments: {error}. Put back your copy.") from error
        if not self.file.with_name(KEY).is_file() or _key(self.file.with_name(KEY), wanted=True) != self._key:
            raise BadInput(f"{KEY} is gone or another one than it was: what it signs could not be read. Put it back.")
        found = db.execute("SELECT value FROM meta WHERE key = 'key'").fetchone()
        if found is None or not self.signed(found[0], "key"):
            raise BadInput(f"{KEY} is not the key of {name} beside it. Put back its own.")


def _prepare(db: sqlite3.Connection) -> None:
    db.execute("PRAGMA foreign_keys = ON")
    db.row_factory = sqlite3.Row
    # A row damaged from outside shall fail its signature, not the reader.
    db.text_factory = lambda raw: raw.decode("utf-8", "replace")


def find_beside(atlas: Path) -> Database | None:
    """The comments of an atlas folder; None if it has none, which begin with the first invitation. Raises BadInput as
    ``Database`` does."""
    folder = comments_beside(atlas)
    return Database(folder) if (folder / DATABASE).exists() else None


def token() -> str:
    """A new secret of 256 bits, to be kept by one person."""
    return secrets.token_urlsafe(32)


def digest(secret: str) -> bytes:
    """What is stored of a secret. A row may be looked up by it: to learn anything from how long that takes, one would
    have to choose the digest, not the secret."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).digest()


def _key(file: Path, *, wanted: bool) -> bytes:
    """The key in ``file``; a new one if there is none, unless a database that it signed waits for it."""
    with artifact.holding(file.parent):
        artifact.tidy(file.parent, lambda name: name == file.name)
        return _read_or_made(file, wanted=wanted)


def _read_or_made(file: Path, *, wanted: bool) -> bytes:
    if not file.exists():
        if wanted:
            raise BadInput(
                f"{file} is missing. It signs what stands in {DATABASE} beside it, which cannot be trusted without it: "
                "put back your copy."
            )
        temporary = artifact.temporary_of(file)
        descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        try:
            with open(descriptor, "wb") as f:
                f.write(secrets.token_bytes(32))
                f.flush()
                os.fsync(f.fileno())
            os.link(temporary, file)  # unlike a rename, never replaces the key of another process
        except FileExistsError:
            pass
        finally:
            temporary.unlink()
    key = file.read_bytes()
    if len(key) != 32:
        raise BadInput(f"{file} is damaged: a key has 32 bytes, this has {len(key)}. Put back your copy.")
    return key
