"""Shared: a file that people write into while it is served, by threads and processes, and that anyone may replace.

An open file goes on to exist when another takes its name, and what is written into it then is lost. So every use looks
whether the path still holds the file that is open, every change looks again before it begins, before it is committed
and after, and one that is not sure to be kept is refused. A file that was put in the place of the old one is taken up
once it has passed the same checks as at the start.

SQLite keeps a rollback journal here and no write-ahead log: a log is found by its file's name, so that what an old file
left there would be played into the new one. Without a log one file holds everything between two changes, which is also
what a copy, a disk that may only be read and a version control system need. The price is that readers wait for the
milliseconds of a commit, but for what is kept in memory (``seen``). https://www.sqlite.org/howtocorrupt.html
"""

import logging
import os
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Generic, Literal, TypeVar

from physalis.databases.caution import be_careful
from physalis.databases.sentences import Connection
from physalis.databases.stamps import Stamp
from physalis.errors import BadInput, Unavailable

Mode = Literal["ro", "rw", "rwc"]
Check = Callable[[Connection, str], None]
"""Raises BadInput unless a database is the one that it should be. The second argument is what to call it."""
Prepare = Callable[[Connection], None]
"""Sets up a new connection."""
View = TypeVar("View")

_log = logging.getLogger("physalis")
_JOURNAL = bytes.fromhex("d9d505f920a163d7")
"""With which a journal ends that names a super-journal. https://www.sqlite.org/fileformat.html#the_rollback_journal"""


class _Held:
    """A thread's connection, the file that it is to, and the state in which that was last checked."""

    def __init__(self, db: Connection, file: Stamp, closed: int) -> None:
        self.db, self.file, self.closed = db, file, closed
        self.checked: Stamp | None = None


class Shared(Generic[View]):
    """A database at a path. Made by whoever knows what belongs into it; ``check`` says whether it is that."""

    def __init__(
        self,
        path: Path,
        check: Check,
        *,
        busy_s: float,
        prepare: Prepare,
        look: Callable[[Connection], View] = lambda _: None,
    ) -> None:
        """``look`` is what is kept in memory of it (``seen``). ``busy_s`` is how long a use waits for others. Raises
        what ``check`` does, and Unavailable if the file cannot be read."""
        self.path = path
        self._check, self._look, self._prepare, self._busy_s = check, look, prepare, busy_s
        self._seen: tuple[Stamp, View] | None = None
        self._changing: Stamp | None = None
        """The state before the change that is being committed now."""
        self._local = threading.local()
        self._closed = 0
        self._turn = threading.Lock()
        self._lock = threading.Lock()
        self._known: Stamp | None = None
        """The state in which the whole file was found sound, or in which our own last change left it."""
        self._announced = Stamp.of(path)
        held = self._open(self._stamp())
        if os.access(path, os.W_OK):
            _leave_log(held.db)
        check(held.db, str(path))

    @property
    def db(self) -> Connection:
        """This thread's connection to the file that stands at the path. Raises Unavailable if there is none, or one
        that does not belong there."""
        return self._held().db

    @contextmanager
    def change(self) -> Iterator[Connection]:
        """A transaction: what was done in it is on the disk when the block has ended, or none of it if that raises.

        Raises Unavailable if the disk is full, the file may not be written or is not there, others keep it for too
        long, or it was replaced meanwhile, so that the change might be lost.
        """
        with self._in_turn(), self._ended():
            with self._in_vain():
                held = self._held()
                held.db.execute("BEGIN IMMEDIATE")
                try:
                    began = self._sound(held)
                    yield held.db
                    seen, others = self._look_if_sound(held.db), _others(held.db)
                    self._same(began, exactly=not _has_log(held.db))
                    self._changing = began
                    held.db.execute("COMMIT")
                finally:
                    if held.db.in_transaction:
                        held.db.execute("ROLLBACK")
            try:
                left = self._same(began)
                # Another process may have changed it since: then this is not the state that we left.
                alone = others is not None and _others(held.db) == others
                self._known = held.checked = left if alone else None
                self._seen = (left, seen) if alone and seen is not None else None
            except Unavailable as error:
                raise Unavailable(
                    f"It is not sure that this was kept. {error} Look whether it is there first."
                ) from error

    def seen(self) -> View:
        """What ``look`` sees in the file as it is now, kept in memory: beside a change that is being committed nobody
        waits for it, and sees what there was before. Raises Unavailable as ``db`` does."""
        kept, state = self._seen, self._changing or self._stamp()
        if kept is not None and kept[0] == state:
            return kept[1]
        held = self._held()
        before = self._stamp()
        found = self._look(held.db)
        if self._changing is None and held.file.same_file(before) and before == self._stamp():
            self._seen = before, found
        return found

    def _look_if_sound(self, db: Connection) -> View | None:
        """None where something is damaged that this change does not touch: whoever reads that is told."""
        try:
            return self._look(db)
        except Unavailable:
            return None

    def close(self) -> None:
        """Let go of the connections. Those of other threads are closed when these next ask for one, which opens a new
        one, or when nothing refers to this any more: none is closed in the middle of its work."""
        self._closed += 1
        self._local.__dict__.clear()

    def _held(self) -> _Held:
        held: _Held | None = getattr(self._local, "held", None)
        if held is not None and held.db.in_transaction:
            return held  # one change is one file's
        now = self._stamp()
        if held is None or held.closed != self._closed or not held.file.same_file(now):
            held = self._open(now)
        if held.checked != now:
            if now != self._known:  # else as our own last change left it
                self._verify(held, now, self.path.name)
            held.checked = now
            self._announce(now)
        return held

    def _sound(self, held: _Held) -> Stamp:
        """The file that a change begins with: one that another program wrote into, of ours or not, is looked through
        first, for a change is only added to a sound one."""
        began = self._same(held.file)
        if began != self._known:
            self._verify(held, began, self.path.name)
            if [row[0] for row in held.db.execute("PRAGMA quick_check(1)")] != ["ok"]:
                raise Unavailable(f"{self.path.name} is damaged. Whoever keeps it: put back your copy.")
        return began

    def _same(self, before: Stamp, *, exactly: bool = False) -> Stamp:
        now = Stamp.of(self.path)
        if now is None or not before.same_file(now) or (exactly and now != before):
            raise Unavailable(f"{self.path.name} was moved or replaced meanwhile. Try again.")
        return now

    @contextmanager
    def _in_turn(self) -> Iterator[None]:
        """One thread after the other: SQLite has those who wait look now and then, and whoever looks last waits on."""
        if not self._turn.acquire(timeout=self._busy_s):
            raise Unavailable(f"Others have been writing {self.path.name} for {self._busy_s:g} seconds. Try again.")
        try:
            yield
        finally:
            self._turn.release()

    @contextmanager
    def _ended(self) -> Iterator[None]:
        """Whatever becomes of a change, afterwards none is being committed."""
        try:
            yield
        finally:
            self._changing = None

    @contextmanager
    def _in_vain(self) -> Iterator[None]:
        """Say of what the file refuses that nothing was written."""
        try:
            yield
        except Unavailable as error:
            raise Unavailable(f"Nothing was written into {self.path.name}. {error}") from error

    def _stamp(self) -> Stamp:
        now = Stamp.of(self.path)
        if now is None:
            raise Unavailable(
                f"{self.path.name} is not there any more: it was moved or deleted while it was in use. Whoever keeps "
                "it: put it back, or restart the server to begin anew."
            )
        return now

    def _open(self, now: Stamp) -> _Held:
        try:
            db = connect(self.path, "rw", self._prepare, busy_s=self._busy_s)
        except Unavailable as error:
            if not _for_want_of_a_place(error):
                raise
            db = _only_read(self.path, self._prepare, self._busy_s)
        self._local.held = _Held(db, now, self._closed)
        return self._local.held

    def _verify(self, held: _Held, now: Stamp, name: str) -> None:
        try:
            self._check(held.db, name)
        except Unavailable:
            raise
        except BadInput as error:
            raise Unavailable(str(error)) from error
        if not held.file.same_file(self._stamp()):  # the connection may be to either
            raise Unavailable(f"{self.path.name} was replaced just now. Try again.")
        held.checked = now

    def _announce(self, now: Stamp) -> None:
        with self._lock:
            before, self._announced = self._announced, now
        if before is not None and not before.same_file(now):
            _log.warning("%s was replaced. The new file is sound, and is used from now on.", self.path)


def _others(db: Connection) -> int | None:
    """A number that changes when another connection changes the file. None where that cannot be told just now."""
    try:
        return db.execute("PRAGMA data_version").fetchone()[0]
    except Unavailable:
        return None


def connect(path: Path, mode: Mode, prepare: Prepare, *, busy_s: float, immutable: bool = False) -> Connection:
    """A connection of any thread's. A disk that allows no more is only read from, whatever the mode. Raises Unavailable
    where what lies there is no file of ours: SQLite follows links, and does what a journal beside a database says."""
    _check_place(path)
    uri = f"{path.resolve().as_uri()}?mode={mode}{'&immutable=1' if immutable else ''}"
    try:
        # ``isolation_level=None`` leaves transactions to us.
        db = sqlite3.connect(
            uri, uri=True, timeout=busy_s, isolation_level=None, check_same_thread=False, factory=Connection
        )
    except sqlite3.OperationalError as error:
        raise Unavailable(f"{path.name} cannot be opened ({error}). Check the path, and who may use it.") from error
    db.name = path.name
    be_careful(db)
    prepare(db)
    db.execute("PRAGMA synchronous = EXTRA")  # less acknowledges what a power cut can still take away
    db.execute("PRAGMA fullfsync = 1")  # the same on a Mac; nothing elsewhere
    db.execute("PRAGMA cache_spill = OFF")  # nothing is written before it is committed
    db.execute("SELECT count(*) FROM sqlite_master").fetchone()  # that it can be read at all
    return db


def _check_place(path: Path) -> None:
    """Raise Unavailable unless a database and its journal are files, and the journal concerns this file alone. One that
    names a super-journal has that deleted, wherever it is, when it is played back; changes of ours are of one file."""
    for beside in (path, path.with_name(f"{path.name}-journal"), path.with_name(f"{path.name}-wal")):
        try:
            mode = beside.lstat().st_mode  # asked once: another process's journal is gone when it is done
        except OSError:
            continue
        if not stat.S_ISREG(mode):
            raise Unavailable(f"{beside.name} is a link, or no file, and was not opened. Put the file itself there.")
    journal = path.with_name(f"{path.name}-journal")
    try:
        with journal.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - len(_JOURNAL)))
            last = file.read()
    except FileNotFoundError:  # there is none, or another process is done with it
        return
    if last == _JOURNAL:
        raise Unavailable(f"{journal.name} names another file, which no change of ours does. Delete it.")


def transact(db: Connection, do: Callable[[], None]) -> None:
    """Call ``do`` in a transaction of a database that is not served yet."""
    db.execute("BEGIN IMMEDIATE")
    try:
        do()
        db.execute("COMMIT")
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")


def make(path: Path, fill: Callable[[Connection], None], *, prepare: Prepare, busy_s: float) -> None:
    """Make a database unless one is there that holds something. Raises Unavailable if it cannot be made."""
    with closing(connect(path, "rwc", prepare, busy_s=busy_s)) as db:
        if not _holds(db):
            transact(db, lambda: None if _holds(db) else fill(db))  # another process may just have filled it


def is_unmade(path: Path) -> bool:
    """Whether no database is there, or one whose making may have been killed: SQLite undoes that by the journal beside
    it, and what is left holds nothing."""
    killed = path.with_name(f"{path.name}-journal").exists() and os.access(path, os.W_OK)
    return killed or not path.exists() or not path.stat().st_size


def _holds(db: Connection) -> bool:
    return db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] > 0


def _for_want_of_a_place(error: Unavailable) -> bool:
    code = getattr(error.__cause__, "sqlite_errorcode", sqlite3.SQLITE_OK)
    return code != sqlite3.SQLITE_READONLY_ROLLBACK and code & 0xFF in (
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_READONLY,
    )


def _only_read(path: Path, prepare: Prepare, busy_s: float) -> Connection:
    """A connection where SQLite may make no file beside this one, as an older physalis asked it to. The log that it
    kept there holds what was written last: without being able to read that, an older state would be shown."""
    log = path.with_name(f"{path.name}-wal")
    if log.exists() and log.stat().st_size:
        raise Unavailable(
            f"{path.name} cannot be used: what was written into it last stands in {log.name}, which can be read only "
            "where both may be written. Copy both to such a place, or open them there once."
        )
    return connect(path, "ro", prepare, busy_s=busy_s, immutable=not os.access(path.parent, os.W_OK))


def _leave_log(db: Connection) -> None:
    """Of a file of an older physalis, into the file itself. Where another process still uses it, it stays."""
    if _has_log(db):
        try:
            db.execute("PRAGMA journal_mode = DELETE")
        except Unavailable:
            return


def _has_log(db: Connection) -> bool:
    return db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
