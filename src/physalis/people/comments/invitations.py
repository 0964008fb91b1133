"""Invitations: single-use links that make a person known, and the sessions they are exchanged for.

A link's token and a session's are 256 random bits each; only their SHA-256 is stored, so that a copy of the database
opens nothing. The token stands in the link's fragment (after #), which browsers send to no server, and works once.
Rows are sealed whole: a guest made an owner, or a used link made new, behind the program's back counts for nothing.
"""

import hmac
import sqlite3

from physalis.errors import BadInput
from physalis.people.comments.database import ID, Database, digest, token
from physalis.people.comments.records import Fault, Invitation, Invited, Opened, Session
from physalis.people.comments.texts import line
from physalis.people.records import Person, Role
from physalis.people.refusals import Conflict, Missing, NotAllowed
from physalis.people.spelling import new_id, spell_seconds

LINK = "/invitation#"
"""What a link's token is written behind."""

LONGEST_NAME, LONGEST_AFFILIATION = 100, 200
DAY = 24 * 60 * 60


class Invitations:
    """The invitations of a database. Whoever calls these from Python acts for the owner of the files."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def invite(self, name: str, affiliation: str = "", *, role: Role = "guest", days: int = 30) -> Invited:
        """Invite a person, under this name. The link is open for so many days. Raises BadInput for a name, affiliation
        or number of days that cannot be used."""
        name = line(name, what="name", least=1, most=LONGEST_NAME)
        affiliation = line(affiliation, what="affiliation", least=0, most=LONGEST_AFFILIATION)
        secret, id, now = token(), new_id(ID), self._database.now()
        expires = now + _seconds(days)
        with self._database.change() as db:
            self._put(db, id, name, affiliation, role, digest(secret), now, expires, None, None)
        return Invited(invitation=self._get(id), token=secret)

    def renew(self, id: str, *, days: int = 30) -> Invited:
        """A new link for the same person, who lost the old one or its session; those end. Raises Missing if there is no
        such invitation and Conflict if it was revoked."""
        secret, expires = token(), self._database.now() + _seconds(days)
        with self._database.change() as db:
            row = self._row(id)
            if row["revoked"] is not None:
                raise Conflict(f"The invitation of {row['name']} was revoked. Invite them anew.")
            self._put(db, *tuple(row)[:4], digest(secret), row["created"], expires, None, None)
            db.execute("DELETE FROM sessions WHERE invitation = ?", (id,))
        return Invited(invitation=self._get(id), token=secret)

    def revoke(self, id: str) -> Invitation:
        """Close an invitation and end its sessions; what was written stays. Raises Missing if there is none."""
        with self._database.change() as db:
            row = self._row(id)
            revoked = self._database.now() if row["revoked"] is None else row["revoked"]
            self._put(db, *tuple(row)[:8], revoked)
            db.execute("DELETE FROM sessions WHERE invitation = ?", (id,))
        return self._get(id)

    def all(self) -> list[Invitation]:
        """Every invitation, oldest first."""
        return [self._invitation(row) for row in self._rows() if self._intact(row)]

    def accept(self, secret: str, *, days: int = 30) -> Opened:
        """Exchange a link's token, once, for a session of so many days.

        Raises NotAllowed if it is no token of an open invitation. Only who holds the token is told why not.
        """
        now, session = self._database.now(), token()
        hash, expires = digest(session), now + _seconds(days)
        with self._database.change() as db:
            row = db.execute("SELECT * FROM invitations WHERE hash = ?", (digest(secret),)).fetchone()
            if row is None or not self._intact(row):
                raise NotAllowed("This is not a link of an invitation here. Check that it was copied whole.")
            state = self._invitation(row).state
            if state != "open":
                how = {"accepted": "was already used", "expired": "has expired", "revoked": "was revoked"}[state]
                raise NotAllowed(f"This invitation {how}. Ask who invited you for a new link.")
            self._put(db, *tuple(row)[:7], now, None)
            db.execute("DELETE FROM sessions WHERE expires <= ?", (now,))
            seal = self._database.sign("session", hash, row["id"], expires)
            db.execute("INSERT INTO sessions VALUES (?, ?, ?, ?)", (hash, row["id"], expires, seal))
        return Opened(session=self._session(row, hash, expires), token=session)

    def session(self, secret: str) -> Session | None:
        """Who holds this session's token. None if nobody does: it is unknown, expired, ended or tampered with."""
        hash = digest(secret)
        kept = self._database.rows.execute("SELECT * FROM sessions WHERE hash = ?", (hash,)).fetchone()
        if kept is None or not self._database.signed(kept["seal"], "session", *tuple(kept)[:-1]):
            return None
        row = self._found(kept["invitation"])
        if row is None or row["revoked"] is not None or kept["expires"] <= self._database.now():
            return None
        return self._session(row, hash, kept["expires"])

    def leave(self, secret: str) -> None:
        """End a session, if there is one."""
        with self._database.change() as db:
            db.execute("DELETE FROM sessions WHERE hash = ?", (digest(secret),))

    def verify(self) -> list[Fault]:
        """The invitations that were changed behind the program's back. They open nothing."""
        problem = "This invitation is not as it was written."
        return [Fault(kind="invitation", id=str(r["id"]), problem=problem) for r in self._rows() if not self._intact(r)]

    def _put(self, db: sqlite3.Connection, *values: str | bytes | int | None) -> None:
        """Write a row, new or changed, and seal it."""
        seal = self._database.sign("invitation", *values)
        db.execute(
            "INSERT INTO invitations VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET "
            "hash = excluded.hash, expires = excluded.expires, accepted = excluded.accepted, "
            "revoked = excluded.revoked, seal = excluded.seal",
            (*values, seal),
        )

    def _rows(self) -> list[sqlite3.Row]:
        return self._database.rows.execute("SELECT * FROM invitations ORDER BY created, rowid").fetchall()

    def _found(self, id: str) -> sqlite3.Row | None:
        row = self._database.rows.execute("SELECT * FROM invitations WHERE id = ?", (id,)).fetchone()
        return row if row is not None and self._intact(row) else None

    def _row(self, id: str) -> sqlite3.Row:
        row = self._found(id)
        if row is None:
            raise Missing(f"There is no invitation {ascii(id[:60])}. List them to see which there are.")
        return row

    def _get(self, id: str) -> Invitation:
        return self._invitation(self._row(id))

    def _intact(self, row: sqlite3.Row) -> bool:
        """Whether it is as it was written, and can be read: whoever has the key can sign anything."""
        if not self._database.signed(row["seal"], "invitation", *tuple(row)[:-1]):
            return False
        try:
            self._invitation(row)
        except (ValueError, TypeError, OverflowError, OSError):
            return False
        return True

    def _invitation(self, row: sqlite3.Row) -> Invitation:
        state = "open"
        if row["revoked"] is not None:
            state = "revoked"
        elif row["accepted"] is not None:
            state = "accepted"
        elif row["expires"] <= self._database.now():
            state = "expired"
        return Invitation(
            **_person(row).model_dump(),
            created=spell_seconds(row["created"]),
            expires=spell_seconds(row["expires"]),
            accepted=None if row["accepted"] is None else spell_seconds(row["accepted"]),
            revoked=None if row["revoked"] is None else spell_seconds(row["revoked"]),
            state=state,
        )

    def _session(self, row: sqlite3.Row, hash: bytes, expires: int) -> Session:
        # Fits this session alone, and needs the key besides what a copy of the database or the cookie tells.
        csrf = self._database.sign("csrf", hash).hex()
        return Session(person=_person(row), csrf=csrf, expires=spell_seconds(expires))


def csrf_fits(session: Session, given: str) -> bool:
    """Whether a request of this session brought its token. Takes as long for a near miss as for any other."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), session.csrf.encode())


def _person(row: sqlite3.Row) -> Person:
    return Person(id=row["id"], name=row["name"], affiliation=row["affiliation"], role=row["role"])


def _seconds(days: int) -> int:
    if not 1 <= days <= 365:
        raise BadInput(f"An invitation or session lasts 1 to 365 days; received {days}.")
    return days * DAY
