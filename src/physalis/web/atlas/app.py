"""atlas_room: the pages of an atlas. A URL is one function that returns a record; a page is that inside the shell.

| page | its record as JSON | also at |
| --- | --- | --- |
| / | /index.json, /summary.json | /api/summary |
| /features?query&sort&descending&filter&offset&limit | /features.json?... | /api/features?... |
| /features/12 | /features/12.json | /api/features/12 |
| /map | /map.json | /api/map |
| /regions | /regions.json | /api/regions, and so each of ``overviews`` |
| /steer?edit=add:12:40&text | | /api/steering, where a model was given |
| /try?mode=text&text | | /api/try, where a model was given |
| /lists, /lists/ID | | /api/notes/lists, where there are notes |
| /articles/commas | /articles/commas.json | /api/articles/commas, where an article was given |
| /comments, /invitation | | /api/comments, where there are comments |
| | | /api/family/12, where a forest was given |
| /rules?query&sort&descending&offset&limit | /rules.json?... | /api/rules, /api/rules/12, where there are some |
| | | /api/rules/12/holds, /api/explained/12 |

``filter`` may be given many times, each ``metric:low..high`` with both ends included and either left out.
/features/random goes to some living feature. /api/openapi.json describes it all.
"""

import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, FastAPI, HTTPException, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from physalis.atlas import Atlas
from physalis.atlas.records import Feature, FeatureList, FeatureRow, Map, Summary
from physalis.comparing import Forest
from physalis.errors import BadInput, Unavailable
from physalis.people.annotations import Annotations
from physalis.people.comments import Database
from physalis.people.comments.anchors import Anchor, FeatureAnchor
from physalis.people.comments.store import LONGEST
from physalis.people.notes import Notes
from physalis.web.articles.shelf import ServedArticles, articles_router
from physalis.web.atlas.explained import Explained, explained_router
from physalis.web.atlas.families import family_router, find_families
from physalis.web.atlas.histograms import Metric, spreads
from physalis.web.atlas.overviews import overviews_router
from physalis.web.atlas.query import Question
from physalis.web.atlas.records import Commentable, Live, Writable
from physalis.web.people.comments import comments_router
from physalis.web.people.notes import MOST_SHOWN, notes_router, read_only
from physalis.web.server.answers import as_json
from physalis.web.server.numbers import NUMBER
from physalis.web.server.pages import Pages
from physalis.web.server.rooms import Room, app_of
from physalis.web.server.shell import read_shell


def create_app(
    atlas: Atlas,
    live: Live | None = None,
    notes: Notes | None = None,
    *,
    author: str | None = None,
    comments: Database | None = None,
    forest: Forest | None = None,
    articles: Sequence[Path | str] = (),
    explained: Explained | None = None,
) -> FastAPI:
    """The server of one atlas, with the notes and ``comments`` about it, otherwise as ``atlas_room``."""
    people = Annotations(notes, comments)
    return app_of(
        [atlas_room(atlas, live, people, author=author, forest=forest, articles=articles, explained=explained)]
    )


def atlas_room(
    atlas: Atlas,
    live: Live | None = None,
    people: Annotations | None = None,
    *,
    author: str | None = None,
    forest: Forest | None = None,
    articles: Sequence[Path | str] = (),
    explained: Explained | None = None,
    prefix: str = "",
) -> Room:
    """The pages of one atlas, of what can be done with its model, where there is one (``web.atlas.live.beside``), and
    of what ``people`` wrote about it. ``author`` is in whose name visitors write notes; without one they only read.
    Comments are written by who was invited, which needs the checks of ``web.guard.guard`` around the app. Of a
    ``forest`` that the dictionary has a place in, each feature's page shows its family. ``articles`` are Markdown files
    about the atlas, as ``web.articles.articles`` reads them; comments can hang on their words and figures. What is
    ``explained`` beside the atlas is on its features' pages, names them, and is what lists sort and search by too.

    Raises BadInput if the pages were not built, if the forest has no place for the atlas's dictionary, or if an article
    does not resolve."""
    notes, comments = (people.notes, people.database) if people else (None, None)
    if explained:
        atlas = explained.atlas
    shell = read_shell()
    shelf = ServedArticles(articles, atlas, prefix=prefix)
    told = Told(atlas)
    kin_of = None if forest is None else find_families(forest, atlas)

    beside: dict[str, str] = {}
    if kin_of:
        beside["families"] = "true"
    if live:
        beside |= {"steering": live.steering.model_dump_json(), "trying": live.trying.model_dump_json()}
    if notes:
        beside["notes"] = Writable(writes=author is not None, author=author or "").model_dump_json()
    if comments:
        beside["comments"] = Commentable(longest=LONGEST).model_dump_json()
    if shelf.told:
        beside["articles"] = f"[{','.join(each.model_dump_json() for each in shelf.told)}]"
    page = Pages(shell, prefix=prefix, beside=beside, now=explained.beside if explained else dict)

    def of_feature(id: int) -> dict[str, str]:
        """What its page tells of a feature besides its own record."""
        records = {"summary": told.summary().model_dump_json()}
        if kin_of:
            records["family"] = kin_of(id).model_dump_json()
        if explained:
            with suppress(HTTPException):  # there are none
                rule = explained.rule(id)
                records["rule"] = "null" if rule is None else rule.model_dump_json()
            records["explained"] = explained.of(id).model_dump_json()
        if notes:
            with suppress(Unavailable):  # the page asks for them then, and shows why there are none
                records["said"] = notes.said(id, most=MOST_SHOWN).model_dump_json()
        return records

    def writer() -> str:
        return read_only() if author is None else author

    def has(anchor: Anchor) -> bool:
        return anchor.feature < len(atlas) if isinstance(anchor, FeatureAnchor) else shelf.has(anchor)

    routers = [
        records_router(told), pages_router(told, page, of_feature, prefix=prefix), overviews_router(atlas, page),
    ]  # fmt: skip
    if kin_of:
        routers.append(family_router(kin_of))
    if explained:
        routers.append(explained_router(explained, page))
    if shelf.told:
        routers.append(articles_router(shelf, page))
    if live:
        routers += live.routers
    if notes:
        routers.append(notes_router(notes, len(atlas), writer))
    if comments:
        routers += [
            comments_router(comments, has),
            plain_router(page, PEOPLE),
        ]
    here = f"{prefix}/, {prefix}/features, {prefix}/map and {prefix}/features/12 (or another number)"
    return Room("physalis", routers, here, prefix=prefix, pages=page, described=live.described if live else {})


class Told:
    """What is told of an atlas: its records, and those as JSON that are the same for every request while one file
    stands there, where writing them takes a while."""

    def __init__(self, atlas: Atlas) -> None:
        """Read what the atlas keeps in memory, half a second for 100,000 features, so that no visitor waits for it."""
        self.atlas = atlas
        self.summary = atlas.summary
        self.metrics = atlas.kept(lambda: spreads(atlas))
        self.metrics_json = atlas.kept(lambda: f"[{','.join(m.model_dump_json() for m in self.metrics())}]")
        self.map_json = atlas.kept(lambda: atlas.map().model_dump_json())
        self.map_tag = atlas.kept(lambda: f'"{hashlib.sha256(self.map_json().encode()).hexdigest()[:20]}"')
        self.metrics_json()
        self.striking()

    def striking(self) -> list[FeatureRow]:
        """The rows of the summary's striking features."""
        return list(self.atlas.rows(self.summary().striking))

    def feature(self, id: int) -> Feature:
        """A feature. Raises HTTPException (404) if there is none."""
        try:
            return self.atlas[id]
        except Unavailable:
            raise
        except BadInput as error:
            raise HTTPException(404, str(error)) from error


def records_router(told: Told) -> APIRouter:
    """The records of an atlas as JSON."""
    router = APIRouter()

    @router.get("/api/summary")
    @router.get("/index.json", include_in_schema=False)
    @router.get("/summary.json", include_in_schema=False)
    async def summary() -> Summary:
        """The dictionary as a whole."""
        return told.summary()

    @router.get("/api/striking")
    def striking() -> list[FeatureRow]:
        """The rows of the summary's striking features."""
        return told.striking()

    @router.get("/api/metrics")
    def metrics() -> list[Metric]:
        """What lists sort and filter by."""
        return told.metrics()

    @router.get("/api/random")
    def any_feature() -> int:
        """The id of some living feature."""
        return told.atlas.random()

    @router.get("/api/map", response_model=Map)
    @router.get("/map.json", include_in_schema=False)
    def map(request: Request) -> Response:
        """Every living feature's place."""
        fresh = {"etag": told.map_tag(), "cache-control": "no-cache"}
        if request.headers.get("if-none-match") == told.map_tag():
            return Response(status_code=304, headers=fresh)
        return Response(told.map_json(), media_type="application/json", headers=fresh)

    @router.get("/api/features", response_model=FeatureList)
    @router.get("/features.json", include_in_schema=False)
    def features(asked: Annotated[Question, Query()]) -> Response:
        """One page of the features that match."""
        return as_json(asked.put_to(told.atlas))

    @router.get(f"/api/features/{{id:{NUMBER}}}", response_model=Feature)
    @router.get(f"/features/{{id:{NUMBER}}}.json", include_in_schema=False)
    def feature(id: int) -> Response:
        """Everything about one feature."""
        return as_json(told.feature(id))

    return router


def pages_router(told: Told, page: Pages, of_feature: Callable[[int], dict[str, str]], *, prefix: str) -> APIRouter:
    """The pages of an atlas. ``of_feature`` has the records that a feature's page shows beside the feature."""
    router = APIRouter(include_in_schema=False)

    @router.get("/")
    def summary_page() -> HTMLResponse:
        rows = f"[{','.join(row.model_dump_json() for row in told.striking())}]"
        return page(f"{told.summary().name} – physalis", summary=told.summary().model_dump_json(), striking=rows)

    @router.get("/features")
    def list_page(asked: Annotated[Question, Query()]) -> HTMLResponse:
        title = f"{asked.query} – Features – physalis" if asked.query else "Features – physalis"
        return page(title, list=asked.put_to(told.atlas).model_dump_json(), metrics=told.metrics_json())

    @router.get("/features/random")
    def random_page() -> RedirectResponse:
        there = f"{prefix}/features/{told.atlas.random()}"
        return RedirectResponse(there, 307, {"cache-control": "no-store"})

    @router.get(f"/features/{{id:{NUMBER}}}")
    def feature_page(id: int) -> HTMLResponse:
        found = told.feature(id)
        title = f"{found.headline} ({id}) – physalis"
        return page(title, status=200, feature=found.model_dump_json(), **of_feature(id))

    @router.get("/map")
    def map_page() -> HTMLResponse:
        return page("Map – physalis", map=told.map_json())

    router.include_router(plain_router(page, PLAIN))
    return router


PLAIN = {"/steer": "Steer", "/try": "Try it", "/lists": "Lists", "/lists/{id}": "Lists"}
PEOPLE = {"/comments": "Comments", "/invitation": "Invitation"}
"""Pages that ask for their records themselves, and their titles."""


def plain_router(page: Pages, titles: dict[str, str]) -> APIRouter:
    """Pages without records of their own."""
    router = APIRouter(include_in_schema=False)

    def answer(title: str) -> Callable[[], HTMLResponse]:
        def plain_page() -> HTMLResponse:
            return page(f"{title} – physalis")

        return plain_page

    for path, title in titles.items():
        router.add_api_route(path, answer(title))
    return router
