"""Annotations: all that people wrote beside an atlas, its notes and its comments, as one kind of record.

They lie in two files, because they are kept by two rules: notes are signed by a mere name and merged by union, so that
they can go through git; comments are of invited people, sealed, and shown once the owner publishes them.
"""

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

from physalis import artifact
from physalis.people.beside import notes_beside
from physalis.people.comments.anchors import Anchor, PassageAnchor, read_place
from physalis.people.comments.database import Database
from physalis.people.comments.database import find_beside as find_comments
from physalis.people.comments.records import Comment
from physalis.people.comments.store import Comments
from physalis.people.notes.records import Entry, Label, Note, Vote
from physalis.people.notes.store import Notes
from physalis.people.notes.store import find_beside as find_notes
from physalis.people.notes.words import TOKENS, match
from physalis.people.records import Person, Record, State
from physalis.people.spelling import spell


@runtime_checkable
class Placed(Protocol):
    """An open atlas: where it lies, and which it is."""

    folder: Path

    @property
    def manifest(self) -> artifact.Manifest: ...


class Annotation(Record):
    """Something that somebody wrote of a thing."""

    kind: Literal["label", "note", "entry", "vote", "comment", "reply"]
    """An entry puts a feature into a list."""
    id: str
    place: str
    """What it is of: "feature/12", "figure/TMS-1", or "article/intro"."""
    author: Person
    time: str
    """When it was first written: UTC, to the microsecond, so that it sorts as text."""
    state: State
    """A note is published when it is written."""
    text: str
    """Of an entry what is said of the feature in the list; of a vote "+1" or "-1"."""
    record: Label | Note | Entry | Vote | Comment
    """All that is kept of it."""


class Annotations:
    """What people wrote about one atlas. ``notes``, or ``comments`` and their ``database``, are None where none are."""

    def __init__(self, notes: Notes | None = None, database: Database | None = None) -> None:
        self.notes, self.database = notes, database
        self.comments = None if database is None else Comments(database)

    @classmethod
    def beside(cls, atlas: Placed, *, writes: bool = False) -> "Annotations":
        """Open what there is beside an atlas. Notes are begun where anyone ``writes`` them; comments begin with the
        first invitation.

        Raises BadInput if either file cannot be read, is damaged, newer than this physalis or about another atlas, or
        if the comments' key is missing.
        """
        begun, hash = notes_beside(atlas.folder), atlas.manifest.hash
        notes = Notes.open(begun, atlas=hash) if writes else find_notes(atlas.folder, atlas=hash)
        return cls(notes, find_comments(atlas.folder))

    def on(self, thing: int | str | Anchor, by: Person | None = None) -> list[Annotation]:
        """Everything that was written of a feature, by its number, of what an anchor names, or of a place such as
        "article/intro" with its figures, oldest first: what all may read, and the comments besides that ``by`` may know
        of, a guest of their own and an owner of all.

        Raises BadInput if it is no place, and Unavailable if a file is gone or damaged.
        """
        place = thing if isinstance(thing, str) else f"feature/{thing}" if isinstance(thing, int) else thing.place
        kind, _, name = read_place(place).partition("/")
        found: list[Annotation] = []
        if self.notes and kind == "feature":
            found += map(_of_note, self.notes.written_on(int(name)))
        if self.comments:
            comments = self.comments.seen(place, by)
            if isinstance(thing, PassageAnchor):
                comments = [each for each in comments if each.anchor == thing]
            found += map(_of_comment, comments)
        return sorted(found, key=lambda each: each.time)  # of one second as its file has them: replies stay below

    def search(self, query: str, by: Person | None = None, *, most: int = 50) -> list[Annotation]:
        """Labels, notes and comments that hold every word of ``query``, the last of which may be unfinished: the
        ``most`` best of the notes and of the comments each, newest first. Comments are those that ``on`` shows to
        ``by``. Raises Unavailable if a file is gone or damaged."""
        found: list[Annotation] = []
        if self.notes:
            found += map(_of_note, self.notes.search(query, limit=most).rows)
        if self.comments:
            found += map(_of_comment, _matching(self.comments.seen(by=by), query, most))
        return sorted(found, key=lambda each: each.time, reverse=True)

    def close(self) -> None:
        """Close the connections of all threads. A later call opens new ones."""
        for each in (self.notes, self.database):
            if each is not None:
                each.close()


def _of_note(record: Label | Note | Entry | Vote) -> Annotation:
    match record:
        case Vote():
            text = f"{record.value:+d}"
        case Entry():
            text = record.note
        case _:
            text = record.text
    return Annotation(
        kind=record.kind, id=record.id, place=f"feature/{record.feature}", author=Person.named(record.author),
        time=record.time, state="published", text=text, record=record,
    )  # fmt: skip


def _of_comment(comment: Comment) -> Annotation:
    person = Person(id=comment.author, name=comment.name, affiliation=comment.affiliation, role=comment.role)
    return Annotation(
        kind="reply" if comment.parent else "comment", id=comment.id, place=comment.anchor.place, author=person,
        time=spell(datetime.fromisoformat(comment.written)), state=comment.state, text=comment.text, record=comment,
    )  # fmt: skip


def _matching(comments: Iterable[Comment], query: str, most: int) -> list[Comment]:
    """The best matches. Files of comments have no index of words, as those of notes have, and stay as they are: one is
    made for each question. Comments are hundreds, for the owner reads each."""
    known, wanted = {each.id: each for each in comments}, match(query)
    if not wanted:
        return []
    with closing(sqlite3.connect(":memory:")) as db:
        db.execute(f"CREATE VIRTUAL TABLE search USING fts5 (id UNINDEXED, text, {TOKENS})")
        db.executemany("INSERT INTO search VALUES (?, ?)", ((each.id, each.text) for each in known.values()))
        rows = db.execute("SELECT id FROM search WHERE search MATCH ? ORDER BY rank LIMIT ?", (wanted, most))
        return [known[id] for (id,) in rows]
