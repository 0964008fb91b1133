"""Nothing that a visitor sends is without a bound, and no answer takes the server from the others."""

import re._parser as patterns
import threading
from collections.abc import Iterator

import pytest
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from pydantic import TypeAdapter
from test_meaning import Trigrams

from physalis.atlas.search_index import MOST_WORDS
from physalis.errors import BadInput
from physalis.people.comments import Database
from physalis.people.notes import Notes
from physalis.web import create_app
from physalis.web.atlas.live import beside
from physalis.web.atlas.query import LONGEST
from physalis.web.comparison.serving import create_comparison_app
from physalis.web.guard.checks import MOST_PARAMETERS
from physalis.web.guard.guard import guard
from physalis.web.people.notes import MOST_SHOWN
from physalis.web.watch.app import create_watch_app

HOME = "http://127.0.0.1:8123"


@pytest.fixture(scope="module")
def notes(tiny_atlas, tmp_path_factory):
    return Notes.open(tmp_path_factory.mktemp("notes") / "notes.db", atlas=tiny_atlas.manifest.hash)


@pytest.fixture(scope="module")
def app(tiny, tiny_dictionary, tiny_atlas, notes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("beside")
    article = folder / "words.md"
    article.write_text("# Words\n\nSome.\n")
    return create_app(
        tiny_atlas,
        beside(tiny_atlas, tiny, tiny_dictionary, notes=notes, embedder=Trigrams()),
        notes,
        author="Somebody",
        comments=Database(folder / "comments"),
        articles=[article],
    )


@pytest.fixture(scope="module")
def client(app):
    return TestClient(guard(app), base_url=HOME)


def unbounded(schema: dict, place: str) -> Iterator[str]:
    """Places in a JSON schema where a text or a list may be of any length."""
    for name, each in schema.get("$defs", {}).items():
        yield from unbounded(each, f"{place} {name}")
    for word in ("anyOf", "oneOf", "allOf"):
        for each in schema.get(word, []):
            yield from unbounded(each, place)
    kind, fixed = schema.get("type"), "enum" in schema or "const" in schema
    if kind == "string" and not fixed and "maxLength" not in schema and not short(schema.get("pattern", "")):
        yield f"{place}: a text"
    if kind == "array":
        if "maxItems" not in schema:
            yield f"{place}: a list"
        yield from unbounded(schema.get("items", {}), f"{place}[]")
    if kind == "object":
        if not schema.get("properties") or schema.get("additionalProperties", False) is not False:
            yield f"{place}: a record of any fields"
        for name, each in schema.get("properties", {}).items():
            yield from unbounded(each, f"{place}.{name}")


def short(pattern: str) -> bool:
    whole = pattern.startswith("^") and pattern.endswith("$")
    return whole and patterns.parse(pattern).getwidth()[1] < 1000


def taken(dependant) -> Iterator:
    for kind in ("path", "query", "header", "cookie", "body"):
        yield from getattr(dependant, f"{kind}_params")
    for each in dependant.dependencies:
        yield from taken(each)


def routes(router) -> Iterator[APIRoute]:
    for route in router.routes:
        if isinstance(route, APIRoute):
            yield route
        elif (included := getattr(route, "original_router", None)) is not None:
            yield from routes(included)


def params(app) -> Iterator[tuple[str, dict]]:
    """The schema of everything that a route takes, and of what its dependencies do."""
    for route in routes(app):
        for field in taken(route.dependant):
            schema = TypeAdapter(field.field_info.annotation).json_schema()
            for constraint in field.field_info.metadata:
                for name, key in (("max_length", "max"), ("pattern", "pattern")):
                    if getattr(constraint, name, None) is not None:
                        kinds = [schema, *schema.get("anyOf", [])]
                        for each in kinds:
                            ends = {"string": "Length", "array": "Items"}.get(each.get("type"), "")
                            each[key + ends if key == "max" else key] = getattr(constraint, name)
            yield f"{'/'.join(sorted(route.methods))} {route.path} {field.name}", schema


def test_everything_that_a_route_takes_has_a_bound(app, forest, comparison, tiny_atlas, tmp_path):
    apps = [app, create_comparison_app(comparison, [tiny_atlas]), create_comparison_app(forest, [tiny_atlas])]
    apps.append(create_watch_app(tmp_path / "run"))
    seen = [each for app in apps for each in params(app)]
    assert len(seen) > 60
    assert [found for place, schema in seen for found in unbounded(schema, place)] == []


def test_the_walk_finds_what_has_no_bound():
    from pydantic import BaseModel, Field

    class Inner(BaseModel):
        text: str

    class Outer(BaseModel, extra="forbid"):
        few: list[Inner] = Field(max_length=3)
        many: list[int]
        word: str = Field(pattern="^[a-z]+$")
        fine: str = Field(pattern="^[a-z]{1,3}$")

    found = list(unbounded(TypeAdapter(Outer).json_schema(), "Outer"))
    assert sorted(found) == ["Outer Inner.text: a text", "Outer.many: a list", "Outer.word: a text"]


def test_long_questions_are_refused_in_words(client):
    for path, words in (
        (f"/api/features?query={'x' * (LONGEST + 1)}", f"{LONGEST} characters"),
        (f"/api/features?query={'+'.join(f'w{i}' for i in range(MOST_WORDS + 1))}", f"{MOST_WORDS} different words"),
        ("/api/features?" + "&".join(["filter=density:.."] * 33), "32 items"),
        (f"/api/features?filter={'x' * 300}", "200 characters"),
        (f"/api/features?offset={'9' * 4000}", "offset="),
        (f"/api/features?sort={'x' * 41}", "40 characters"),
        (f"/api/features?{'a&' * MOST_PARAMETERS}", "parameters"),
        (f"/api/features/{'9' * 5000}", "no page"),
        (f"/api/family/{'9' * 5000}", "no page"),
        (f"/api/notes/features/{'9' * 4000}", "2147483647"),
        (f"/api/notes/features/{'9' * 5000}", "feature="),
        (f"/api/notes/votes/label?{'&'.join(['target=x'] * 501)}", "500 items"),
        (f"/api/articles/{'x' * 300}", "200 characters"),
        (f"/api/comments?on={'x' * 3000}", "2000 characters"),
    ):
        answer = client.get(path)
        assert answer.status_code in (400, 404, 422), (path[:60], answer.status_code)
        assert words in answer.json()["detail"] and len(answer.json()["detail"]) < 700, answer.json()["detail"]
    page = client.get(f"/features/{'9' * 5000}")
    assert page.status_code == 404 and "physalis" in page.text and len(page.text) < 20_000
    words = "+".join(["the"] * 100)
    assert client.get(f"/features?query={words}").status_code == 200  # one word, a hundred times


def test_long_bodies_are_refused_in_words(client):
    for path, body in (
        ("/api/notes/lists", {"name": "x", "features": [1] * 10_001}),
        ("/api/steer", {"messages": [{"role": "user", "content": "x"}] * 200}),
        ("/v1/completions", {"prompt": "x", "model": "x" * 9000}),
        ("/api/comments/session", {"token": "x" * 1000}),
    ):
        answer = client.post(path, json=body)
        assert answer.status_code in (401, 413, 422) and len(answer.json()["detail"]) < 700, (path, answer.text[:300])


def test_a_search_of_too_many_words_is_refused_by_the_atlas(tiny_atlas):
    with pytest.raises(BadInput, match="at most 32 different words; received 33"):
        tiny_atlas.list(query=" ".join(f"w{i}" for i in range(33)))


def test_a_page_shows_so_many_labels_and_says_how_many_there_are(client, notes):
    for i in range(MOST_SHOWN + 30):
        notes.label(5, f"Name {i}", author=f"Author {i}")
        notes.note(5, f"Note {i}", author="Somebody")
    best = notes.label(5, "The best", author="Ada")
    notes.label(5, "The last", author="Grace")
    notes.vote(5, "label", best.id, 1, author="Ada")
    told = client.get("/api/notes/features/5/said").json()["notes"]
    assert (len(told["labels"]), told["n_labels"]) == (MOST_SHOWN, MOST_SHOWN + 32)
    assert [each["label"]["text"] for each in told["labels"][:2]] == ["The best", "The last"]
    assert (len(told["notes"]), told["n_notes"]) == (MOST_SHOWN, MOST_SHOWN + 30)
    assert told["notes"][-1]["text"] == f"Note {MOST_SHOWN + 29}"
    assert len(notes.of(5).labels) == MOST_SHOWN + 32  # in Python there is no such limit


def test_nothing_slow_runs_where_all_wait(app, monkeypatch, tiny_atlas, notes):
    """Searches, lists, features and maps are made in threads: the event loop is another's."""
    loop, made = [], {}

    @app.get("/loop", include_in_schema=False)
    async def where() -> str:
        loop.append(threading.get_ident())
        return ""

    def watched(of, name):
        real = getattr(of, name)

        def noting(*args, **kwargs):
            made.setdefault(name, []).append(threading.get_ident())
            return real(*args, **kwargs)

        monkeypatch.setattr(of, name, noting)

    for name in ("list", "map", "rows", "__getitem__", "random"):
        watched(type(tiny_atlas), name)
    for name in ("said", "lists", "search"):
        watched(Notes, name)
    with TestClient(app) as client:
        client.get("/loop")
        for path in ("/", "/features?query=a", "/api/features", "/features/3", "/api/features/3", "/api/striking",
                     "/api/metrics", "/map", "/api/map", "/api/random", "/api/notes/lists", "/api/notes/search?query=a",
                     "/api/notes/features/3/said"):  # fmt: skip
            assert client.get(path).status_code == 200, path
    assert set(made) >= {"list", "__getitem__", "said", "lists", "search"}
    assert not {thread for threads in made.values() for thread in threads} & set(loop)
