"""Notes: the labels, notes, lists and votes on one atlas, read and written."""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from physalis.databases import Shared
from physalis.errors import BadInput
from physalis.people import spelling
from physalis.people.beside import notes_beside
from physalis.people.notes import ledger, records
from physalis.people.notes.ledger import Seen, kept_as, open_ledger
from physalis.people.notes.records import (
    Added,
    Entry,
    FeatureNotes,
    Found,
    FullList,
    Label,
    Labelled,
    Listed,
    Listing,
    ListRow,
    Note,
    Removal,
    Said,
    Tally,
    Vote,
    VotedOn,
    Worth,
    Writing,
    Written,
)
from physalis.people.notes.words import match
from physalis.people.refusals import Missing, NotAllowed

ENTRIES = 10_000
"""The most features that a list takes."""
ALL = 2**62
"""More than there can be of anything: no limit, as SQLite spells it."""

_LISTS_OF = (
    "records e JOIN records l ON l.list = e.list AND l.kind = 'list' AND l.current = 1 "
    "WHERE e.kind = 'entry' AND e.current = 1 AND e.feature = ?"
)
Kind = TypeVar("Kind", bound=Writing)


class Notes:
    """What people wrote about one atlas. Threads and processes may share a file; a change that returned is on the disk.

    Labels, notes and votes are changed by their author alone, lists by everyone. Every method that writes raises
    BadInput for a text that is too long, blank or not text (records states the limits), and if the disk is full.
    """

    def __init__(self, file: Shared[Seen], atlas: str) -> None:
        self._file, self.path, self.atlas = file, file.path, atlas

    @classmethod
    def open(cls, path: Path | str, *, atlas: str) -> "Notes":
        """Open the notes about the atlas whose manifest has the hash ``atlas``; make the file if there is none.

        Raises BadInput if it holds something else, is about another atlas, is newer than this physalis, or would stand
        inside an atlas.
        """
        return cls(open_ledger(Path(path), atlas), atlas)

    def close(self) -> None:
        """Close the connections of all threads. A later call opens new ones."""
        self._file.close()

    # Reading

    def state(self) -> object:
        """What is another object once anything was written. Raises Unavailable if the file is gone."""
        return self._file.seen()

    def labels_of(self, features: Sequence[int], *, most: int | None = None) -> Mapping[int, Sequence[Labelled]]:
        """The labels of some features, most liked first, then newest; ``most`` of each at most. Features without any
        are left out. One query."""
        rows = self._db.execute(
            "SELECT body, up, down FROM (SELECT body, up, down, feature, row_number() OVER "
            "(PARTITION BY feature ORDER BY up - down DESC, time DESC, id DESC) AS place FROM "
            "(SELECT body, feature, time, id, (SELECT count(*) FROM records v WHERE v.target = 'label:' || l.id AND "
            "v.current = 1 AND v.value = 1) AS up, (SELECT count(*) FROM records v WHERE v.target = 'label:' || l.id "
            "AND v.current = 1 AND v.value = -1) AS down FROM records l WHERE l.kind = 'label' AND l.current = 1 AND "
            "l.feature IN (SELECT value FROM json_each(?)))) WHERE place <= ? ORDER BY feature, place",
            (json.dumps([*features]), ALL if most is None else most),
        )
        found: dict[int, list[Labelled]] = {}
        for body, up, down in rows:
            label = kept_as(Label, body)
            found.setdefault(label.feature, []).append(Labelled(label=label, up=up, down=down))
        return found

    def all_labels(self) -> Mapping[int, Sequence[Labelled]]:
        """The labels of every feature that has some, as ``labels_of`` gives them."""
        rows = self._db.execute("SELECT DISTINCT feature FROM records WHERE kind = 'label' AND current = 1")
        return self.labels_of([feature for (feature,) in rows])

    def notes_of(self, feature: int, *, most: int | None = None) -> Sequence[Note]:
        """The notes on a feature, oldest first; the last ``most`` of them."""
        rows = self._db.execute(
            "SELECT body FROM records WHERE kind = 'note' AND current = 1 AND feature = ? ORDER BY time DESC, id DESC "
            "LIMIT ?",
            (feature, ALL if most is None else most),
        ).fetchall()
        return [kept_as(Note, body) for (body,) in reversed(rows)]

    def lists_of(self, feature: int, *, most: int | None = None) -> Sequence[Listed]:
        """The lists that a feature stands in, by name; the first ``most`` of them."""
        rows = self._db.execute(
            f"SELECT l.body, e.body FROM {_LISTS_OF} ORDER BY json_extract(l.body, '$.name'), l.list LIMIT ?",
            (feature, ALL if most is None else most),
        )
        found = [Listed(list=kept_as(Listing, listing), entry=kept_as(Entry, entry)) for listing, entry in rows]
        return sorted(found, key=lambda each: (each.list.name, each.list.list))

    def written_on(self, feature: int) -> Sequence[Label | Note | Entry | Vote]:
        """What counts on a feature, oldest first, without entries of a list and votes on a label that are no more."""
        rows = self._db.execute(
            "SELECT body FROM records r WHERE current = 1 AND feature = ? AND kind IN ('label', 'note', 'entry', "
            "'vote') AND (kind <> 'entry' OR EXISTS (SELECT 1 FROM records l WHERE l.kind = 'list' AND l.current = 1 "
            "AND l.list = r.list)) AND (kind <> 'vote' OR target NOT LIKE 'label:%' OR EXISTS (SELECT 1 FROM records l "
            "WHERE l.id = substr(r.target, 7) AND l.current = 1)) ORDER BY time, id",
            (feature,),
        )
        found = (ledger.kept(body) for (body,) in rows.fetchall())
        return [each for each in found if isinstance(each, Label | Note | Entry | Vote)]

    def of(self, feature: int, *, most: int | None = None) -> FeatureNotes:
        """All that people wrote about a feature, of each kind ``most`` at most."""
        if feature not in self._file.seen().features:  # as of most: no page waits for the file to learn that
            return FeatureNotes(feature=feature, labels=[], notes=[], lists=[], n_labels=0, n_notes=0, n_lists=0)
        count = "SELECT count(*) FROM records WHERE kind = ? AND current = 1 AND feature = ?"
        n_labels, n_notes = (self._db.execute(count, (kind, feature)).fetchone()[0] for kind in ("label", "note"))
        (n_lists,) = self._db.execute(f"SELECT count(*) FROM {_LISTS_OF}", (feature,)).fetchone()
        return FeatureNotes(
            feature=feature,
            labels=[*self.labels_of([feature], most=most).get(feature, [])],
            notes=[*self.notes_of(feature, most=most)],
            lists=[*self.lists_of(feature, most=most)],
            n_labels=n_labels,
            n_notes=n_notes,
            n_lists=n_lists,
        )

    def said(self, feature: int, *, most: int | None = None) -> Said:
        """All that a feature's page shows of people's words, of each kind ``most`` at most."""
        notes = self.of(feature, most=most)
        votes = self.tallies("label", [each.label.id for each in notes.labels]) if notes.labels else {}
        return Said(notes=notes, votes=dict(votes), lists=[*self.lists(most=most)])

    def lists(self, *, most: int | None = None) -> Sequence[ListRow]:
        """All lists, by name; the first ``most`` of them."""
        found = self._file.seen().lists
        return found if most is None else found[:most]

    def full_list(self, id: str) -> FullList:
        """A list with its features in order. Raises Missing if there is none."""
        return ledger.full_list(self._db, id)

    def tallies(self, on: VotedOn, targets: Sequence[str]) -> Mapping[str, Tally]:
        """The votes on some labels or explanations. Targets without any are left out."""
        rows = self._db.execute(
            "SELECT body FROM records WHERE current = 1 AND target IN (SELECT value FROM json_each(?))",
            (json.dumps([f"{on}:{target}" for target in targets]),),
        )
        by: dict[str, dict[str, int]] = {}
        for (body,) in rows:
            vote = kept_as(Vote, body)
            by.setdefault(vote.target, {})[vote.author] = vote.value
        return {
            target: Tally(
                up=[*votes.values()].count(1), down=[*votes.values()].count(-1), by=dict(sorted(votes.items()))
            )
            for target, votes in by.items()
        }

    def search(self, query: str, *, offset: int = 0, limit: int = 50) -> Found:
        """Labels and notes that hold every word of ``query``, best match first; the last word may be unfinished."""
        if offset < 0 or limit < 0:
            raise BadInput(f"offset and limit count from 0; received offset {offset} and limit {limit}.")
        wanted = match(query)
        if not wanted:
            return Found(total=0, offset=offset, rows=[])
        (total,) = self._db.execute("SELECT count(*) FROM search WHERE search MATCH ?", (wanted,)).fetchone()
        rows = self._db.execute(
            "SELECT r.body FROM (SELECT rowid AS seq, rank FROM search WHERE search MATCH ? ORDER BY rank LIMIT ? "
            "OFFSET ?) f JOIN records r ON r.seq = f.seq ORDER BY f.rank, f.seq",
            (wanted, limit, offset),
        )
        found = (ledger.kept(body) for (body,) in rows)
        return Found(total=total, offset=offset, rows=[each for each in found if isinstance(each, Label | Note)])

    def records(self) -> Iterator[Written]:
        """Every record ever written, by id: replaced and removed ones too."""
        for (body,) in self._db.execute("SELECT body FROM records ORDER BY id").fetchall():
            yield ledger.kept(body)

    # Writing

    def label(self, feature: int, text: str, *, author: str) -> Label:
        """Name a feature; takes the place of this author's earlier name for it."""
        fresh = records.write(Label, author=author, feature=feature, text=text)
        with self._file.change() as db:
            return ledger.put(db, fresh)

    def note(self, feature: int, text: str, *, author: str) -> Note:
        """Write a note on a feature."""
        fresh = records.write(Note, author=author, feature=feature, text=text)
        with self._file.change() as db:
            return ledger.put(db, fresh)

    def edit_note(self, id: str, text: str, *, author: str) -> Note:
        """Write a note anew: the answer has an id of its own. Raises Missing, and NotAllowed if another wrote it."""
        with self._file.change() as db:
            old = _own(db, id, Note, author)
            fresh = records.write(Note, author=author, feature=old.feature, text=text, replaces=(id,))
            return ledger.put(db, fresh)

    def vote(self, feature: int, on: VotedOn, target: str, value: Worth, *, author: str) -> Vote:
        """Vote on a label, or an explanation kept elsewhere; takes the place of this author's earlier vote on it.

        Raises Missing if the feature has no such label.
        """
        fresh = records.write(Vote, author=author, feature=feature, on=on, target=target, value=value)
        with self._file.change() as db:
            if on == "label" and ledger.current(db, target, Label).feature != feature:
                raise Missing(f"Feature {feature} has no label with the id {target}.")
            return ledger.put(db, fresh)

    def remove(self, kind: type[Label] | type[Note] | type[Vote], id: str, *, author: str) -> Removal:
        """Take away one's label, note or vote. Raises Missing, and NotAllowed if someone else wrote it."""
        with self._file.change() as db:
            old = _own(db, id, kind, author)
            return _remove(db, old.slot, author, what=old.kind, feature=old.feature)

    def make_list(self, name: str, *, author: str, description: str = "", features: Sequence[int] = ()) -> FullList:
        """Make a list, with these features in this order if any are given."""
        id, chosen = spelling.new_id(), [*dict.fromkeys(features)]
        _check_length(len(chosen))
        head = records.write(Listing, author=author, list=id, name=name, description=description)
        entries = [
            records.write(Entry, author=author, list=id, feature=f, place=float(i)) for i, f in enumerate(chosen)
        ]
        with self._file.change() as db:
            ledger.add(db, [head, *entries])
        return FullList(list=head, entries=tuple(entries))

    def describe_list(self, id: str, name: str, *, author: str, description: str = "") -> Listing:
        """Rename a list and describe it anew. Raises Missing if there is none."""
        fresh = records.write(Listing, author=author, list=id, name=name, description=description)
        with self._file.change() as db:
            ledger.full_list(db, id)
            return ledger.put(db, fresh)

    def remove_list(self, id: str, *, author: str) -> Removal:
        """Take away a list. Raises Missing if there is none."""
        with self._file.change() as db:
            return _remove(db, ledger.full_list(db, id).list.slot, author, what="list", list=id)

    def enter(
        self, list: str, feature: int, *, author: str, label: str = "", note: str = "", at: int | None = None
    ) -> Entry:
        """Put a feature into a list, or change its entry there.

        ``at`` counts the entries that will stand before it; without it a new entry goes last and an old one stays where
        it is. Raises Missing if there is no such list.
        """
        if at is not None and at < 0:
            raise BadInput(f"The place in a list counts from 0; received {at}.")
        with self._file.change() as db:
            entries = ledger.full_list(db, list).entries
            others = [entry for entry in entries if entry.feature != feature]
            old = next((entry for entry in entries if entry.feature == feature), None)
            if old is None:
                _check_length(len(entries) + 1)
            if old is not None and at is None:
                place = old.place
            else:
                place = _make_room(db, others, len(others) if at is None else min(at, len(others)))
            fresh = records.write(Entry, author=author, list=list, feature=feature, place=place, label=label, note=note)
            return ledger.put(db, fresh)

    def take_out(self, list: str, feature: int, *, author: str) -> Removal:
        """Take a feature out of a list. Raises Missing if it is not in it."""
        with self._file.change() as db:
            for entry in ledger.full_list(db, list).entries:
                if entry.feature == feature:
                    return _remove(db, entry.slot, author, what="entry", feature=feature, list=list)
            raise Missing(f"Feature {feature} is not in the list {list}.")

    def add(self, fresh: Iterable[Written]) -> Added:
        """Put records written elsewhere beside those that are here: all of them or, if one cannot be, none.

        Raises BadInput if one has the id of another that is here.
        """
        chosen = [*fresh]
        with self._file.change() as db:
            added = ledger.add(db, chosen)
        return Added(added=added, known=len(chosen) - added)

    @property
    def _db(self) -> sqlite3.Connection:
        return self._file.db


def find_beside(folder: Path, *, atlas: str) -> Notes | None:
    """The notes of an atlas folder, whose manifest has the hash ``atlas``; None if it has none, which begin with the
    first that is written. Raises BadInput as ``Notes.open`` does."""
    file = notes_beside(folder)
    return Notes.open(file, atlas=atlas) if file.exists() else None


def _own(db: sqlite3.Connection, id: str, kind: type[Kind], author: str) -> Kind:
    found = ledger.current(db, id, kind)
    if found.author != author:
        raise NotAllowed(f"{found.author} wrote this, and only {found.author} can change it; you write as {author}.")
    return found


def _remove(db: sqlite3.Connection, slot: str, author: str, **place: str | int) -> Removal:
    """Take away all that lives in a slot, so that nothing older shows again."""
    removal = records.write(Removal, author=author, replaces=tuple(sorted(ledger.live(db, slot))), **place)
    ledger.add(db, [removal])
    return removal


def _check_length(n: int) -> None:
    if n > ENTRIES:
        raise BadInput(f"A list takes up to {ENTRIES:,} features; this one would have {n:,}. Make several.")


def _make_room(db: sqlite3.Connection, others: Sequence[Entry], n: int) -> float:
    """A place behind ``n`` of the others. Where their places leave none between, they are numbered anew."""
    low = others[n - 1].place if n else (others[0].place - 2 if others else -1.0)
    high = others[n].place if n < len(others) else low + 2
    middle = low + (high - low) / 2
    if low < middle < high:
        return middle
    for i, entry in enumerate(others):
        fresh = {"id": spelling.new_id(), "time": spelling.now(), "replaces": (), "place": float(i)}
        ledger.put(db, entry.model_copy(update=fresh))
    return n - 0.5
