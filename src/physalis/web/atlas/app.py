"""create_app: a URL is one function that returns a record; a page is the same record inside the shell.

| page | its record as JSON | also at |
| --- | --- | --- |
| / | /index.json, /summary.json | /api/summary |
| /features?query&sort&descending&filter&offset&limit | /features.json?... | /api/features?... |
| /features/12 | /features/12.json | /api/features/12 |
| /map | /map.json | /api/map |
| /steer?edit=add:12:40&text | | /api/steering, where a model was given |
| /try?mode=text&text | | /api/try, where a model was given |
| /lists, /lists/ID | | /api/notes/lists, where there are notes |
| /articles/commas | /articles/commas.json | /api/articles/commas, where an article was given |
| /comments, /invitation | | /api/comments, where there are comments |
| | | /api/family/12, where a forest was given |

``filter`` may be given many times, each ``metric:low..high`` with both ends included and either left out.
/features/random goes to some living feature. /api/openapi.json describes it all.
"""

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.datastructures import MutableHeaders
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from physalis import __version__
from physalis.atlas import Atlas
from physalis.atlas.records import Feature, FeatureList, FeatureRow, Map, Summary
from physalis.comparing import Forest
from physalis.errors import BadInput, Unavailable
from physalis.people.comments import Database
from physalis.people.comments.anchors import Anchor, FeatureAnchor
from physalis.people.comments.store import LONGEST
from physalis.people.notes import Notes
from physalis.web.articles.shelf import ServedArticles, articles_router
from physalis.web.atlas.families import family_router, find_families
from physalis.web.atlas.histograms import Metric, spreads
from physalis.web.atlas.query import Question
from physalis.web.atlas.records import Commentable, Live, Refusal, Writable
from physalis.web.people.comments import comments_router
from physalis.web.people.notes import MOST_SHOWN, notes_router, read_only
from physalis.web.server.answers import as_json
from physalis.web.server.numbers import NUMBER
from physalis.web.server.refusals import refuse_in_words
from physalis.web.server.shell import STATIC, fill, read_shell

HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; "
    "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}
"""Sent with everything: a page may load nothing from anywhere else, and runs no inlined script."""


def create_app(
    atlas: Atlas,
    live: Live | None = None,
    notes: Notes | None = None,
    *,
    author: str | None = None,
    comments: Database | None = None,
    forest: Forest | None = None,
    articles: Sequence[Path | str] = (),
) -> FastAPI:
    """The server of one atlas, of what can be done with its model, where there is one (``web.atlas.live.beside``), and
    of what people wrote about it. ``author`` is in whose name visitors write notes; without one they only read.
    Comments are written by who was invited, which needs the checks of ``web.guard.guard`` around the app. Of a
    ``forest`` that the dictionary has a place in, each feature's page shows its family. ``articles`` are Markdown files
    about the atlas, as ``web.articles.articles`` reads them; comments can hang on their words and figures.

    Raises BadInput if the pages were not built, if the forest has no place for the atlas's dictionary, or if an article
    does not resolve."""
    shell = read_shell()
    shelf = ServedArticles(articles, atlas)
    app = bare_app()

    # The same for every request while one file stands there, and the larger ones take a while to write as JSON.
    summary_of = atlas.summary
    metrics_of = atlas.kept(lambda: spreads(atlas))
    metrics_json = atlas.kept(lambda: f"[{','.join(m.model_dump_json() for m in metrics_of())}]")
    map_json = atlas.kept(lambda: atlas.map().model_dump_json())
    map_tag = atlas.kept(lambda: f'"{hashlib.sha256(map_json().encode()).hexdigest()[:20]}"')

    kin_of = None if forest is None else find_families(forest, atlas)
    # What the atlas keeps in memory is read now, half a second for 100,000 features, so that no visitor waits for it.
    metrics_json()
    atlas.rows(summary_of().striking)

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

    def page(title: str, *, status: int = 200, text: str = "", **records: str) -> HTMLResponse:
        html = fill(shell, title=title, records=records | beside, text=text)
        return HTMLResponse(html, status, {"cache-control": "no-cache"})

    @app.get("/api/summary")
    @app.get("/index.json", include_in_schema=False)
    @app.get("/summary.json", include_in_schema=False)
    async def summary() -> Summary:
        """The dictionary as a whole."""
        return summary_of()

    @app.get("/api/striking")
    def striking() -> list[FeatureRow]:
        """The rows of the summary's striking features."""
        return list(atlas.rows(summary_of().striking))

    @app.get("/api/metrics")
    def metrics() -> list[Metric]:
        """What lists sort and filter by."""
        return metrics_of()

    @app.get("/api/random")
    def any_feature() -> int:
        """The id of some living feature."""
        return atlas.random()

    @app.get("/api/map", response_model=Map)
    @app.get("/map.json", include_in_schema=False)
    def map(request: Request) -> Response:
        """Every living feature's place."""
        fresh = {"etag": map_tag(), "cache-control": "no-cache"}
        if request.headers.get("if-none-match") == map_tag():
            return Response(status_code=304, headers=fresh)
        return Response(map_json(), media_type="application/json", headers=fresh)

    @app.get("/api/features", response_model=FeatureList)
    @app.get("/features.json", include_in_schema=False)
    def features(asked: Annotated[Question, Query()]) -> Response:
        """One page of the features that match."""
        return as_json(asked.put_to(atlas))

    def feature_of(id: int) -> Feature:
        try:
            return atlas[id]
        except Unavailable:
            raise
        except BadInput as error:
            raise HTTPException(404, str(error)) from error

    @app.get(f"/api/features/{{id:{NUMBER}}}", response_model=Feature)
    @app.get(f"/features/{{id:{NUMBER}}}.json", include_in_schema=False)
    def feature(id: int) -> Response:
        """Everything about one feature."""
        return as_json(feature_of(id))

    @app.get("/", include_in_schema=False)
    def summary_page() -> HTMLResponse:
        rows = f"[{','.join(row.model_dump_json() for row in striking())}]"
        return page(f"{summary_of().name} – physalis", summary=summary_of().model_dump_json(), striking=rows)

    @app.get("/features", include_in_schema=False)
    def list_page(asked: Annotated[Question, Query()]) -> HTMLResponse:
        title = f"{asked.query} – Features – physalis" if asked.query else "Features – physalis"
        return page(title, list=asked.put_to(atlas).model_dump_json(), metrics=metrics_json())

    @app.get("/features/random", include_in_schema=False)
    def random_page() -> RedirectResponse:
        return RedirectResponse(f"/features/{atlas.random()}", 307, {"cache-control": "no-store"})

    @app.get(f"/features/{{id:{NUMBER}}}", include_in_schema=False)
    def feature_page(id: int) -> HTMLResponse:
        found = feature_of(id)
        title = f"{found.headline} ({id}) – physalis"
        records = {"feature": found.model_dump_json(), "summary": summary_of().model_dump_json()}
        if kin_of:
            records["family"] = kin_of(id).model_dump_json()
        if notes:
            with suppress(Unavailable):  # the page asks for them then, and shows why there are none
                records["said"] = notes.said(id, most=MOST_SHOWN).model_dump_json()
        return page(title, status=200, **records)

    @app.get("/map", include_in_schema=False)
    def map_page() -> HTMLResponse:
        return page("Map – physalis", map=map_json())

    @app.get("/steer", include_in_schema=False)
    def steer_page() -> HTMLResponse:
        return page("Steer – physalis")

    @app.get("/try", include_in_schema=False)
    def try_page() -> HTMLResponse:
        return page("Try it – physalis")

    @app.get("/lists", include_in_schema=False)
    @app.get("/lists/{id}", include_in_schema=False)
    def lists_page() -> HTMLResponse:
        return page("Lists – physalis")

    def writer() -> str:
        return read_only() if author is None else author

    if kin_of:
        app.include_router(family_router(kin_of))
    if shelf.told:
        app.include_router(articles_router(shelf, page))
    for router in live.routers if live else ():
        app.include_router(router)
    if live and live.described:
        describe_also(app, live.described)
    if notes:
        app.include_router(notes_router(notes, len(atlas), writer))
    if comments:

        def has(anchor: Anchor) -> bool:
            return anchor.feature < len(atlas) if isinstance(anchor, FeatureAnchor) else shelf.has(anchor)

        app.include_router(comments_router(comments, has))

        @app.get("/comments", include_in_schema=False)
        def comments_page() -> HTMLResponse:
            return page("Comments – physalis")

        @app.get("/invitation", include_in_schema=False)
        def invitation_page() -> HTMLResponse:
            return page("Invitation – physalis")

    refuse_in_words(app, page, here="/, /features, /map and /features/12 (or another number)")
    return app


def bare_app() -> FastAPI:
    """A server of nothing yet. It sends HEADERS, has the pages' files at /static, and describes itself at
    /api/openapi.json, where every route may refuse."""
    app = plain_app(
        "physalis", openapi_url="/api/openapi.json",
        responses={status: {"model": Refusal, "description": "Why not."} for status in ("4XX", "503")},
    )  # fmt: skip
    app.mount("/static", StaticFiles(directory=STATIC))
    return app


def describe_also(app: FastAPI, described: Mapping[str, Any]) -> None:
    """Have an app's OpenAPI tell of routes of another's, too."""
    own = app.openapi

    def openapi() -> dict[str, Any]:
        told, schemas = own(), described.get("components", {}).get("schemas", {})
        told["paths"] = {**described["paths"], **told["paths"]}
        parts = told.setdefault("components", {})
        parts["schemas"] = {**schemas, **parts.get("schemas", {})}
        return told

    app.openapi = openapi


def plain_app(title: str, *, openapi_url: str | None = None, **options: Any) -> FastAPI:
    """An app without a page. It sends HEADERS, and larger answers compressed."""
    app = FastAPI(
        title=title, version=__version__, openapi_url=openapi_url, docs_url=None, redoc_url=None, **options
    )  # fmt: skip
    app.add_middleware(GZipMiddleware, minimum_size=1500, compresslevel=1)  # half the time of 5, a tenth larger
    app.add_middleware(Headers)
    return app


class Headers:
    """Adds HEADERS to every response, and lets browsers keep what has a hash in its name."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                kept = scope["path"].startswith("/static/assets/") and message["status"] == 200
                headers.setdefault("cache-control", "public, max-age=31536000, immutable" if kept else "no-cache")
            await send(message)

        await self.app(scope, receive, with_headers if scope["type"] == "http" else send)
