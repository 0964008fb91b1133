"""Annotations: notes and comments through one door: in order, by whom, seen by who may, and with either file gone."""

from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import pytest
from test_comments import Stage

from physalis.artifact import Manifest
from physalis.errors import BadInput, Unavailable
from physalis.people import notes as notes_
from physalis.people import spelling
from physalis.people.annotations import Annotations
from physalis.people.comments import beside
from physalis.people.comments.anchors import FeatureAnchor, FigureAnchor, PassageAnchor
from physalis.people.notes import Notes
from physalis.people.notes.records import Label
from physalis.people.records import Person
from physalis.people.refusals import NotAllowed

TWELVE = FeatureAnchor(feature=12)
WORDS = PassageAnchor(article="commas", exact="a comma")


class Here(NamedTuple):
    """As much of an open atlas as its annotations ask for."""

    folder: Path
    manifest: Manifest


class Desk:
    """An atlas with notes and comments beside it, whose clocks go together."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.atlas = Here(folder / "atlas", Manifest(kind="atlas", config={}))
        self.notes = Notes.open(notes_.beside(self.atlas.folder), atlas=self.atlas.manifest.hash)
        self.stage = Stage(beside(self.atlas.folder))
        patch.setattr(spelling, "now", lambda: spelling.spell(datetime.fromtimestamp(self.stage.time + 0.25)))
        self.door = Annotations.beside(self.atlas)

    def later(self) -> None:
        self.stage.time += 60

    def told(self, thing=12, by=None) -> list[tuple[str, str]]:
        return [(each.kind, each.text) for each in self.door.on(thing, by)]


@pytest.fixture
def desk(tmp_path, monkeypatch) -> Desk:
    return Desk(tmp_path, monkeypatch)


def test_both_kinds_stand_together_in_the_order_of_their_time(desk):
    stage = desk.stage
    label = desk.notes.label(12, "names of dogs", author="Ada")
    desk.later()
    comment = stage.published("It fires on *commas*.")
    desk.notes.note(12, "A quarter of a second later.", author="Ben")
    desk.later()
    desk.notes.vote(12, "label", label.id, -1, author="Ben")
    desk.later()
    reply = stage.comments.reply(stage.other, comment.id, "Does it?")
    stage.comments.publish(stage.owner, reply.id, 1)
    desk.later()
    desk.notes.make_list("Pets", author="Cy", features=[12, 3])

    found = desk.door.on(12)
    assert [(each.kind, each.text) for each in found] == [
        ("label", "names of dogs"), ("comment", "It fires on *commas*."), ("note", "A quarter of a second later."),
        ("vote", "-1"), ("reply", "Does it?"), ("entry", ""),
    ]  # fmt: skip
    assert [each.time for each in found] == sorted(each.time for each in found)
    assert {len(each.time) for each in found} == {27} and {each.place for each in found} == {"feature/12"}
    assert {each.state for each in found} == {"published"} and found[0].record == label
    assert found[0].author == Person.named("Ada") and found[0].author.role == "name"
    guest = stage.guest
    assert found[1].author == Person(id=guest.id, name=guest.name, affiliation="Cirey", role="guest")
    assert desk.door.on(TWELVE) == desk.door.on("feature/12") == found and desk.told(3) == [("entry", "")]


def test_what_waits_is_shown_to_its_author_and_the_owner_alone(desk):
    stage = desk.stage
    waiting = stage.comments.write(stage.guest, TWELVE, "Not yet.")
    assert desk.told() == desk.told(by=stage.other) == desk.told(by=Person.named(stage.guest.name)) == []
    for person in (stage.guest, stage.owner):
        (found,) = desk.door.on(12, person)
        assert (found.state, found.record) == ("waiting", waiting)
    stage.comments.publish(stage.owner, waiting.id, 1)
    reply = stage.comments.reply(stage.other, waiting.id, "So it is.")
    stage.comments.publish(stage.owner, reply.id, 1)
    assert desk.told() == [("comment", "Not yet."), ("reply", "So it is.")]
    stage.comments.withdraw(stage.guest, waiting.id)
    assert desk.told() == []  # a reply is hidden with what it replies to
    assert [each.state for each in desk.door.on(12, stage.owner)] == ["withdrawn", "published"]
    stage.change("UPDATE comments SET state = 'published' WHERE id = ?", waiting.id)
    assert desk.told(by=stage.owner) == [("reply", "So it is.")]  # its seal does not fit


def test_what_is_no_more_is_not_shown(desk):
    notes = desk.notes
    label = notes.label(12, "dogs", author="Ada")
    notes.vote(12, "label", label.id, 1, author="Ben")
    notes.vote(12, "explanation", "written elsewhere", 1, author="Ben")
    pets = notes.make_list("Pets", author="Ada", features=[12]).list.list
    assert sorted(kind for kind, _ in desk.told()) == ["entry", "label", "vote", "vote"]
    notes.label(12, "cats", author="Ada")
    notes.remove_list(pets, author="Ben")
    assert sorted(desk.told()) == [("label", "cats"), ("vote", "+1")]
    notes.remove(Label, notes.labels_of([12])[12][0].label.id, author="Ada")
    assert desk.told() == [("vote", "+1")]


def test_anchors_of_articles_and_figures(desk):
    for anchor, text in ((WORDS, "passage"), (WORDS.model_copy(update={"exact": "two"}), "other words")):
        desk.stage.published(text, anchor)
        desk.later()
    desk.stage.published("figure", FigureAnchor(figure="commas.first"))
    assert [text for _, text in desk.told("article/commas")] == ["passage", "other words", "figure"]
    assert desk.told(WORDS) == [("comment", "passage")]
    assert desk.told(FigureAnchor(figure="commas.first")) == [("comment", "figure")]
    assert desk.told("article/other") == desk.told() == []
    for wrong in ("feature", -1, 2**31, "article/../.."):
        with pytest.raises(BadInput, match="No comment can hang on"):
            desk.door.on(wrong)


def test_search_goes_through_both(desk):
    stage = desk.stage
    desk.notes.label(3, "Rotkäppchen and wolves", author="Ada")
    desk.later()
    stage.published("Wolves, as in *Rotkappchen*.")
    desk.later()
    waiting = stage.comments.write(stage.guest, WORDS, "rotkappchen again: a wolfhound")
    desk.later()
    desk.notes.note(5, "Neither of them.", author="Ada")
    found = desk.door.search("rotkappch")
    assert [(each.kind, each.place) for each in found] == [("comment", "feature/12"), ("label", "feature/3")]
    assert [each.id for each in desk.door.search("ROTKÄPPCHEN wolf", stage.owner)][0] == waiting.id
    assert len(desk.door.search("rotkappchen wolves")) == 2 and len(desk.door.search("rotkappch", most=0)) == 0
    assert desk.door.search('" OR *') == desk.door.search("") == desk.door.search("wolv otter") == []


@pytest.mark.parametrize("gone", ["notes", "comments", "both"])
def test_either_may_be_missing(desk, gone):
    desk.notes.note(12, "A note.", author="Ada")
    desk.stage.published("A comment.")
    desk.door.close()
    if gone != "comments":
        notes_.beside(desk.atlas.folder).unlink()
    if gone != "notes":
        (beside(desk.atlas.folder) / "comments.db").unlink()
    left = {"notes": ["A comment."], "comments": ["A note."], "both": []}[gone]
    door = Annotations.beside(desk.atlas)
    assert [each.text for each in door.on(12)] == [each.text for each in door.search("a")] == left
    assert (door.notes is None, door.comments is None) == (gone != "comments", gone != "notes")
    assert gone == "comments" or not notes_.beside(desk.atlas.folder).exists()  # looking makes nothing
    assert Annotations.beside(desk.atlas, writes=True).notes is not None and notes_.beside(desk.atlas.folder).exists()
    door.close()


@pytest.mark.parametrize("which", ["notes", "comments"])
def test_a_damaged_file_is_a_sentence(desk, which):
    desk.notes.note(12, "A note.", author="Ada")
    desk.stage.published("A comment.")
    file = notes_.beside(desk.atlas.folder) if which == "notes" else beside(desk.atlas.folder) / "comments.db"
    file.write_bytes(b"no database " * 400)
    with pytest.raises(Unavailable, match=f"{file.name} is not a database: it is damaged"):
        desk.door.on(12)
    with pytest.raises(BadInput, match=f"{file.name} cannot be .*damaged"):
        Annotations.beside(desk.atlas)


def test_notes_of_another_atlas_are_refused(desk):
    other = Here(desk.atlas.folder, Manifest(kind="atlas", config={"other": 1}))
    with pytest.raises(BadInput, match="notes about another atlas"):
        Annotations.beside(other)


def test_closed_connections_are_opened_again_if_asked(desk):
    desk.notes.note(12, "A note.", author="Ada")
    desk.stage.published("A comment.")
    before = desk.door.notes._db, desk.door.database.rows
    desk.door.close()
    assert len(desk.told()) == 2
    assert desk.door.notes._db is not before[0] and desk.door.database.rows is not before[1]
    Annotations().close()
    assert Annotations().on(12) == Annotations().search("a") == []


def test_a_mere_name_writes_no_comment(desk):
    with pytest.raises(NotAllowed, match="Only who was invited comments; 'Ada' is a name that nothing proves"):
        desk.stage.comments.write(Person.named("Ada"), TWELVE, "True.")
