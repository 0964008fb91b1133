"""What a stranger leaves beside an atlas: journals that have SQLite delete other files, links, and no key."""

import struct

import pytest
from small import small_atlas

from physalis.atlas import Atlas
from physalis.errors import BadInput, Unavailable
from physalis.people import notes as notes_
from physalis.people.comments import Database, Invitations, beside
from physalis.people.notes import Notes

MAGIC = bytes.fromhex("d9d505f920a163d7")


@pytest.fixture
def atlas(tmp_path) -> Atlas:
    atlas = small_atlas(tmp_path / "a", dictionary="d" * 64)
    Notes.open(notes_.beside(atlas.folder), atlas=atlas.manifest.hash)
    Invitations(Database(beside(atlas.folder))).invite("Ada")
    return atlas


def open_notes(atlas: Atlas) -> Notes:
    return Notes.open(notes_.beside(atlas.folder), atlas=atlas.manifest.hash)


def files(atlas: Atlas) -> list:
    return [notes_.beside(atlas.folder), beside(atlas.folder) / "comments.db"]


def open_all(atlas: Atlas) -> list:
    return [lambda: open_notes(atlas), lambda: Database(beside(atlas.folder))]


@pytest.mark.parametrize("i", [0, 1], ids=["notes", "comments"])
def test_a_journal_has_no_other_file_deleted(atlas, tmp_path, i):
    """https://www.sqlite.org/fileformat.html: a journal may name a super-journal, which is deleted after it."""
    thesis, file = tmp_path / "thesis.tex", files(atlas)[i]
    thesis.write_text("mine")
    name = str(thesis).encode()
    pages = file.stat().st_size // 4096
    head = MAGIC + struct.pack(">IIIII", 0, 1, pages, 512, 4096)
    end = struct.pack(">I", 2**30 // 4096 + 1) + name + struct.pack(">II", len(name), sum(name)) + MAGIC
    journal = file.with_name(f"{file.name}-journal")
    journal.write_bytes(head.ljust(512, b"\0") + end)
    with pytest.raises(BadInput, match="names another file, which no change of ours does"):
        open_all(atlas)[i]()
    assert thesis.read_text() == "mine" and journal.exists()


@pytest.mark.parametrize("i", [0, 1], ids=["notes", "comments"])
@pytest.mark.parametrize("suffix", ["", "-journal", "-wal"])
def test_no_link_beside_an_atlas_is_followed(atlas, tmp_path, i, suffix):
    file = files(atlas)[i]
    place = file.with_name(file.name + suffix)
    if place.exists():
        place.unlink()
    place.symlink_to(tmp_path / "elsewhere.db")
    with pytest.raises(BadInput, match="is a link"):
        open_all(atlas)[i]()
    assert not (tmp_path / "elsewhere.db").exists()


def test_a_folder_of_comments_is_no_link(atlas, tmp_path):
    folder = beside(atlas.folder)
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BadInput, match="reached by a link"):
        Database(folder)


def test_no_comment_is_taken_that_nobody_could_open(atlas):
    database = Database(beside(atlas.folder))
    (database.file.with_name("comments.key")).unlink()
    with pytest.raises(Unavailable, match="comments.key is gone"):
        Invitations(database).invite("Bea")
