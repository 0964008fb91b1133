"""Routes of what people write: one limit of bodies, one table of statuses, and what no cache keeps."""

import json
from pathlib import Path

import pytest
from fastapi import APIRouter, Body, FastAPI
from fastapi.testclient import TestClient

from physalis.errors import BadInput, Unavailable
from physalis.people.comments import Database, Invitations
from physalis.people.comments.store import LONGEST
from physalis.people.notes import Notes, records
from physalis.people.notes.store import ENTRIES
from physalis.people.refusals import Conflict, Missing, NotAllowed, NotKnown
from physalis.web.people.comments import comments_router
from physalis.web.people.notes import notes_router
from physalis.web.people.routes import MOST_BYTES, PeopleRoute, PersonalRoute

REFUSALS = {NotKnown: 401, NotAllowed: 403, Missing: 404, Conflict: 409, Unavailable: 503, BadInput: 400}


def client_of(route: type[PeopleRoute]) -> TestClient:
    router = APIRouter(route_class=route)

    @router.post("/refused/{n}")
    def refused(n: int) -> None:
        raise [*REFUSALS][n]("It stands in /tmp/somewhere/x.db.")

    @router.post("/length")
    def length(text: str = Body()) -> int:
        return len(text)

    app = FastAPI()
    app.include_router(router)
    return TestClient(app)


@pytest.mark.parametrize(("route", "kept"), [(PeopleRoute, None), (PersonalRoute, "no-store")])
def test_refusals_have_a_status_each(route, kept):
    client = client_of(route)
    for n, status in enumerate(REFUSALS.values()):
        answer = client.post(f"/refused/{n}")
        assert answer.status_code == status and answer.json() == {"detail": "It stands in x.db."}
        assert answer.headers.get("cache-control") == kept
    unfit, fits = client.post("/refused/x"), client.post("/length", json="four")
    assert unfit.status_code == 422 and "n='x' cannot be used" in unfit.json()["detail"] and fits.json() == 4
    assert unfit.headers.get("cache-control") == fits.headers.get("cache-control") == kept


@pytest.mark.parametrize("route", [PeopleRoute, PersonalRoute])
def test_a_body_has_an_end(route):
    client = client_of(route)
    assert client.post("/length", json="x" * (MOST_BYTES - 2)).json() == MOST_BYTES - 2
    answer = client.post("/length", json="x" * (MOST_BYTES - 1))
    assert answer.status_code == 413 and f"up to {MOST_BYTES:,} bytes" in answer.json()["detail"]
    chunks = (b" " * 1000 for _ in range(MOST_BYTES))  # of no length that was told
    assert client.post("/length", content=chunks, headers={"content-type": "application/json"}).status_code == 413


def test_the_longest_that_may_be_written_goes_through_however_it_is_spelt(tmp_path: Path):
    """Escaped, as Python's json writes it, a character takes up to twelve bytes."""
    notes, database = Notes.open(tmp_path / "notes.db", atlas="a" * 64), Database(tmp_path / "comments")
    app = FastAPI()
    app.include_router(notes_router(notes, 10**6, lambda: "Ada"))
    app.include_router(comments_router(database, lambda anchor: True))
    client = TestClient(app, base_url="http://localhost", headers={"content-type": "application/json"})
    note = json.dumps({"feature": 1, "text": "\U0001f40b" * records.NOTE})
    assert client.post("/api/notes/notes", content=note).status_code == 201
    features = [*range(10**6 - ENTRIES, 10**6)]
    assert client.post("/api/notes/lists", content=json.dumps({"name": "All", "features": features})).status_code == 201

    token = Invitations(database).invite("Ada").token
    csrf = client.post("/api/comments/session", content=json.dumps({"token": token})).json()["csrf"]
    passage = {"kind": "passage", "article": "x", "exact": "\U0001f40b" * 1000, "prefix": "", "suffix": ""}
    for length, status in ((LONGEST, 201), (LONGEST + 1, 400)):
        comment = json.dumps({"anchor": passage, "text": "\U0001f40b" * length})
        answer = client.post("/api/comments", content=comment, headers={"x-csrf-token": csrf})
        assert answer.status_code == status, answer.text
