"""Database: the file comments.db beside an atlas, and the key that signs what stands in it.

Everything that says who wrote what carries an HMAC-SHA256 (RFC 2104) under a key of this database. The key is another
file, comments.key, readable by its owner alone: whoever gets to write the database without it (a shared or restored
copy, another program) cannot put words in anyone's mouth. It does not protect from someone who can read both.
Write-ahead logging, with every commit on disk before it is answered: what was told to be kept is kept after a kill.
"""

import hashlib
import hmac
import json
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from physalis.errors import BadInput

DATABASE, KEY = "comments.db", "comments.key"
LAYOUT = 1
"""Version of the tables. A newer one is refused."""

_PRAGMAS = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;"

_TABLES = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS invitations (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, affiliation TEXT NOT NULL, role TEXT NOT NULL, hash BLOB UNIQUE NOT NULL,
    created INTEGER NOT NULL, expires INTEGER NOT NULL, accepted INTEGER, revoked INTEGER, seal BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS sessions (
    hash BLOB PRIMARY KEY, invitation TEXT NOT NULL REFERENCES invitations, expires INTEGER NOT NULL,
    seal BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS comments (
    id TEXT PRIMARY KEY, place TEXT NOT NULL, anchor TEXT NOT NULL, parent TEXT REFERENCES comments,
    author TEXT NOT NULL REFERENCES invitations, name TEXT NOT NULL, affiliation TEXT NOT NULL, role TEXT NOT NULL,
    state TEXT NOT NULL, number INTEGER NOT NULL, written INTEGER NOT NULL, changed INTEGER NOT NULL,
    seal BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS versions (
    comment TEXT NOT NULL REFERENCES comments, number INTEGER NOT NULL, text TEXT NOT NULL, time INTEGER NOT NULL,
    signature BLOB NOT NULL, PRIMARY KEY (comment, number)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS comments_at ON comments (place, state);
CREATE INDEX IF NOT EXISTS comments_by ON comments (author, state);
"""


class Database:
    """The comments of one folder. Can be shared by threads (each gets its own connection) and by processes."""

    def __init__(self, folder: Path | str, *, clock: Callable[[], float] = time.time) -> None:
        """Open the folder's database, or make an empty one. ``clock`` tells seconds since 1970. Raises BadInput if it
        cannot be read, if its key is missing or another's, or if a newer physalis made it."""
        self.file = Path(folder) / DATABASE
        self._clock = clock
        self._local = threading.local()
        self.file.parent.mkdir(parents=True, exist_ok=True)
        # The database is looked for first: another process that makes both now makes the key first.
        self._key = _key(self.file.with_name(KEY), wanted=self.file.exists())
        try:
            self._prepare()
        except sqlite3.DatabaseError as error:
            raise BadInput(f"{self.file} cannot be read ({error}). Put back your copy, or move it away.") from error

    def now(self) -> int:
        """Seconds since 1970."""
        return int(self._clock())

    @property
    def rows(self) -> sqlite3.Connection:
        """This thread's connection."""
        if not hasattr(self._local, "db"):
            db = sqlite3.connect(self.file, timeout=5, isolation_level=None)
            db.row_factory = sqlite3.Row
            # A row damaged from outside shall fail its signature, not the reader.
            db.text_factory = lambda raw: raw.decode("utf-8", "replace")
            try:
                db.executescript(_PRAGMAS)
            except sqlite3.Error:
                db.close()
                raise
            self._local.db = db
        return self._local.db

    @contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
        """A transaction: all of it is on disk when the block ends, or none of it if it raises. Raises BadInput if the
        disk is full."""
        db = self.rows
        db.execute("BEGIN IMMEDIATE")
        try:
            yield db
            db.execute("COMMIT")
        except BaseException as error:
            if db.in_transaction:
                db.execute("ROLLBACK")
            if isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode == sqlite3.SQLITE_FULL:
                raise BadInput(f"The disk is full: nothing was written to {self.file}. Free some space.") from error
            raise

    def close(self) -> None:
        """Close this thread's connection. Another is made if one is needed again."""
        if hasattr(self._local, "db"):
            self._local.db.close()
            del self._local.db

    def sign(self, *parts: Any) -> bytes:
        """The signature of some values. The first says what they are, so that no signature fits something else."""
        # JSON keeps the parts apart. ``repr`` is for values of a wrong type, which only a foreign hand can have put in.
        text = json.dumps(parts, default=repr, separators=(",", ":"))
        return hmac.digest(self._key, text.encode(), "sha256")

    def signed(self, signature: Any, *parts: Any) -> bool:
        """Whether that is their signature. Takes as long for a near miss as for any other."""
        return isinstance(signature, bytes) and hmac.compare_digest(signature, self.sign(*parts))

    def _prepare(self) -> None:
        db = self.rows
        (layout,) = db.execute("PRAGMA user_version").fetchone()
        if layout > LAYOUT:
            raise BadInput(f"{self.file} has layout {layout}; this physalis reads up to {LAYOUT}. Install a newer one.")
        if layout < LAYOUT:
            db.executescript(f"BEGIN IMMEDIATE; {_TABLES} PRAGMA user_version = {LAYOUT}; COMMIT;")
        proof = self.sign("key")
        db.execute("INSERT OR IGNORE INTO meta VALUES ('key', ?)", (proof,))
        (found,) = db.execute("SELECT value FROM meta WHERE key = 'key'").fetchone()
        if found != proof:
            raise BadInput(f"{self.file.with_name(KEY)} is not the key of {DATABASE} beside it. Put back its own.")


def beside(atlas: Path) -> Path:
    """The folder where the comments of an atlas folder are kept."""
    return atlas.resolve().with_name(f"{atlas.resolve().name}.comments")


def find_beside(atlas: Path) -> Database | None:
    """The comments of an atlas folder; None if it has none, which begin with the first invitation. Raises BadInput as
    ``Database`` does."""
    folder = beside(atlas)
    return Database(folder) if (folder / DATABASE).exists() else None


def token() -> str:
    """A new secret of 256 bits, to be kept by one person."""
    return secrets.token_urlsafe(32)


def digest(secret: str) -> bytes:
    """What is stored of a secret. A row may be looked up by it: to learn anything from how long that takes, one would
    have to choose the digest, not the secret."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).digest()


def new_id() -> str:
    """A new name for a row: 16 hexadecimal digits."""
    return secrets.token_hex(8)


def _key(file: Path, *, wanted: bool) -> bytes:
    """The key in ``file``; a new one if there is none, unless a database that it signed waits for it."""
    if not file.exists():
        if wanted:
            raise BadInput(
                f"{file} is missing. It signs what stands in {DATABASE} beside it, which cannot be trusted without it: "
                "put back your copy."
            )
        temporary = file.with_name(f".{file.name}.{secrets.token_hex(4)}.tmp")
        descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with open(descriptor, "wb") as f:
            f.write(secrets.token_bytes(32))
            f.flush()
            os.fsync(f.fileno())
        try:
            os.link(temporary, file)  # unlike a rename, never replaces the key of another process
        except FileExistsError:
            pass
        finally:
            temporary.unlink()
    key = file.read_bytes()
    if len(key) != 32:
        raise BadInput(f"{file} is damaged: a key has 32 bytes, this has {len(key)}. Put back your copy.")
    return key
