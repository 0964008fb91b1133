"""An atlas, its notes and its comments that are cut, overwritten, rebuilt, moved away and brought back while served."""

import logging
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from small import copied, small_atlas
from tree import ROOT

from physalis.atlas import Atlas
from physalis.databases import shared
from physalis.errors import Unavailable
from physalis.people import notes as notes_
from physalis.people.comments import Database, Invitations, beside
from physalis.people.notes import Notes
from physalis.web.atlas.app import create_app

PAGES = (
    "/",
    "/features",
    "/features/5",
    "/features/5.json",
    "/map",
    "/api/map",
    "/api/features?query=ba",
    "/api/random",
)


@pytest.fixture(scope="module")
def one(tmp_path_factory) -> Path:
    return small_atlas(tmp_path_factory.mktemp("one") / "atlas", dictionary="d" * 64).folder


@pytest.fixture(scope="module")
def rebuilt(tmp_path_factory) -> Path:
    """Another atlas of the same dictionary."""
    return small_atlas(tmp_path_factory.mktemp("rebuilt") / "atlas", seed=1, dictionary="d" * 64).folder


@pytest.fixture(scope="module")
def stranger(tmp_path_factory) -> Path:
    return small_atlas(tmp_path_factory.mktemp("stranger") / "atlas", seed=2, dictionary="e" * 64).folder


class Stage:
    """An atlas with notes and comments, served."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.notes_file = notes_.beside(folder)
        self.atlas = Atlas.open(folder)
        self.notes = Notes.open(self.notes_file, atlas=self.atlas.manifest.hash)
        self.comments = Database(beside(folder))
        link = Invitations(self.comments).invite("Ada", role="owner").token
        app = create_app(self.atlas, notes=self.notes, author="Ada", comments=self.comments)
        self.client = TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False)
        self.client.post("/api/comments/session", json={"token": link})
        self.csrf = {"x-csrf-token": self.client.get("/api/comments/me").json()["csrf"]}

    def get(self, path: str) -> Any:
        return self.client.get(path)

    def label(self, text: str) -> Any:
        return self.client.post("/api/notes/labels", json={"feature": 5, "text": text})

    def comment(self, text: str) -> Any:
        body = {"anchor": {"kind": "feature", "feature": 5}, "text": text}
        return self.client.post("/api/comments", json=body, headers=self.csrf)

    def labels(self) -> list[str]:
        return [each["label"]["text"] for each in self.get("/api/notes/features/5").json()["labels"]]

    def settled(self, path: str = "/features/5.json") -> Any:
        """The answer once what stands there was looked at."""
        for _ in range(200):
            answer = self.get(path)
            if "being looked at" not in answer.text and "changed while" not in answer.text:
                return answer
            time.sleep(0.02)
        raise AssertionError(answer.text)


@pytest.fixture
def stage(one, tmp_path) -> Stage:
    return Stage(copied(one, tmp_path / "atlas"))


def refused(answer: Any, *words: str) -> None:
    assert answer.status_code == 503, answer.text
    for word in words:
        assert word in answer.text, answer.text
    assert str(ROOT) not in answer.text and "/tmp" not in answer.text


def all_refused(stage: Stage, *words: str) -> None:
    stage.settled()
    for path in PAGES:
        refused(stage.settled(path), *words)


# The atlas


def test_an_atlas_cut_short_is_refused_and_shown_again_when_it_is_whole(stage, one, caplog):
    before = stage.get("/features/5.json").json()
    with open(stage.folder / "atlas.db", "r+b") as f:
        f.truncate(20_000)
    all_refused(stage, "cannot be shown just now", "copied, or damaged")
    with caplog.at_level(logging.WARNING, "physalis"):
        shutil.copyfile(one / "atlas.db", stage.folder / "atlas.db")
        assert stage.settled().json() == before
    assert "is whole, and shown again" in caplog.text
    assert all(stage.get(path).status_code == 200 for path in PAGES)


def test_half_of_another_atlas_in_place_is_never_shown(stage, rebuilt):
    before = stage.get("/features/5.json").json()
    new = (rebuilt / "atlas.db").read_bytes()
    with open(stage.folder / "atlas.db", "r+b") as f:
        f.write(new[: len(new) // 2])
        f.flush()
        all_refused(stage, "copied, or damaged")
        f.write(new[len(new) // 2 :])
        f.truncate()
    all_refused(stage, "copied, or damaged")  # the manifest is of the old one
    shutil.copyfile(rebuilt / "manifest.json", stage.folder / "manifest.json")
    after = stage.settled().json()
    assert after == Atlas.open(rebuilt)[5].model_dump(mode="json") and after != before
    assert stage.get("/map.json").json() == Atlas.open(rebuilt).map().model_dump(mode="json")


def test_an_atlas_built_again_is_taken_up_and_notes_stay_with_it(stage, rebuilt, caplog):
    assert stage.label("commas").status_code == 201
    shutil.rmtree(stage.folder)
    all_refused(stage, "not in their place")
    with caplog.at_level(logging.WARNING, "physalis"):
        copied(rebuilt, stage.folder)
        assert stage.settled().json() == Atlas.open(rebuilt)[5].model_dump(mode="json")
    assert "physalis notes rebind" in caplog.text
    assert stage.labels() == ["commas"] and stage.label("dots").status_code == 201
    assert stage.get("/").text.count("synthetic") and stage.get("/map").status_code == 200


def test_the_atlas_of_another_dictionary_is_refused(stage, stranger, one):
    shutil.rmtree(stage.folder)
    copied(stranger, stage.folder)
    all_refused(stage, "another dictionary", "start the server anew")
    shutil.rmtree(stage.folder)
    copied(one, stage.folder)
    assert stage.settled().status_code == 200


def test_an_atlas_moved_away_and_back(stage):
    before = stage.get("/map.json").json()
    away = stage.folder.with_name("away")
    stage.folder.rename(away)
    all_refused(stage, "not in their place")
    away.rename(stage.folder)
    assert stage.get("/map.json").json() == before  # nothing happened to it: at once


def test_all_threads_see_one_file(stage, rebuilt):
    from concurrent.futures import ThreadPoolExecutor

    old, new = (Atlas.open(folder)[7].headline for folder in (stage.folder, rebuilt))
    stop = time.monotonic() + 1.5

    def ask(_: int) -> list[str]:
        seen = []
        while time.monotonic() < stop:
            try:
                seen.append(stage.atlas[7].headline)
                assert stage.atlas.rows([7])[0].headline in (old, new)
            except Unavailable:
                seen.append("")
        return seen

    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(ask, i) for i in range(4)]
        time.sleep(0.3)
        shutil.copyfile(rebuilt / "atlas.db", stage.folder / "atlas.db")
        time.sleep(0.2)
        shutil.copyfile(rebuilt / "manifest.json", stage.folder / "manifest.json")
        for seen in (each.result() for each in asked):
            answers = [each for each in seen if each]
            assert answers == [old] * answers.count(old) + [new] * answers.count(new)
            assert answers.count(new)


def test_a_server_outlives_a_file_cut_under_it(one, tmp_path):
    """By SIGBUS, a file that is mapped into memory ends the process."""
    folder = copied(one, tmp_path / "atlas")
    command = [sys.executable, "-m", "physalis", "serve", str(folder), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        line = next(line for line in server.stderr if " is at http" in line)
        address = line.split(" is at ")[1].split(" ")[0].rstrip("/")
        urllib.request.urlopen(f"{address}/features/5", timeout=20).read()
        os.truncate(folder / "atlas.db", 9000)
        for path in ("/features/6", "/map", "/features"):
            with pytest.raises(urllib.error.HTTPError, match="503"):
                urllib.request.urlopen(address + path, timeout=20)
        server.send_signal(signal.SIGKILL)


# Notes and comments


@pytest.mark.parametrize("kind", ["notes", "comments"])
def test_what_was_acknowledged_stands_in_the_file_that_stands_there(stage, kind, caplog):
    file = stage.notes_file if kind == "notes" else stage.comments.file
    write = stage.label if kind == "notes" else stage.comment
    assert write("one").status_code == 201
    old = file.with_name("old")
    file.rename(old)
    shutil.copyfile(old, file)
    with caplog.at_level(logging.WARNING, "physalis"):
        assert write("two").status_code == 201
    assert "was replaced" in caplog.text
    texts = {"notes": "SELECT body FROM records", "comments": "SELECT text FROM versions"}
    with closing(sqlite3.connect(file)) as db:
        assert any("two" in body for (body,) in db.execute(texts[kind]))
    assert sorted(each.name for each in file.parent.glob(f"{file.name}-*")) == []  # no log of the old one beside it
    with closing(sqlite3.connect(old)) as db:
        assert not any("two" in body for (body,) in db.execute(texts[kind]))


@pytest.mark.parametrize("kind", ["notes", "comments"])
def test_a_deleted_file_is_said_and_its_copy_taken_up(stage, kind):
    file = stage.notes_file if kind == "notes" else stage.comments.file
    write = stage.label if kind == "notes" else stage.comment
    assert write("one").status_code == 201
    kept = file.with_name("kept")
    shutil.copyfile(file, kept)
    file.unlink()
    for _ in range(2):
        refused(write("two"), "moved or deleted")
    assert not file.exists()
    page = stage.get("/features/5")
    assert page.status_code == 200 and ('"said":' in page.text) == (kind == "comments")
    kept.rename(file)
    assert write("three").status_code == 201
    if kind == "notes":
        assert stage.labels() == ["three"]


@pytest.mark.parametrize("kind", ["notes", "comments"])
def test_garbage_is_said(stage, kind):
    file = stage.notes_file if kind == "notes" else stage.comments.file
    write = stage.label if kind == "notes" else stage.comment
    assert write("one").status_code == 201
    whole = file.read_bytes()
    file.write_bytes(os.urandom(len(whole)))
    refused(write("two"), "damaged")
    refused(stage.get("/api/notes/features/5" if kind == "notes" else "/api/comments?on=feature/5"), "damaged")
    assert stage.get("/features/5").status_code == 200
    file.write_bytes(whole)
    assert write("three").status_code == 201


def test_a_page_damaged_inside_the_notes_keeps_them_from_being_written_on(stage):
    for i in range(40):
        assert stage.label(f"label {i}" + "x" * 1000).status_code == 201
    whole = bytearray(stage.notes_file.read_bytes())
    for at in range(8 * 4096, len(whole), 4096):
        whole[at : at + 64] = os.urandom(64)
    stage.notes_file.write_bytes(whole)
    refused(stage.label("two"), "Nothing was written", "damaged")


def test_notes_of_another_atlas_in_their_place(stage):
    other = stage.notes_file.with_name("other.db")
    Notes.open(other, atlas="b" * 64).label(5, "theirs", author="Ben")
    shutil.copyfile(other, stage.notes_file)
    refused(stage.label("two"), "another atlas")
    refused(stage.get("/api/notes/features/5"), "another atlas")


@pytest.mark.parametrize("kind", ["notes", "comments"])
def test_a_write_is_not_acknowledged_if_the_file_goes_meanwhile(stage, kind, monkeypatch):
    file = stage.notes_file if kind == "notes" else stage.comments.file
    write = stage.label if kind == "notes" else stage.comment
    assert write("one").status_code == 201
    real, moment = shared.Shared._same, {"calls": 0}

    def same(self, *asked, **options):
        moment["calls"] += 1
        if moment["calls"] == moment["at"]:
            file.rename(file.with_name("gone"))
            shutil.copyfile(file.with_name("gone"), file)
        return real(self, *asked, **options)

    monkeypatch.setattr(shared.Shared, "_same", same)
    for at, said in ((1, "Nothing was written"), (2, "Nothing was written"), (3, "not sure that this was kept")):
        moment |= {"calls": 0, "at": at}
        refused(write(f"at {at}"), said)
    monkeypatch.setattr(shared.Shared, "_same", real)
    assert write("last").status_code == 201


@pytest.mark.parametrize("kind", ["notes", "comments"])
def test_a_locked_file_is_said(stage, kind):
    file = stage.notes_file if kind == "notes" else stage.comments.file
    owner = stage.notes if kind == "notes" else stage.comments
    write = stage.label if kind == "notes" else stage.comment
    owner._file._busy_s = 0.05
    owner.close()
    with closing(sqlite3.connect(file, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        refused(write("two"), "locked by another program", "Nothing was written")
        db.execute("ROLLBACK")
    assert write("three").status_code == 201


def test_what_another_writes_right_after_a_change_is_seen(tmp_path, monkeypatch):
    """Between the change and the look at the file that it left."""
    ours, other = (Notes.open(tmp_path / "atlas.notes.db", atlas="a" * 64) for _ in range(2))
    plain = shared.Shared._same

    def same(self, before, **options):
        if not self._local.held.db.in_transaction:
            monkeypatch.setattr(shared.Shared, "_same", plain)
            other.label(5, "theirs", author="Bob")
        return plain(self, before, **options)

    monkeypatch.setattr(shared.Shared, "_same", same)
    ours.label(9, "ours", author="Ada")
    assert [each.label.text for each in ours.of(5).labels] == ["theirs"]
    assert [each.label.text for each in ours.of(9).labels] == ["ours"]
