"""Notes as files: what two people write apart comes together the same way, whoever merges first."""

import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from physalis.errors import BadInput
from physalis.people import spelling
from physalis.people.notes import Notes, records
from physalis.people.notes.files import export_notes, import_notes, merge, merge_notes
from physalis.people.notes.records import Entry, Label, Listing, Note, Removal, Vote, Written
from physalis.people.refusals import Missing, NotAllowed

ATLAS = "a" * 64
FEATURES = 250
SEEDS = range(5)


def act(notes: Notes, author: str, chance: random.Random) -> None:
    """Something that a person may do, to something that is there."""
    feature = chance.choice((0, 1, 99, 100, 249))
    word = f"w{chance.randrange(10**6)}"
    there = [*notes.records()]
    one = chance.choice(there) if there else None
    lists = [row.list.list for row in notes.lists()]
    kind = chance.randrange(9)
    with suppress(Missing, NotAllowed):  # it was someone else's, or is gone
        if kind <= 1:
            notes.label(feature, word, author=author)
        elif kind == 2:
            notes.note(feature, word, author=author)
        elif kind == 3 and isinstance(one, Note):
            notes.edit_note(one.id, word, author=author)
        elif kind == 4 and isinstance(one, Label):
            notes.vote(one.feature, "label", one.id, chance.choice((1, -1)), author=author)
        elif kind == 5 and len(lists) < 3:
            notes.make_list(word, author=author, features=[feature, 7])
        elif kind == 6 and isinstance(one, Label | Note | Vote):
            notes.remove(type(one), one.id, author=author)
        elif lists:
            chosen = chance.choice(lists)
            match chance.randrange(6):
                case 0:
                    notes.take_out(chosen, feature, author=author)
                case 1:
                    notes.describe_list(chosen, word, author=author)
                case 2 if chance.random() < 0.3:
                    notes.remove_list(chosen, author=author)
                case _:
                    notes.enter(chosen, feature, author=author, label=word, at=chance.choice((None, 0, 1, 5)))


def apart(folder: Path, seed: int, patch: pytest.MonkeyPatch) -> tuple[Notes, Notes]:
    """What two people have after writing for a while, and hearing of the other at times. Their clocks are wrong."""
    chance = random.Random(seed)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    patch.setattr(spelling, "new_id", lambda: f"{chance.getrandbits(128):032x}")
    patch.setattr(spelling, "now", lambda: spelling.spell(start + timedelta(seconds=chance.randrange(50))))
    sides = [Notes.open(folder / f"{name}.db", atlas=ATLAS) for name in ("ada", "ben")]
    for _ in range(70):
        i = chance.randrange(2)
        act(sides[i], ("Ada", "Ben")[i], chance)
        if chance.random() < 0.05:
            sides[i].add(sides[1 - i].records())
    return sides[0], sides[1]


def truth(union: Sequence[Written]) -> set[str]:
    """Ids of the records that count, worked out from all of them at once."""
    replaced = {id for record in union for id in record.replaces}
    newest: dict[tuple, Written] = {}
    for record in sorted(union, key=lambda r: (r.time, r.id)):
        if record.id in replaced or isinstance(record, Removal):
            continue
        if isinstance(record, Label):
            key = ("label", record.feature, record.author)
        elif isinstance(record, Vote):
            key = ("vote", record.target, record.author)
        elif isinstance(record, Listing):
            key = ("list", record.list)
        elif isinstance(record, Entry):
            key = ("entry", record.list, record.feature)
        else:
            key = ("note", record.id)
        newest[key] = record
    lists = {record.list for record in newest.values() if isinstance(record, Listing)}
    return {r.id for r in newest.values() if not isinstance(r, Entry) or r.list in lists}


def shown(notes: Notes) -> set[str]:
    """Ids of all that the pages would show."""
    ids: set[str] = set()
    for feature in range(FEATURES):
        found = notes.of(feature)
        ids |= {each.label.id for each in found.labels} | {note.id for note in found.notes}
        for listed in found.lists:
            ids |= {listed.list.id, listed.entry.id}
    for row in notes.lists():
        full = notes.full_list(row.list.list)
        assert len(full.entries) == row.n_entries
        ids |= {full.list.id, *(entry.id for entry in full.entries)}
    everything = [*notes.records()]
    replaced = {id for record in everything for id in record.replaces}
    votes = [record for record in everything if isinstance(record, Vote) and record.id not in replaced]
    tallies = notes.tallies("label", [vote.target for vote in votes])
    for target, tally in tallies.items():
        assert (tally.up, tally.down) == ([*tally.by.values()].count(1), [*tally.by.values()].count(-1))
        for author, value in tally.by.items():
            newest = max((v for v in votes if (v.target, v.author) == (target, author)), key=lambda v: (v.time, v.id))
            assert newest.value == value
            ids.add(newest.id)
    return ids


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("seed", SEEDS)
def test_merging_is_a_union(tmp_path, seed, monkeypatch):
    ada, ben = apart(tmp_path, seed, monkeypatch)
    a, b = [*ada.records()], [*ben.records()]
    c = random.Random(seed).sample(merge(a, b), 20)
    assert len(a) > 15 and len(b) > 15 and {r.id for r in a} != {r.id for r in b}
    assert merge(a, b) == merge(b, a)
    assert merge(merge(a, b), c) == merge(a, merge(b, c)) == merge(a, b)
    assert merge(a, a) == a == merge(a)
    assert {r.id for r in merge(a, b)} == {r.id for r in a} | {r.id for r in b}


@pytest.mark.parametrize("seed", SEEDS)
def test_what_counts_follows_from_the_records_alone(tmp_path, seed, monkeypatch):
    ada, ben = apart(tmp_path, seed, monkeypatch)
    assert shown(ada) == truth([*ada.records()])
    union = [*merge(ada.records(), ben.records())]
    chance = random.Random(seed)
    for i in range(2):
        chance.shuffle(union)
        other = Notes.open(tmp_path / f"{i}.db", atlas=ATLAS)
        rest = [*union]
        while rest:  # as they may come in by several exchanges, some twice
            n = chance.randrange(1, 20)
            other.add(rest[:n] + chance.sample(union, 2))
            rest = rest[n:]
        assert shown(other) == truth(union)
        wanted = truth(union)
        for record in union:
            if isinstance(record, Label | Note):
                found = {row.id for row in other.search(record.text).rows}
                assert (record.id in found) == (record.id in wanted)
    ada.add(ben.records())
    ben.add(ada.records())
    assert shown(ada) == shown(ben) == truth(union)


@pytest.mark.parametrize("seed", SEEDS)
def test_files_merge_like_records(tmp_path, seed, monkeypatch):
    ada, ben = apart(tmp_path, seed, monkeypatch)
    export_notes(ada, tmp_path / "a")
    export_notes(ben, tmp_path / "b")
    n = merge_notes([tmp_path / "a", tmp_path / "b"], tmp_path / "ab")
    merge_notes([tmp_path / "b", tmp_path / "a", tmp_path / "ab"], tmp_path / "ba")
    assert contents(tmp_path / "ab") == contents(tmp_path / "ba")
    export_notes(ben, tmp_path / "a")  # into what a colleague exported
    assert contents(tmp_path / "a") == contents(tmp_path / "ab")
    fresh = Notes.open(tmp_path / "fresh.db", atlas=ATLAS)
    assert import_notes(fresh, tmp_path / "ab").added == n
    again = import_notes(fresh, tmp_path / "ab")
    assert (again.added, again.known) == (0, n)
    assert shown(fresh) == truth([*fresh.records()]) and [*fresh.records()] == merge(ada.records(), ben.records())
    assert export_notes(fresh, tmp_path / "c") == n and contents(tmp_path / "c") == contents(tmp_path / "ab")


def test_git_merges_the_files(tmp_path):
    notes = Notes.open(tmp_path / "notes.db", atlas=ATLAS)
    start = [notes.label(5, f"start {i}", author=f"author {i}") for i in range(3)]
    repository = tmp_path / "repository"

    def git(*words: str) -> str:
        as_us = ["-c", "user.name=u", "-c", "user.email=u@example.org", "-c", "commit.gpgsign=false"]
        done = subprocess.run(["git", *as_us, *words], cwd=repository, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    export_notes(notes, repository)
    git("init", "-q", "-b", "main")
    git("add", "-A")
    git("commit", "-qm", "start")
    notes.close()  # so that all of it is in the one file
    for name in ("ada", "ben"):
        shutil.copy(tmp_path / "notes.db", tmp_path / f"{name}.db")
        mine = Notes.open(tmp_path / f"{name}.db", atlas=ATLAS)
        mine.label(5, f"by {name}", author="author 1")  # the same feature, and the same author's label
        mine.note(5, f"A note by {name}.", author=name)
        mine.make_list(f"List of {name}", author=name, features=[5, 6])
        git("checkout", "-q", "-b", name, "main")
        export_notes(mine, repository)
        git("add", "-A")
        git("commit", "-qm", name)
    git("merge", "-q", "-m", "both", "ada")
    together = Notes.open(tmp_path / "together.db", atlas=ATLAS)
    import_notes(together, repository)
    assert {note.text for note in together.notes_of(5)} == {"A note by ada.", "A note by ben."}
    assert {row.list.name for row in together.lists()} == {"List of ada", "List of ben"}
    names = {each.label.author: each.label.text for each in together.labels_of([5])[5]}
    assert names == {"author 0": "start 0", "author 1": "by ben", "author 2": "start 2"}
    assert {record.id for record in start} <= {record.id for record in together.records()}
    assert git("status", "--porcelain") == ""


def test_conflict_marks_are_passed_over_and_other_lines_are_not(tmp_path):
    notes = Notes.open(tmp_path / "notes.db", atlas=ATLAS)
    first, second = notes.label(130, "dogs", author="Ada"), notes.note(130, "odd\u2028text\n\nhere", author="Ada")
    export_notes(notes, tmp_path / "out")
    assert sorted(contents(tmp_path / "out")) == [
        ".gitattributes", "labels/000100.jsonl", "notes.json", "notes/000100.jsonl",
    ]  # fmt: skip
    file = tmp_path / "out" / "labels" / "000100.jsonl"
    marked = f"<<<<<<< HEAD\n{first.model_dump_json()}\r\n=======\n{first.model_dump_json()}\n>>>>>>> theirs\n\n"
    file.write_text(marked)
    fresh = Notes.open(tmp_path / "fresh.db", atlas=ATLAS)
    assert import_notes(fresh, tmp_path / "out").added == 2
    assert [note.text for note in fresh.notes_of(130)] == [second.text]
    file.write_text(marked + '{"kind":"label"}\n')
    with pytest.raises(BadInput, match=r"000100\.jsonl, line 7 is not a record of notes.*label\.id"):
        import_notes(fresh, tmp_path / "out")
    file.write_text(first.model_dump_json().replace("dogs", "wolves") + "\n")
    with pytest.raises(BadInput, match=f"(?s)Two different records have the id {first.id}.*dogs.*wolves.*replaces"):
        import_notes(fresh, tmp_path / "out")


def test_notes_of_another_atlas_are_refused(tmp_path):
    notes = Notes.open(tmp_path / "notes.db", atlas=ATLAS)
    notes.label(1, "dogs", author="Ada")
    export_notes(notes, tmp_path / "out")
    other = Notes.open(tmp_path / "other.db", atlas="b" * 64)
    for attempt in (lambda: import_notes(other, tmp_path / "out"), lambda: export_notes(other, tmp_path / "out")):
        with pytest.raises(BadInput, match=f"hash {ATLAS}, this one's has {'b' * 64}"):
            attempt()
    export_notes(other, tmp_path / "theirs")
    with pytest.raises(BadInput, match="another atlas"):
        merge_notes([tmp_path / "out", tmp_path / "theirs"], tmp_path / "both")
    assert not (tmp_path / "both").exists()
    with pytest.raises(BadInput, match="no notes.json"):
        import_notes(notes, tmp_path / "nowhere")
    with pytest.raises(BadInput, match="nothing to merge"):
        merge_notes([], tmp_path / "both")
    header = tmp_path / "out" / "notes.json"
    for text, words in (
        ("{", "cannot be read"),
        ('{"notes": 2, "atlas": "x"}', "format 2; this physalis reads up to 1"),
    ):
        header.write_text(text)
        with pytest.raises(BadInput, match=words):
            import_notes(notes, tmp_path / "out")
    header.unlink()
    with pytest.raises(BadInput, match="is there without a notes.json"):
        export_notes(notes, tmp_path / "out")


EXPORTER = """
import sys
from physalis.people.notes import Notes
from physalis.people.notes.files import export_notes

notes = Notes.open(sys.argv[1], atlas=sys.argv[2])
print("ready", flush=True)
export_notes(notes, sys.argv[3])
"""


def test_a_killed_export_is_completed_by_the_next(tmp_path):
    notes = Notes.open(tmp_path / "notes.db", atlas=ATLAS)
    notes.add(records.write(Label, author="Ada", feature=i, text=f"label {i}") for i in range(0, 6_000, 50))
    began = time.perf_counter()
    export_notes(notes, tmp_path / "whole")
    seconds = time.perf_counter() - began
    chance, out, killed = random.Random(0), tmp_path / "killed", 0
    for _ in range(4):
        shutil.rmtree(out, ignore_errors=True)
        arguments = [sys.executable, "-c", EXPORTER, str(notes.path), ATLAS, str(out)]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None and child.stdout.readline()
            time.sleep(chance.uniform(0, seconds))
            child.send_signal(signal.SIGKILL)
        killed += child.returncode == -signal.SIGKILL
        if (out / "notes.json").exists():
            import_notes(notes, out)  # whole lines of known records, or it would raise
        export_notes(notes, out)
        assert {k: v for k, v in contents(out).items() if not k.endswith(".tmp")} == contents(tmp_path / "whole")
    assert killed
