"""Rooms: one server of several things, each at its prefix as it is alone at "/"."""

import json
import re

import pytest
from fastapi import APIRouter
from fastapi.testclient import TestClient
from starlette.requests import Request

from physalis.people.annotations import Annotations
from physalis.people.comments import Database, Invitations
from physalis.people.notes import Notes
from physalis.web.atlas.app import atlas_room
from physalis.web.atlas.live import beside
from physalis.web.comparison.serving import comparison_room
from physalis.web.guard.checks import RateLimit
from physalis.web.guard.guard import guard
from physalis.web.guard.hosts import sessions
from physalis.web.guard.rates import Rate
from physalis.web.server.rooms import HEADERS, Room, app_of

AT = "http://127.0.0.1"
HERE = {"host": "127.0.0.1"}


def inlined(page) -> dict:
    (text,) = re.findall(r'<script type="application/json" id="page">(.*?)</script>', page.text, re.S)
    return json.loads(text)


def empty() -> Room:
    return Room("physalis", [APIRouter()], "nothing but rooms")


@pytest.fixture(scope="module")
def house(tiny, tiny_atlas, tiny_dictionary, comparison, forest, tmp_path_factory):
    """The same rooms alone, each at "/", and together."""
    notes = Notes.open(tmp_path_factory.mktemp("notes") / "notes.db", atlas=tiny_atlas.manifest.hash)
    article = tmp_path_factory.mktemp("desk") / "Commas.md"
    article.write_text("# Commas\n\nSome [words](feature:3) here.\n")
    live = beside(tiny_atlas, tiny, tiny_dictionary)
    rooms = {
        "/a/all": lambda at: atlas_room(
            tiny_atlas, live, Annotations(notes), author="Ada", forest=forest, articles=[article], prefix=at
        ),
        "/c/pair": lambda at: comparison_room(comparison, [tiny_atlas], prefix=at),
        "/t/forest": lambda at: comparison_room(forest, prefix=at),
    }
    together = TestClient(app_of([empty(), *(make(at) for at, make in rooms.items())]))
    return together, {at: TestClient(app_of([make("")])) for at, make in rooms.items()}


ADDRESSES = {
    "/a/all": [
        "/api/summary", "/index.json", "/api/striking", "/api/metrics", "/api/map", "/features/3.json",
        "/features.json?query=a&limit=3", "/api/notes/lists", "/api/notes/features/3", "/api/family/3", "/api/steering",
        "/features?sort=beauty", "/api/features/99999", "/api/features?limit=many",
    ],
    "/c/pair": ["/api/comparison", "/api/comparison/features?limit=3", "/api/comparison/pairs", "/api/nothing"],
    "/t/forest": ["/api/forest", "/api/forest/trees", "/api/forest/family?level=0&feature=1"],
}  # fmt: skip
PAGES = {
    "/a/all": ["/", "/features", "/features/3", "/map", "/try", "/lists", "/articles/commas", "/features/99999"],
    "/c/pair": ["/"],
    "/t/forest": ["/"],
}


@pytest.mark.parametrize("at", ADDRESSES)
def test_a_room_answers_below_its_prefix_as_it_does_alone(house, at):
    together, alone = house
    for path in ADDRESSES[at]:
        one, other = alone[at].get(path), together.get(at + path)
        assert one.status_code == other.status_code, path
        if "nothing" not in path and one.headers["content-type"] == "application/json":
            assert one.content == other.content, path
    for path in PAGES[at]:
        one, other = alone[at].get(path), together.get(at + path)
        assert one.status_code == other.status_code and "base" not in inlined(one)
        told = inlined(other)
        assert told.pop("base") == at
        assert told == inlined(one) or path == "/articles/commas"


def test_each_room_describes_itself(house):
    together, alone = house
    for at, client in alone.items():
        told = together.get(f"{at}/api/openapi.json").json()
        assert told.pop("servers") == [{"url": at}]
        assert told == client.get("/api/openapi.json").json()
    assert together.get("/api/openapi.json").json()["paths"] == {}


def test_links_and_turns_stay_in_the_room(house):
    together, _ = house
    moved = together.get("/a/all/features/random", follow_redirects=False)
    assert re.fullmatch(r"/a/all/features/\d+", moved.headers["location"])
    assert together.get("/a/all", follow_redirects=False).headers["location"].endswith("/a/all/")
    page = together.get("/a/all/articles/commas")
    assert 'href="/a/all/features/3"' in page.text and inlined(page)["articles"][0]["path"] == "/articles/commas"


def test_what_is_the_same_for_all_stands_once(house):
    together, _ = house
    for path in ("/a/all/", "/c/pair/api/comparison", "/static/theme.js", "/nothing", "/a/all/nothing"):
        answer = together.get(path)
        assert HEADERS.items() <= dict(answer.headers).items(), path
        assert path != "/a/all/" or answer.headers["content-encoding"] == "gzip"
    assert together.get("/a/all/static/theme.js").status_code == 404
    pages = [together.get(at).text for at in ("/a/all/", "/a/all/map")]
    (script,) = {found for page in pages for found in re.findall(r'src="(/static/assets/[^"]+[.]js)"', page)}
    assert together.get(script).status_code == 200


def test_a_refusal_tells_of_the_rooms_own_pages(house):
    together, _ = house
    lost = inlined(together.get("/a/all/nothing"))
    assert lost["base"] == "/a/all"
    assert "no page /a/all/nothing here. There are /a/all/, /a/all/features, " in lost["error"]
    as_json = together.get("/c/pair/api/nothing").json()["detail"]
    assert as_json.endswith("There are /c/pair/ and what /c/pair/api/openapi.json lists.")
    assert "nothing but rooms" in together.get("/b/").json()["detail"]


def test_only_the_first_room_stands_at_the_root():
    second = Room("physalis", [], "", prefix="/a/x")
    for rooms in ([second, empty()], [empty(), empty()], [second]):
        with pytest.raises(AssertionError):
            app_of(rooms)


def test_people_are_known_in_one_room_and_not_in_the_next(tiny_atlas, tmp_path):
    databases = {at: Database(tmp_path / f"{at[3:]}.comments") for at in ("/a/one", "/a/two")}
    rooms = [atlas_room(tiny_atlas, people=Annotations(database=each), prefix=at) for at, each in databases.items()]
    client = TestClient(guard(app_of([empty(), *rooms])), base_url=AT, headers={"origin": AT})
    token = Invitations(databases["/a/one"]).invite("Ada", role="owner").token
    me = client.post("/a/one/api/comments/session", json={"token": token}).json()
    assert me["role"] == "owner" and set(client.cookies) == {"physalis_session_80_a_one"}
    assert client.get("/a/one/api/comments/me").json()["role"] == "owner"
    assert client.get("/a/two/api/comments/me").json()["role"] == "visitor"
    sent = client.post(
        "/a/one/api/comments/invitations", json={"name": "Sun Tzu"}, headers={"x-csrf-token": me["csrf"]}
    ).json()
    assert sent["link"].startswith("/a/one/invitation#")
    other = Invitations(databases["/a/two"]).invite("Bob").token
    assert client.post("/a/two/api/comments/session", json={"token": other}).json()["role"] == "guest"
    assert client.get("/a/one/api/comments/me").json()["role"] == "owner"


def asking(cookie: str) -> Request:
    headers = [(b"host", b"127.0.0.1:8123"), (b"cookie", cookie.encode())]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": headers, "client": ("127.0.0.1", 1)})


def test_sessions_of_all_rooms_count_as_such():
    cookies = "physalis_session_8123=a; physalis_session_8123_a_one=b; physalis_session_81234=c; physalis_visit_8123=d"
    assert sessions(asking(cookies)) == ["a", "b"]
    limit = RateLimit(Rate(100, 1.0), Rate(2, 0.001))
    request = asking("physalis_session_8123_a_one=b")
    assert [limit(request) is None for _ in range(3)] == [True, True, False]
