"""What visitors are told where something goes wrong: a sentence that names no folder of the server."""

import logging
import tempfile
from pathlib import Path

import anyio
import pytest
from fastapi import APIRouter, FastAPI, HTTPException
from fastapi.responses import HTMLResponse, StreamingResponse
from fastapi.testclient import TestClient

from physalis.errors import BadInput
from physalis.people.notes import Notes
from physalis.web import create_app
from physalis.web.guard.journal import Seldom
from physalis.web.server.refusals import without_paths
from physalis.web.server.rooms import HEADERS, Room, app_of


def page(title, *, status=200, error="", **records):
    return HTMLResponse(f"<title>{title}</title>{error}", status)


def failing() -> FastAPI:
    router = APIRouter()

    @router.get("/api/{kind}")
    @router.get("/{kind}")
    def fail(kind: str) -> str:
        raise {"key": KeyError, "deep": RecursionError, "memory": MemoryError}[kind](f"{Path.home()}/secret")

    @router.get("/api/half/done")
    def half() -> StreamingResponse:
        def parts():
            yield b"[1, "
            raise KeyError("gone")

        return StreamingResponse(parts(), media_type="application/json")

    return app_of([Room("failing", [router], "/key", pages=page)])


def test_what_nobody_foresaw_is_told_in_a_sentence(caplog):
    client = TestClient(failing())
    for kind in ("key", "deep", "memory"):
        told, shown = client.get(f"/api/{kind}"), client.get(f"/{kind}")
        assert told.status_code == shown.status_code == 500
        sentence = told.json()["detail"]
        number = sentence.removesuffix(".").rpartition(" ")[2]
        assert len(number) == 8 and sentence in shown.text and "Something went wrong" in shown.text
        assert "secret" not in told.text + shown.text and HEADERS.items() <= dict(told.headers).items()
        (line,) = [record for record in caplog.records if number in record.getMessage()]
        assert line.exc_info and f"/api/{kind}" in line.getMessage()


def test_the_same_is_logged_once(caplog):
    client = TestClient(failing())
    numbers = {client.get("/api/key").json()["detail"] for _ in range(50)}
    assert len(numbers) == 1 and len(caplog.records) == 1


def test_half_an_answer_does_not_look_whole(caplog):
    sent = []

    async def receive():
        await anyio.sleep(60)

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": "GET",
        "scheme": "http", "path": "/api/half/done", "raw_path": b"", "query_string": b"", "root_path": "",
        "headers": [], "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2),
    }  # fmt: skip
    anyio.run(failing(), scope, receive, send)
    assert sent[0]["status"] == 200 and all(m.get("more_body") for m in sent[1:])
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


HOME, TEMPORARY = str(Path.home()), tempfile.gettempdir()


@pytest.mark.parametrize(
    ("sentence", "told"),
    [
        (
            f"Nothing was written into {TEMPORARY}/x/a.notes.db: It is full.",
            "Nothing was written into a.notes.db: It is full.",
        ),
        (f"{HOME}/a b/atlas.db cannot be read (x).", "a b/atlas.db cannot be read (x)."),
        (f"There is no '{TEMPORARY}/deep/down/job.json'. Look.", "There is no 'job.json'. Look."),
        ("It is in /usr/lib/python3.11/os.py.", "It is in os.py."),
        (r"It is in C:\Users\Ada\atlas\atlas.db, on disk.", "It is in atlas.db, on disk."),
        (
            "There are /features, /features/12 and /articles/commas.",
            "There are /features, /features/12 and /articles/commas.",
        ),
        (
            "Give the feature as 1/2, or https://example.org/a/b.",
            "Give the feature as 1/2, or https://example.org/a/b.",
        ),
        ("density:0.001..0.01 cannot be read.", "density:0.001..0.01 cannot be read."),
    ],
)
def test_paths_are_told_by_their_last_part(sentence, told):
    assert without_paths(sentence) == told


def test_the_owner_is_told_the_path(caplog):
    router = APIRouter()

    @router.get("/api/{how}")
    def fail(how: str) -> str:
        error = BadInput(f"{TEMPORARY}/somewhere/{how}.db cannot be read.")
        if how == "bad":
            raise error
        raise HTTPException(503, str(error)) from error

    client = TestClient(app_of([Room("paths", [router], "nothing")]))
    for how, status in (("bad", 400), ("http", 503)):
        for _ in range(3):
            answer = client.get(f"/api/{how}")
            assert (answer.status_code, answer.json()) == (status, {"detail": f"{how}.db cannot be read."})
        (line,) = [record.getMessage() for record in caplog.records if f"{how}.db" in record.getMessage()]
        assert f"{TEMPORARY}/somewhere/{how}.db" in line


def test_no_visitor_of_an_atlas_sees_where_it_lies(tiny_atlas, tmp_path, monkeypatch):
    notes = Notes.open(tmp_path / "notes.db", atlas=tiny_atlas.manifest.hash)

    def full():
        raise BadInput(f"Nothing was written into {notes.path}: The disk is full.")

    monkeypatch.setattr(notes._file, "change", full)
    client = TestClient(create_app(tiny_atlas, notes=notes, author="Ada"))
    answer = client.post("/api/notes/labels", json={"feature": 1, "text": "A name"})
    assert answer.status_code == 400 and answer.json() == {
        "detail": "Nothing was written into notes.db: The disk is full."
    }

    def unreadable(self, id):
        raise BadInput(f"{tiny_atlas.folder}/atlas.db cannot be read. Build the atlas again.")

    monkeypatch.setattr(type(tiny_atlas), "__getitem__", unreadable)
    for path in ("/features/1", "/api/features/1"):
        answer = client.get(path)
        assert answer.status_code == 404 and "atlas.db cannot be read" in answer.text
        assert str(tiny_atlas.folder) not in answer.text and str(tmp_path) not in answer.text


def test_seldom_is_once_in_a_while():
    now = [0.0]
    seldom = Seldom(60, most=3, clock=lambda: now[0])
    assert [seldom.may("a"), seldom.may("a"), seldom.may("b")] == [True, False, True]
    now[0] = 59
    assert not seldom.may("a")
    now[0] = 61
    assert seldom.may("a") and not seldom.may("a")
    assert all(seldom.may(n) for n in range(5)) and seldom.may("b")  # no more than three are remembered
