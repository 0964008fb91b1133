"""Comments: what invited people wrote, signed, every version kept, shown to others once the owner published it.

A comment waits until the owner publishes it. Its author may edit it until then; author and owner may withdraw it at any
time, which is final and hides its replies with it. Replies are one level deep: a conversation longer than that belongs
into an article. Two signatures stand with each comment: one over each version of its text with id, anchor, author and
time, one over its state. A row whose signatures do not fit is shown to nobody; ``verify`` names it. What signatures
cannot show is that rows are gone, or that the whole database was put back to an earlier day.
"""

import sqlite3
from typing import Any

from physalis.errors import BadInput
from physalis.people.comments.anchors import ANCHOR, Anchor, read_place
from physalis.people.comments.database import ID, Database
from physalis.people.comments.markdown import to_html
from physalis.people.comments.records import Comment, Fault, Thread, Version
from physalis.people.comments.texts import prose
from physalis.people.records import Person, State
from physalis.people.refusals import Conflict, Missing, NotAllowed
from physalis.people.spelling import new_id, spell_seconds

LONGEST = 10_000
"""Characters of a comment."""

MOST_WAITING, MOST_VERSIONS = 100, 100
"""A person's comments that wait, and a comment's versions: a guest cannot fill the disk."""

_COMMENTS = """
SELECT c.*, v.text, v.time, v.signature FROM comments c
JOIN versions v ON v.comment = c.id AND v.number = c.number
"""
_WRITTEN = "ORDER BY c.written, c.rowid"


class Comments:
    """The comments of a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def write(self, author: Person, anchor: Anchor, text: str) -> Comment:
        """Leave a comment with the owner. Raises BadInput for a text that cannot be used, or too many that wait."""
        return self._add(author, anchor, None, text)

    def reply(self, author: Person, parent: str, text: str) -> Comment:
        """Leave a reply to a published comment with the owner. Raises Missing if there is no such comment, BadInput if
        it is a reply itself, and as ``write`` does."""
        to = self._seen(author, parent)
        if to.parent is not None:
            raise BadInput(f"Replies are one level deep, and {to.id} is one. Reply to {to.parent} instead.")
        if to.state != "published":
            raise Conflict(f"Only a published comment is replied to; {to.id} is {to.state}.")
        return self._add(author, to.anchor, to.id, text)

    def edit(self, by: Person, id: str, text: str) -> Comment:
        """Write another version of a comment. Raises Missing if there is none, NotAllowed if another wrote it, Conflict
        if it no longer waits, BadInput for a text that cannot be used."""
        text = prose(text, what="comment", most=LONGEST)
        with self._database.change() as db:
            old = self._seen(by, id)
            if old.author != by.id:
                raise NotAllowed(f"Only its author edits a comment; {id} is by {old.name}.")
            if old.state != "waiting":
                raise Conflict(f"A comment can be edited while it waits; {id} is {old.state}.")
            if old.version >= MOST_VERSIONS:
                raise BadInput(f"{id} has {old.version} versions, which is the most. Withdraw it and write another.")
            number = old.version + 1
            self._add_version(db, id, number, text)
            db.execute("UPDATE comments SET number = ? WHERE id = ?", (number, id))
            self._seal(db, id)
        return self._get(id)

    def withdraw(self, by: Person, id: str) -> Comment:
        """Take a comment back, for good. Raises Missing if there is none, NotAllowed for all but author and owner."""
        with self._database.change() as db:
            old = self._seen(by, id)
            if not _is_of(by, old):
                raise NotAllowed(f"Only its author and the owner withdraw a comment; {id} is by {old.name}.")
            if old.state != "withdrawn":
                self._turn(db, id, "withdrawn")
        return self._get(id)

    def publish(self, by: Person, id: str, version: int) -> Comment:
        """Show a comment to everyone, as it was in the version that was read. Raises NotAllowed for others than the
        owner, Missing if there is none, Conflict if it was withdrawn, or edited since."""
        _only_owner(by, "publishes comments")
        with self._database.change() as db:
            old = self._seen(by, id)
            if old.version != version:
                raise Conflict(f"{id} was edited: version {version} was read, {old.version} is the last. Read that.")
            if old.state == "withdrawn":
                raise Conflict(f"{id} was withdrawn, which is final.")
            if old.state == "waiting":
                self._turn(db, id, "published")
        return self._get(id)

    def published(self, place: str | None = None) -> list[Thread]:
        """What everyone may read on a place, such as "feature/12", or everywhere; on an article, that is on its
        passages and its figures. Raises BadInput if it is no place."""
        found = self.seen(place)
        replies: dict[str, list[Comment]] = {comment.id: [] for comment in found if comment.parent is None}
        for comment in found:
            if comment.parent in replies:
                replies[comment.parent].append(comment)
        return [Thread(comment=comment, replies=replies[comment.id]) for comment in found if comment.parent is None]

    def seen(self, place: str | None = None, by: Person | None = None) -> list[Comment]:
        """What a person may know of on a place, or everywhere, in the order in which it was written: what everyone may
        read, and besides it their own, or for the owner all, in every state. Raises BadInput if it is no place."""
        where, asked = _at(place)
        found = self._all(f"WHERE {where}" + " AND c.state = 'published'" * (by is None), *asked)
        # A reply is hidden with what it replies to.
        public = {each.id for each in found if each.state == "published"}
        shown = {each.id for each in found if {each.id, each.parent or each.id} <= public}
        return [each for each in found if each.id in shown or by is not None and _is_of(by, each)]

    def mine(self, by: Person) -> list[Comment]:
        """Everything a person wrote, in every state."""
        return self._all("WHERE c.author = ?", by.id)

    def queue(self, by: Person) -> list[Comment]:
        """What waits for the owner, oldest first. Raises NotAllowed for others."""
        _only_owner(by, "reads what waits")
        return self._all("WHERE c.state = 'waiting'")

    def versions(self, by: Person, id: str) -> list[Version]:
        """Every version of a comment, oldest first, for its author and the owner. Raises Missing if there is none and
        NotAllowed for others."""
        comment = self._seen(by, id)
        if not _is_of(by, comment):
            raise NotAllowed(f"Only its author and the owner read earlier versions; {id} is by {comment.name}.")
        signed = self._signed_versions(id)
        return [
            Version(number=row["number"], text=row["text"], html=to_html(row["text"]), time=spell_seconds(row["time"]))
            for row in signed
            if self._fits(row)
        ]

    def verify(self) -> list[Fault]:
        """Every comment and version that was changed behind the program's back. They are shown to nobody."""
        faults = []
        rows = self._database.rows.execute(f"SELECT * FROM comments c {_WRITTEN}").fetchall()
        ids, readable = {row["id"] for row in rows}, {comment.id for comment in self._all("")}
        for row in rows:
            id = str(row["id"])
            versions = self._signed_versions(id)
            problems = [
                f"Version {version['number']}: id, anchor, author, text or time is not as it was written."
                for version in versions
                if not self._fits(version)
            ]
            if not self._sealed(row):
                problems.append("Its place or state is not as it was written.")
            elif not problems and id not in readable:
                problems.append("It cannot be read: it holds what no comment does.")
            if [version["number"] for version in versions] != [n + 1 for n in range(len(versions))] or (
                row["number"] != len(versions)
            ):
                problems.append("Versions of it are gone, or there are too many.")
            if row["parent"] is not None and row["parent"] not in ids:
                problems.append("The comment that it replies to is gone.")
            faults += [Fault(kind="comment", id=id, problem=problem) for problem in problems]
        lost = self._database.rows.execute("SELECT DISTINCT comment FROM versions").fetchall()
        gone = "Its comment is gone, and its text is still there."
        return faults + [Fault(kind="comment", id=str(i), problem=gone) for (i,) in lost if i not in ids]

    def _add(self, author: Person, anchor: Anchor, parent: str | None, text: str) -> Comment:
        if author.role == "name":
            raise NotAllowed(f"Only who was invited comments; {ascii(author.name[:60])} is a name that nothing proves.")
        text = prose(text, what="comment", most=LONGEST)
        id, now = new_id(ID), self._database.now()
        with self._database.change() as db:
            count = "SELECT count(*) FROM comments WHERE author = ? AND state = 'waiting'"
            (waiting,) = db.execute(count, (author.id,)).fetchone()
            if waiting >= MOST_WAITING:
                raise BadInput(f"{waiting} of your comments wait, which is the most. Withdraw one, or wait.")
            by = (author.id, author.name, author.affiliation, author.role)
            row = (id, anchor.place, anchor.model_dump_json(), parent, *by, "waiting", 1, now, now, b"")
            db.execute(f"INSERT INTO comments VALUES ({', '.join('?' * len(row))})", row)
            self._add_version(db, id, 1, text)
            self._seal(db, id)
        return self._get(id)

    def _add_version(self, db: sqlite3.Connection, id: str, number: int, text: str) -> None:
        row = db.execute("SELECT * FROM comments WHERE id = ?", (id,)).fetchone()
        now = self._database.now()
        signature = self._database.sign(*_what_is_signed(row, number, text, now))
        db.execute("INSERT INTO versions VALUES (?, ?, ?, ?, ?)", (id, number, text, now, signature))

    def _turn(self, db: sqlite3.Connection, id: str, state: State) -> None:
        db.execute("UPDATE comments SET state = ?, changed = ? WHERE id = ?", (state, self._database.now(), id))
        self._seal(db, id)

    def _seal(self, db: sqlite3.Connection, id: str) -> None:
        row = db.execute("SELECT * FROM comments WHERE id = ?", (id,)).fetchone()
        seal = self._database.sign(*_what_is_sealed(row))
        db.execute("UPDATE comments SET seal = ? WHERE id = ?", (seal, id))

    def _sealed(self, row: sqlite3.Row) -> bool:
        return self._database.signed(row["seal"], *_what_is_sealed(row))

    def _fits(self, row: sqlite3.Row) -> bool:
        return self._database.signed(row["signature"], *_what_is_signed(row, row["number"], row["text"], row["time"]))

    def _signed_versions(self, id: str) -> list[sqlite3.Row]:
        """A comment's versions, each beside what is signed with it."""
        return self._database.rows.execute(
            "SELECT c.id, c.anchor, c.parent, c.author, c.name, c.affiliation, c.role, v.number, v.text, v.time, "
            "v.signature FROM versions v JOIN comments c ON c.id = v.comment WHERE v.comment = ? ORDER BY v.number",
            (id,),
        ).fetchall()

    def _all(self, where: str, *values: str | int) -> list[Comment]:
        rows = self._database.rows.execute(f"{_COMMENTS} {where} {_WRITTEN}", values).fetchall()
        found = (_comment(row) for row in rows if self._sealed(row) and self._fits(row))
        return [each for each in found if each is not None]

    def _seen(self, by: Person, id: str) -> Comment:
        """A comment that this person may know of: published, their own, or any for the owner."""
        found = next(iter(self._all("WHERE c.id = ?", id)), None)
        if found is None or not (found.state == "published" or _is_of(by, found)):
            raise Missing(f"There is no comment {ascii(id[:60])} here.")
        return found

    def _get(self, id: str) -> Comment:
        (found,) = self._all("WHERE c.id = ?", id)
        return found


def _what_is_signed(row: sqlite3.Row, number: Any, text: Any, time: Any) -> tuple:
    # Any: a foreign hand may have put a value of any kind into the row.
    names = ("id", "anchor", "parent", "author", "name", "affiliation", "role")
    return ("text", *(row[name] for name in names), number, text, time)


def _what_is_sealed(row: sqlite3.Row) -> tuple:
    return ("state", *(row[name] for name in ("id", "place", "state", "number", "written", "changed")))


def _at(place: str | None) -> tuple[str, tuple[str | int, ...]]:
    """What a place asks of a row. Raises BadInput if it is none."""
    if place is None:
        return "true", ()
    if read_place(place).startswith("article/"):
        figures = place.replace("article/", "figure/", 1) + "."
        return "(c.place = ? OR substr(c.place, 1, ?) = ?)", (place, len(figures), figures)
    return "c.place = ?", (place,)


def _is_of(by: Person, comment: Comment) -> bool:
    """Whether a person is its author or the owner, who know of it in every state."""
    return by.role == "owner" or comment.author == by.id


def _only_owner(by: Person, does: str) -> None:
    if by.role != "owner":
        raise NotAllowed(f"Only the owner {does}; {by.name} is a {by.role}.")


def _comment(row: sqlite3.Row) -> Comment | None:
    """None for what was signed and is no comment: whoever has the key can sign anything."""
    try:
        return Comment(
            id=row["id"],
            anchor=ANCHOR.validate_json(row["anchor"]),
            parent=row["parent"],
            author=row["author"],
            name=row["name"],
            affiliation=row["affiliation"],
            role=row["role"],
            text=row["text"],
            html=to_html(row["text"]),
            version=row["number"],
            state=row["state"],
            written=spell_seconds(row["written"]),
            edited=spell_seconds(row["time"]),
            changed=spell_seconds(row["changed"]),
        )
    except (ValueError, TypeError, OverflowError, OSError):
        return None
