"""Notes over HTTP: typed answers, every refusal by its status, and no body read that is too long."""

import asyncio
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import pytest
from fastapi import FastAPI, Header, HTTPException
from fastapi.testclient import TestClient

from physalis.people.notes import Notes, records
from physalis.web.people.notes import MOST_ASKED, notes_router, read_only
from physalis.web.people.routes import MOST_BYTES

N = 300
NOBODY = "0" * 32


def writer(author: Annotated[str, Header()]) -> str:
    if author == "Mallory":
        raise HTTPException(403, "Mallory may not write here.")
    return author


def client_of(notes: Notes) -> TestClient:
    app = FastAPI()
    app.include_router(notes_router(notes, N, writer))
    return TestClient(app, base_url="http://testserver/api/notes", headers={"author": "Ada"})


@pytest.fixture
def notes(tmp_path: Path) -> Notes:
    return Notes.open(tmp_path / "notes.db", atlas="a" * 64)


@pytest.fixture
def client(notes: Notes) -> TestClient:
    return client_of(notes)


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Notes:
    """Notes that stay empty: for all that is refused."""
    return Notes.open(tmp_path_factory.mktemp("notes") / "notes.db", atlas="a" * 64)


@pytest.fixture(scope="module")
def refused(empty: Notes) -> Iterator[TestClient]:
    with client_of(empty) as client:  # one thread for all requests
        yield client


BEN = {"author": "Ben"}


def test_a_journey(client, notes):
    label = client.post("labels", json={"feature": 3, "text": "<b>dogs</b>"})
    assert label.status_code == 201 and label.json() == notes.labels_of([3])[3][0].label.model_dump(mode="json")
    id = label.json()["id"]
    vote = client.post("votes", json={"feature": 3, "on": "label", "target": id, "value": 1}, headers=BEN)
    assert vote.status_code == 201 and vote.json()["author"] == "Ben"
    found = client.get("labels?feature=3&feature=4").json()
    assert found == {"3": [{"label": label.json(), "up": 1, "down": 0}]}
    assert client.get(f"votes/label?target={id}").json() == {id: {"up": 1, "down": 0, "by": {"Ben": 1}}}
    note = client.post("notes", json={"feature": 3, "text": "See *that*.\n\nAnd this."})
    edited = client.post(f"notes/{note.json()['id']}", json={"text": "See <i>this</i>."})
    assert [each["text"] for each in client.get("notes?feature=3").json()] == ["See <i>this</i>."]
    made = client.post("lists", json={"name": "Pets", "description": "All.", "features": [3, 8]}).json()
    list = made["list"]["list"]
    assert client.post(f"lists/{list}", json={"name": "Animals"}, headers=BEN).json()["name"] == "Animals"
    entry = client.post(f"lists/{list}/entries", json={"feature": 9, "label": "cats", "at": 0}, headers=BEN)
    assert entry.status_code == 200 and entry.json()["label"] == "cats"
    full = client.get(f"lists/{list}").json()
    assert [each["feature"] for each in full["entries"]] == [9, 3, 8]
    assert client.get("lists").json() == [{"list": full["list"], "n_entries": 3}]
    assert client.get("features/9/lists").json() == [{"list": full["list"], "entry": entry.json()}]
    about = client.get("features/3").json()
    assert about == notes.of(3).model_dump(mode="json")
    assert (len(about["labels"]), len(about["notes"]), len(about["lists"])) == (1, 1, 1)
    assert [row["kind"] for row in client.get("search?query=dog").json()["rows"]] == ["label"]
    assert client.delete(f"lists/{list}/entries/8").json()["what"] == "entry"
    for path, what in ((f"votes/{vote.json()['id']}", BEN), (f"labels/{id}", {}), (f"notes/{edited.json()['id']}", {})):
        gone = client.delete(path, headers=what)
        assert gone.status_code == 200 and gone.json()["kind"] == "removal"
    assert client.delete(f"lists/{list}").status_code == 200
    nothing = {"labels": [], "notes": [], "lists": [], "n_labels": 0, "n_notes": 0, "n_lists": 0}
    assert client.get("features/3").json() == {"feature": 3} | nothing
    assert client.get("search?query=dog").json() == {"total": 0, "offset": 0, "rows": []}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("labels", {"feature": N, "text": "x"}),
        ("labels", {"feature": 2**31 - 1, "text": "x"}),
        ("notes", {"feature": N, "text": "x"}),
        ("votes", {"feature": N, "on": "explanation", "target": "x", "value": 1}),
        ("votes", {"feature": 1, "on": "label", "target": NOBODY, "value": 1}),
        ("lists", {"name": "x", "features": [1, N]}),
        (f"lists/{NOBODY}", {"name": "x"}),
        (f"lists/{NOBODY}/entries", {"feature": 1}),
        (f"notes/{NOBODY}", {"text": "x"}),
    ],
)
def test_what_is_not_there_is_404(refused, empty, path, body):
    answer = refused.post(path, json=body)
    assert answer.status_code == 404 and answer.json()["detail"].startswith(("There is no", "Nothing here"))
    assert not [*empty.records()]


@pytest.mark.parametrize(
    "path", [f"features/{N}", "features/-1", f"labels?feature=1&feature={N}", f"notes?feature={N}", f"lists/{NOBODY}"]
)
def test_nothing_is_read_of_what_is_not_there(refused, path):
    assert refused.get(path).status_code == 404


@pytest.mark.parametrize("kind", ["labels", "notes", "votes", "lists"])
def test_nothing_is_removed_that_is_not_there(refused, kind):
    assert refused.delete(f"{kind}/{NOBODY}").status_code == 404
    assert refused.delete(f"{kind}/nobody").status_code == 422
    assert refused.delete(f"{kind}/..%2f..%2fetc").status_code in (404, 405, 422)


LABEL = {"feature": 1, "text": "x"}
VOTE = {"feature": 1, "on": "explanation", "target": "x", "value": 1}


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("labels", LABEL | {"author": "Mallory"}, "author"),
        ("labels", LABEL | {"method": "machine"}, "method"),
        ("labels", LABEL | {"text": ""}, "text=''"),
        ("labels", LABEL | {"text": "two\nlines"}, "line break"),
        ("labels", LABEL | {"text": "x" * (records.LABEL + 1)}, f"at most {records.LABEL}"),
        ("labels", LABEL | {"text": None}, "valid string"),
        ("labels", LABEL | {"feature": "1"}, "valid integer"),
        ("labels", LABEL | {"feature": True}, "valid integer"),
        ("labels", LABEL | {"feature": -1}, "greater than or equal to 0"),
        ("labels", LABEL | {"feature": 10**40}, "feature"),
        ("labels", {"text": "x"}, "The field feature is missing: it must be a whole number, at least 0"),
        ("labels", [LABEL], "body"),
        ("labels", None, "body"),
        ("notes", LABEL | {"text": " \n "}, "blank"),
        ("votes", VOTE | {"value": 2}, "1 or -1"),
        ("votes", VOTE | {"value": True}, "1 or -1"),
        ("votes", VOTE | {"value": 1.5}, "1 or -1"),
        ("votes", VOTE | {"on": "person"}, "'label' or 'explanation'"),
        ("lists", {"name": "x", "features": [1, "2"]}, "features.1"),
        ("lists", {"name": "x" * 201}, "at most 200"),
        (f"lists/{NOBODY}/entries", {"feature": 1, "at": -1}, "at=-1"),
    ],
)
def test_bodies_that_do_not_fit_are_422(refused, empty, path, body, words):
    answer = refused.post(path, json=body)
    assert answer.status_code == 422 and words in answer.json()["detail"], answer.text
    assert not [*empty.records()]


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (json.dumps(LABEL), "text/plain"),
        (json.dumps(LABEL), "application/x-www-form-urlencoded"),
        ("feature=1&text=x", "application/x-www-form-urlencoded"),
        ('{"feature": 1, "text": "x"', "application/json"),
        (b'{"feature": 1, "text": "\xff"}', "application/json"),
        ('{"feature": 1, "text": "\\ud800"}', "application/json"),
        ("[" * 30_000, "application/json"),
        ('{"feature": NaN, "text": "x"}', "application/json"),
        ('{"feature": ' + "9" * 5000 + ', "text": "x"}', "application/json"),
        ("", "application/json"),
    ],
)
def test_malformed_bodies_change_nothing(refused, empty, content, kind):
    answer = refused.post("labels", content=content, headers={"content-type": kind})
    assert answer.status_code in (400, 422) and isinstance(answer.json()["detail"], str), answer.text
    assert not [*empty.records()]


@pytest.mark.parametrize(
    "path",
    ["search?query=x&limit=201", "search?query=x&offset=-1", "search", "labels", "notes?feature=x", "votes/x?target=1"],
)
def test_questions_that_do_not_fit_are_422(refused, path):
    assert refused.get(path).status_code == 422
    assert refused.get("labels?" + "&".join(["feature=1"] * (MOST_ASKED + 1))).status_code == 422


def test_only_authors_change_what_is_theirs(client):
    label = client.post("labels", json=LABEL).json()["id"]
    note = client.post("notes", json=LABEL).json()["id"]
    for answer in (
        client.delete(f"labels/{label}", headers=BEN),
        client.delete(f"notes/{note}", headers=BEN),
        client.post(f"notes/{note}", json={"text": "y"}, headers=BEN),
        client.delete(f"labels/{label}", headers={"author": "Mallory"}),
    ):
        assert answer.status_code == 403
    assert client.get("features/1").json()["labels"][0]["label"]["text"] == "x"


def changes(client: TestClient) -> list[tuple[str, str]]:
    """Method and address of everything that changes something."""
    paths = client.get("http://testserver/openapi.json").json()["paths"]
    return [(method, path) for path in paths for method in paths[path] if method != "get"]


def test_every_change_goes_through_the_writer(refused, empty):
    app = FastAPI()
    app.include_router(notes_router(empty, N, read_only))
    reader = TestClient(app)
    assert len(changes(refused)) == 12 and changes(refused) == changes(reader)
    for method, path in changes(refused):
        address = path.replace("{id}", NOBODY).replace("{feature}", "1")
        assert reader.request(method, address, json={}).status_code == 403, (method, path)
        mallory = refused.request(method, f"http://testserver{address}", json={}, headers={"author": "Mallory"})
        assert mallory.status_code == 403, (method, path)
    assert reader.get("/api/notes/lists").json() == []


def test_refusals_are_described(refused):
    for operations in refused.get("http://testserver/openapi.json").json()["paths"].values():
        for operation in operations.values():
            assert {"400", "403", "404", "413", "422"} <= operation["responses"].keys()


def send(app: FastAPI, chunks: list[bytes], headers: dict[str, str]) -> tuple[int, dict[str, Any], int]:
    """POST a label in chunks: the status, the answer and how many chunks were asked for."""
    asked = 0
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        nonlocal asked
        asked += 1
        return {"type": "http.request", "body": chunks[asked - 1], "more_body": asked < len(chunks)}

    async def answer(message: Any) -> None:
        sent.append(message)

    named = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
        "path": "/api/notes/labels", "raw_path": b"/api/notes/labels", "query_string": b"", "root_path": "",
        "headers": [(b"content-type", b"application/json"), (b"author", b"Ada"), *named],
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80),
    }  # fmt: skip
    asyncio.run(app(scope, receive, answer))
    body = b"".join(message.get("body", b"") for message in sent)
    return sent[0]["status"], json.loads(body), asked


def test_long_bodies_are_refused_before_they_are_read(notes):
    app = FastAPI()
    app.include_router(notes_router(notes, N, writer))
    chunks, most = [b" " * 16_384] * 1000, MOST_BYTES // 16_384 + 1
    status, said, asked = send(app, chunks, {})
    assert status == 413 and asked == most and f"up to {MOST_BYTES:,} bytes" in said["detail"]
    status, said, asked = send(app, chunks, {"content-length": str(16_384 * 1000)})
    assert status == 413 and asked == 0
    status, said, asked = send(app, chunks, {"content-length": "9" * 100})
    assert status == 413 and asked == 0
    status, said, asked = send(app, chunks, {"content-length": "10"})  # a lie
    assert status == 413 and asked == most
    fits = json.dumps(LABEL).encode()
    whole = [b" " * (MOST_BYTES - len(fits)), fits]
    assert send(app, [*whole, b" "], {})[0] == 413 and not [*notes.records()]
    assert send(app, whole, {})[0] == 201 and len([*notes.records()]) == 1


def test_many_write_at_once(client, notes):
    def write(i: int) -> str:
        answer = client.post("labels", json={"feature": i, "text": f"label {i}"}, headers={"author": f"author {i % 4}"})
        assert answer.status_code == 201
        return answer.json()["id"]

    with ThreadPoolExecutor(4) as pool:
        ids = {*pool.map(write, range(40))}
    assert ids == {record.id for record in notes.records()}
