"""Notes and comments on a disk that may only be read, and the logs that an older physalis left beside them."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from small import copied, small_atlas
from test_replaced import Stage, refused

from physalis.atlas import Atlas
from physalis.errors import BadInput
from physalis.people import notes as notes_
from physalis.people.comments import Database, beside
from physalis.people.notes import Notes
from physalis.web.atlas.app import create_app


@pytest.fixture(scope="module")
def one(tmp_path_factory) -> Path:
    return small_atlas(tmp_path_factory.mktemp("one") / "atlas", dictionary="d" * 64).folder


def test_a_log_left_by_an_older_physalis_is_taken_into_the_file(one, tmp_path):
    folder = copied(one, tmp_path / "atlas")
    file, atlas = notes_.beside(folder), Atlas.open(folder)
    Notes.open(file, atlas=atlas.manifest.hash).label(5, "one", author="Ada")
    # As an older one left it when it was killed: in the log alone.
    code = (
        "import sqlite3, os, sys; db = sqlite3.connect(sys.argv[1], isolation_level=None);"
        "db.execute('PRAGMA journal_mode = WAL'); db.execute('PRAGMA wal_autocheckpoint = 0');"
        "db.execute(\"UPDATE records SET body = replace(body, 'one', 'two')\"); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code, str(file)], check=True)
    assert file.with_name(f"{file.name}-wal").stat().st_size
    found = Notes.open(file, atlas=atlas.manifest.hash)
    assert [each.label.text for each in found.labels_of([5])[5]] == ["two"]
    assert not file.with_name(f"{file.name}-wal").exists()


def read_only(folder: Path) -> None:
    """As on a disk that is mounted so: SQLite opens no file there to write, and none may be made. Mounts one where that
    is allowed."""
    mounted = subprocess.run(["mount", "--bind", str(folder), str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("this user may not mount")
    subprocess.run(["mount", "-o", "remount,ro,bind", str(folder)], check=True)


@pytest.mark.parametrize("log", [False, True])
def test_an_atlas_on_a_read_only_disk_is_read_with_all_beside_it(one, tmp_path, log, physalis):
    home = tmp_path / "home"
    home.mkdir()
    stage = Stage(copied(one, home / "atlas"))
    assert stage.label("one").status_code == 201 and stage.comment("two").status_code == 201
    waiting = stage.client.get("/api/comments/queue").json()[0]
    stage.client.post(f"/api/comments/{waiting['id']}/publish", json={"version": 1}, headers=stage.csrf)
    stage.notes.close()
    stage.comments.close()
    if log:
        for file in (stage.notes_file, stage.comments.file):
            with closing(sqlite3.connect(file)) as db:
                db.execute("PRAGMA journal_mode = WAL")
    read_only(home)
    try:
        atlas = Atlas.open(home / "atlas")
        notes = Notes.open(stage.notes_file, atlas=atlas.manifest.hash)
        comments = Database(beside(home / "atlas"))
        client = TestClient(create_app(atlas, notes=notes, author="Ada", comments=comments))
        assert client.get("/features/5").status_code == 200
        assert [e["label"]["text"] for e in client.get("/api/notes/features/5").json()["labels"]] == ["one"]
        assert client.get("/api/comments?on=feature/5").json()[0]["comment"]["text"] == "two"
        refused(
            client.post("/api/notes/labels", json={"feature": 5, "text": "x"}), "Nothing was written", "only be read"
        )
        code, _, said = physalis("publish", home / "atlas", "--out", tmp_path / "site", "--most", 3)
        assert code == 0, said
        code, _, said = physalis("comments", "invite", home / "atlas", "Ben", "Here")
        assert code == 2 and "only be read" in said, said
    finally:
        subprocess.run(["umount", "-l", str(home)], check=True)


@pytest.mark.parametrize("index", [True, False])
def test_a_log_on_a_read_only_disk_is_not_passed_over(one, tmp_path, index):
    """It holds what was written last: an older state would be shown without a word. SQLite reads it where its index is
    there as well."""
    home = tmp_path / "home"
    home.mkdir()
    folder = copied(one, home / "atlas")
    hash = Atlas.open(folder).manifest.hash
    Notes.open(notes_.beside(folder), atlas=hash).label(5, "one", author="Ada")
    code = (
        "import sqlite3, os, sys; db = sqlite3.connect(sys.argv[1], isolation_level=None);"
        "db.execute('PRAGMA journal_mode = WAL');"
        "db.execute(\"UPDATE records SET body = replace(body, 'one', 'two')\"); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code, str(notes_.beside(folder))], check=True)
    if not index:
        notes_.beside(folder).with_name("atlas.notes.db-shm").unlink()
    read_only(home)
    try:
        if index:
            found = Notes.open(notes_.beside(folder), atlas=hash).labels_of([5])[5]
            assert [each.label.text for each in found] == ["two"]
            return
        with pytest.raises(BadInput, match="stands in .*-wal, which can be read only where both may be written"):
            Notes.open(notes_.beside(folder), atlas=hash)
    finally:
        subprocess.run(["umount", "-l", str(home)], check=True)
