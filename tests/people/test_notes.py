"""What people write: what counts when several write and edit, and that whatever was acknowledged is kept."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from physalis.errors import BadInput
from physalis.people import spelling
from physalis.people.notes import Notes, beside, rebind, records
from physalis.people.notes.records import Label, Note, Removal, Vote
from physalis.people.notes.store import ENTRIES
from physalis.people.notes.words import match
from physalis.people.refusals import Missing, NotAllowed

ATLAS = "a" * 64


@pytest.fixture
def notes(tmp_path: Path) -> Notes:
    return Notes.open(tmp_path / "atlas.notes.db", atlas=ATLAS)


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Notes:
    """Notes with one label, to which nothing is added."""
    notes = Notes.open(tmp_path_factory.mktemp("notes") / "notes.db", atlas=ATLAS)
    notes.label(1, "a label", author="Ada")
    return notes


def names(notes: Notes, feature: int) -> list[tuple[str, str]]:
    return [(each.label.author, each.label.text) for each in notes.labels_of([feature]).get(feature, [])]


def test_the_newest_label_of_each_author_counts(notes):
    notes.label(3, "dogs", author="Ada")
    notes.label(3, "wolves", author="Ben")
    notes.label(3, "puppies", author="Ada")
    notes.label(4, "cats", author="Ada")
    assert names(notes, 3) == [("Ada", "puppies"), ("Ben", "wolves")]
    assert {f: len(found) for f, found in notes.labels_of([2, 3, 4]).items()} == {3: 2, 4: 1}
    assert len([*notes.records()]) == 4


def test_a_removed_label_brings_no_older_one_back(notes):
    notes.label(3, "dogs", author="Ada")
    second = notes.label(3, "puppies", author="Ada")
    with pytest.raises(NotAllowed, match="Ada wrote this, and only Ada can change it; you write as Ben"):
        notes.remove(Label, second.id, author="Ben")
    notes.remove(Label, second.id, author="Ada")
    assert names(notes, 3) == []
    with pytest.raises(Missing, match="changed or removed meanwhile"):
        notes.remove(Label, second.id, author="Ada")


def test_an_edit_counts_whatever_the_clock_says(notes, monkeypatch):
    notes.label(3, "dogs", author="Ada")
    monkeypatch.setattr(spelling, "now", lambda: "2001-01-01T00:00:00.000000Z")
    notes.label(3, "puppies", author="Ada")
    assert names(notes, 3) == [("Ada", "puppies")]


def test_votes_hang_on_the_wording(notes):
    dogs = notes.label(3, "dogs", author="Ada")
    wolves = notes.label(3, "wolves", author="Ben")
    assert names(notes, 3)[0] == ("Ben", "wolves")
    notes.vote(3, "label", dogs.id, 1, author="Cy")
    notes.vote(3, "label", dogs.id, -1, author="Ben")
    notes.vote(3, "label", dogs.id, 1, author="Ben")
    vote = notes.vote(3, "label", wolves.id, -1, author="Ada")
    assert [(e.label.text, e.up, e.down) for e in notes.labels_of([3])[3]] == [("dogs", 2, 0), ("wolves", 0, 1)]
    assert notes.tallies("label", [dogs.id, wolves.id, "x"])[dogs.id].by == {"Ben": 1, "Cy": 1}
    notes.remove(Vote, vote.id, author="Ada")
    assert wolves.id not in notes.tallies("label", [wolves.id])
    notes.label(3, "all dogs", author="Ada")
    assert [(e.label.text, e.up) for e in notes.labels_of([3])[3]] == [("all dogs", 0), ("wolves", 0)]
    with pytest.raises(Missing, match="meanwhile"):
        notes.vote(3, "label", dogs.id, 1, author="Cy")
    with pytest.raises(Missing, match="Feature 4 has no label"):
        notes.vote(4, "label", wolves.id, 1, author="Cy")


def test_votes_on_explanations_are_apart_from_those_on_labels(notes):
    label = notes.label(3, "dogs", author="Ada")
    notes.vote(3, "explanation", label.id, -1, author="Cy")
    assert notes.labels_of([3])[3][0].down == 0
    assert notes.tallies("explanation", [label.id])[label.id].down == 1
    assert not notes.tallies("label", [label.id])


def test_notes_are_edited_by_their_author(notes):
    first = notes.note(7, "# Sea\n\nIt fires on *ships*.", author="Ada")
    notes.note(7, "Only in <b>novels</b>.", author="Ben")
    with pytest.raises(NotAllowed):
        notes.edit_note(first.id, "no", author="Ben")
    edited = notes.edit_note(first.id, "It fires on boats too.", author="Ada")
    assert edited.replaces == (first.id,) and edited.feature == 7
    assert sorted(note.text for note in notes.notes_of(7)) == ["It fires on boats too.", "Only in <b>novels</b>."]
    with pytest.raises(Missing):
        notes.edit_note(first.id, "again", author="Ada")
    with pytest.raises(Missing, match="no label with the id"):
        notes.remove(Label, edited.id, author="Ada")
    removal = notes.remove(Note, edited.id, author="Ada")
    assert isinstance(removal, Removal) and removal.what == "note" and removal.feature == 7
    assert len(notes.of(7).notes) == 1


def test_lists_keep_an_order_that_can_be_changed(notes):
    made = notes.make_list("Sea", author="Ada", description="Ships and *such*.", features=[5, 9, 5, 2])
    id = made.list.list

    def order() -> list[int]:
        return [entry.feature for entry in notes.full_list(id).entries]

    assert order() == [5, 9, 2] == [entry.feature for entry in made.entries]
    notes.enter(id, 7, author="Ben", label="keels", note="At last.")
    notes.enter(id, 2, author="Ben", at=0)
    notes.enter(id, 5, author="Ben", at=99)
    notes.enter(id, 8, author="Ben", at=1)
    assert order() == [2, 8, 9, 7, 5]
    notes.enter(id, 7, author="Ada", label="hulls")
    assert order() == [2, 8, 9, 7, 5]
    assert notes.lists_of(7)[0].entry.label == "hulls" and notes.lists_of(7)[0].list.name == "Sea"
    notes.take_out(id, 9, author="Ben")
    assert order() == [2, 8, 7, 5]
    with pytest.raises(Missing, match="Feature 9 is not in"):
        notes.take_out(id, 9, author="Ben")
    notes.describe_list(id, "Ocean", author="Ben", description="")
    assert [(row.list.name, row.n_entries) for row in notes.lists()] == [("Ocean", 4)]
    notes.remove_list(id, author="Ben")
    assert not notes.lists() and not notes.lists_of(7)
    for change in (
        lambda: notes.full_list(id),
        lambda: notes.enter(id, 1, author="Ada"),
        lambda: notes.describe_list(id, "Sea", author="Ada"),
    ):
        with pytest.raises(Missing, match="no list"):
            change()


def test_room_in_a_list_never_runs_out(notes):
    id = notes.make_list("Sea", author="Ada", features=[0, 1]).list.list
    for feature in range(2, 70):  # each between the same two: halving alone has no room after some 50
        notes.enter(id, feature, author="Ada", at=1, label=f"f{feature}")
    entries = notes.full_list(id).entries
    assert [entry.feature for entry in entries] == [0, *range(69, 1, -1), 1]
    assert all(entry.label == f"f{entry.feature}" for entry in entries[1:-1])


def test_lists_end_somewhere(notes):
    with pytest.raises(BadInput, match=f"up to {ENTRIES:,} features; this one would have {ENTRIES + 1:,}"):
        notes.make_list("All", author="Ada", features=range(ENTRIES + 1))
    assert not notes.lists()


def test_the_labels_of_a_list_are_one_query(notes):
    notes.add(records.write(Label, author=f"author {i // 150}", feature=i % 150, text=f"label {i}") for i in range(450))
    said: list[str] = []
    notes._db.set_trace_callback(said.append)
    found = notes.labels_of(range(100, 150))
    notes._db.set_trace_callback(None)
    assert {feature: len(labels) for feature, labels in found.items()} == dict.fromkeys(range(100, 150), 3)
    assert len(said) == 1
    plan = " ".join(row[3] for row in notes._db.execute(f"EXPLAIN QUERY PLAN {said[0]}"))
    assert "l USING INDEX records_feature" in plan and "v USING INDEX records_target" in plan and "SCAN l" not in plan


def test_search_wants_every_word_and_only_what_counts(notes):
    notes.label(1, "Café au lait", author="Ada")
    notes.note(2, "the milk (lait) of Apollo-11", author="Ben")
    old = notes.note(3, "lait", author="Ben")
    notes.edit_note(old.id, "water", author="Ben")
    notes.label(4, "lait", author="Ada")
    notes.label(4, "tea", author="Ada")

    def found(query: str) -> list[int]:
        answer = notes.search(query)
        assert answer.total == len(answer.rows)
        return sorted(row.feature for row in answer.rows)

    assert found("lait") == [1, 2] and found("LAIT cafe") == [1] and found("la") == [1, 2]
    assert found("apollo-1") == [2] and found("lait tea") == [] and found("te") == [4]
    notes.remove(Label, notes.labels_of([4])[4][0].label.id, author="Ada")
    assert found("tea") == []
    assert notes.search("lait", limit=1).total == 2 and len(notes.search("lait", offset=1, limit=1).rows) == 1


@pytest.mark.parametrize(
    "query", ["", " ", '"', "'; DROP TABLE records;--", "AND OR NOT", "a*", "(", "\0", "x:y", "-1", "^a"]
)
def test_no_search_is_an_error(quiet, query):
    assert quiet.search(query).total >= 0
    assert quiet.search("é" * 5000).total == 0 and quiet.search("w " * 5000).total == 0


def test_words_are_quoted():
    assert match('say "no" to') == '"say" """no""" "to"*' and match(" - \n") == ""


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda notes: notes.label(1, "", author="Ada"), "text = ''"),
        (lambda notes: notes.label(1, " \u2003 ", author="Ada"), "It is blank"),
        (lambda notes: notes.label(1, "two\nlines", author="Ada"), "line break"),
        (lambda notes: notes.label(1, "x" * (records.LABEL + 1), author="Ada"), f"at most {records.LABEL}"),
        (lambda notes: notes.label(1, "half \ud800", author="Ada"), "unicode"),
        (lambda notes: notes.label(-1, "x", author="Ada"), "feature = -1"),
        (lambda notes: notes.label(1, "x", author=""), "author = ''"),
        (lambda notes: notes.note(1, "bell \a", author="Ada"), "does not show"),
        (lambda notes: notes.note(1, "x" * (records.NOTE + 1), author="Ada"), f"at most {records.NOTE}"),
        (lambda notes: notes.make_list("", author="Ada"), "name = ''"),
        (lambda notes: notes.enter("0" * 32, 1, author="Ada", at=-1), "counts from 0; received -1"),
        (lambda notes: notes.search("x", limit=-1), "count from 0"),
    ],
)
def test_bad_texts_are_sentences(quiet, change, words):
    with pytest.raises(BadInput, match=words):
        change(quiet)
    assert len([*quiet.records()]) == 1


def test_text_stays_text(notes):
    texts = ["<script>alert(1)</script>", "日本 語 👩‍🔬", "a\tb\r\n\u2028c", '{"kind":"label"}', "x" * records.NOTE]
    for text in texts:
        notes.note(5, text, author="<i>Ada</i>")
    assert {note.text for note in notes.notes_of(5)} == {*texts}


def test_records_are_strict():
    vote = records.write(Vote, author="Ada", feature=1, on="label", target="0" * 32, value=1)
    good = vote.model_dump_json()
    assert records.read(good).model_dump_json() == good
    for wrong in (
        good.replace('"value":1', '"value":2'),
        good.replace('"value":1', '"value":true'),
        good.replace('"feature":1', '"feature":"1"'),
        good.replace('"kind":"vote"', '"kind":"vote","more":1'),
        good.replace('"kind":"vote"', '"kind":"poll"'),
        good.replace("Z", "+00:00"),
        good.replace(vote.time, "2026-02-31T00:00:00.000000Z"),
        good[:-1],
        "null",
    ):
        with pytest.raises(BadInput, match="cannot be used"):
            records.read(wrong)
    with pytest.raises(BadInput, match="of a label says which feature"):
        records.write(Removal, author="Ada", what="label", list="0" * 32)


def test_notes_belong_to_one_atlas(notes):
    notes.label(1, "dogs", author="Ada")
    with pytest.raises(BadInput, match=f"has the hash {ATLAS}, this one's has other.*rebind"):
        Notes.open(notes.path, atlas="other")
    assert rebind(notes.path, atlas="other") == ATLAS
    assert names(Notes.open(notes.path, atlas="other"), 1) == [("Ada", "dogs")]
    with pytest.raises(BadInput, match="There is no"):
        rebind(notes.path.with_name("none.db"), atlas="other")


def test_other_files_are_refused(notes, tmp_path):
    with closing(sqlite3.connect(notes.path, isolation_level=None)) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(BadInput, match="schema version 99; this physalis reads up to 1"):
        Notes.open(notes.path, atlas=ATLAS)
    with closing(sqlite3.connect(tmp_path / "other.db")) as db:
        db.execute("CREATE TABLE t (x)")
    before = (tmp_path / "other.db").read_bytes()
    with pytest.raises(BadInput, match="database of something else"):
        Notes.open(tmp_path / "other.db", atlas=ATLAS)
    assert (tmp_path / "other.db").read_bytes() == before
    (tmp_path / "text.db").write_text("a diary " * 100)
    with pytest.raises(BadInput, match="not a database"):
        Notes.open(tmp_path / "text.db", atlas=ATLAS)
    with pytest.raises(BadInput, match="there is no folder"):
        Notes.open(tmp_path / "none" / "notes.db", atlas=ATLAS)
    (tmp_path / "atlas").mkdir()
    (tmp_path / "atlas" / "manifest.json").write_text("{}")
    with pytest.raises(BadInput, match="would stand inside .*atlas.notes.db"):
        Notes.open(tmp_path / "atlas" / "notes.db", atlas=ATLAS)
    assert beside(tmp_path / "atlas") == tmp_path / "atlas.notes.db"


def test_a_full_disk_is_a_sentence_and_changes_nothing(notes):
    notes.label(1, "dogs", author="Ada")
    pages = notes._db.execute("PRAGMA page_count").fetchone()[0]
    notes._db.execute(f"PRAGMA max_page_count = {pages + 1}")
    with pytest.raises(BadInput, match="Nothing was written .* The disk is full"):
        notes.make_list("Long", author="Ada", features=range(2000))
    assert not notes.lists() and names(notes, 1) == [("Ada", "dogs")]


def test_many_open_a_new_file_at_once(tmp_path):
    start = threading.Barrier(8)

    def open_and_write(i: int) -> str:
        start.wait()
        mine = Notes.open(tmp_path / "notes.db", atlas=ATLAS)
        record = mine.label(i, f"label {i}", author="Ada")
        mine.close()
        return record.id

    with ThreadPoolExecutor(8) as pool:
        ids = {*pool.map(open_and_write, range(8))}
    assert {record.id for record in Notes.open(tmp_path / "notes.db", atlas=ATLAS).records()} == ids


def test_threads_that_write_lose_nothing(notes):
    id = notes.make_list("All", author="Ada").list.list

    def write(thread: int) -> None:
        for i in range(10):
            notes.enter(id, 100 * thread + i, author=f"author {thread}")
            notes.label(0, f"{thread}-{i}", author=f"author {thread % 2}")

    with ThreadPoolExecutor(4) as pool:
        [*pool.map(write, range(4))]
    entries = notes.full_list(id).entries
    assert {entry.feature for entry in entries} == {100 * t + i for t in range(4) for i in range(10)}
    assert len({entry.place for entry in entries}) == 40
    assert sorted(author for author, _ in names(notes, 0)) == ["author 0", "author 1"]
    notes.close()
    assert len(notes.full_list(id).entries) == 40


WRITERS = """
import os, sys, threading
from physalis.people.notes import Notes

notes = Notes.open(sys.argv[1], atlas=sys.argv[2])

def work(name):
    for i in range(10**9):
        kept = notes.label(i, f"{name} {i}", author=name) if i % 2 else notes.note(i, f"{name} {i}", author=name)
        os.write(1, f"{name} {kept.id}\\n".encode())

for name in "ABCD":
    threading.Thread(target=work, args=(name,)).start()
"""


def test_what_was_acknowledged_survives_a_kill(tmp_path):
    path = tmp_path / "notes.db"
    acknowledged: list[str] = []
    for wanted in (3, 12, 25):
        counts = dict.fromkeys("ABCD", 0)
        with subprocess.Popen([sys.executable, "-c", WRITERS, str(path), ATLAS], stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            lines = []
            while min(counts.values()) < wanted:
                lines.append(child.stdout.readline().decode())
                counts[lines[-1][0]] += 1
            os.kill(child.pid, signal.SIGKILL)
            lines += child.stdout.read().decode().splitlines(keepends=True)
        acknowledged += [line.split()[1] for line in lines if line.endswith("\n")]
        notes = Notes.open(path, atlas=ATLAS)
        assert {*acknowledged} <= {record.id for record in notes.records()}
        assert notes._db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert notes._db.execute("PRAGMA journal_mode").fetchone() == ("delete",)
        assert notes._db.execute("PRAGMA synchronous").fetchone() == (3,)  # EXTRA: a power cut takes nothing either
        assert notes.search("A 1").total > 0 and notes.search("D 2").total > 0
        notes.close()
    assert len({*acknowledged}) == len(acknowledged) >= 4 * (3 + 12 + 25)


def test_who_has_nothing_said_of_it_waits_for_no_writer(notes):
    """Most pages of an atlas are of such features, while somebody writes on another."""
    notes.label(3, "dogs", author="Ada")
    notes.make_list("animals", author="Ada")
    elsewhere = Notes.open(notes.path, atlas=ATLAS)
    assert not notes.said(5).notes.labels
    with closing(sqlite3.connect(notes.path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")  # nobody can read beside it: this would wait, and raise
        assert notes.said(5).notes.n_labels == 0 and [row.list.name for row in notes.said(5).lists] == ["animals"]
        other.execute("ROLLBACK")
    elsewhere.label(5, "cats", author="Ben")  # by another server
    assert [each.label.text for each in notes.said(5).notes.labels] == ["cats"]
    [mine] = elsewhere.said(5).notes.labels
    elsewhere.remove(Label, mine.label.id, author="Ben")
    assert not notes.said(5).notes.labels and not elsewhere.said(5).notes.labels


def test_torch_is_not_needed():
    code = (
        "import sys, physalis.people.notes.files, physalis.people.notes.neuronpedia; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
