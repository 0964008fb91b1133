"""Room, app_of: a server is a list of rooms: pages about one thing each, and the routes that answer for them.

What is the same for all stands here once: HEADERS, compression, the files that pages load, refusals in words. The first
room begins at "/", each other at its prefix, below which it has the addresses that it has alone.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.responses import Response
from fastapi.staticfiles import StaticFiles
from starlette.datastructures import MutableHeaders
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from physalis import __version__
from physalis.web.server.answers import Refusal
from physalis.web.server.refusals import refuse_in_words
from physalis.web.server.shell import STATIC

HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; "
    "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}
"""Sent with everything: a page may load nothing from anywhere else, and runs no inlined script."""
LOADED = {"/static": STATIC}
"""The folder that pages of the servers load their scripts from, under its address."""


@dataclass(frozen=True)
class Room:
    """Pages about one thing: an atlas, a comparison, a run. Whoever opens it knows the prefix, so that links lead back
    into it; its routers do not."""

    title: str
    routers: Sequence[APIRouter]
    here: str
    """Which pages there are, as who asks for another is told."""
    prefix: str = ""
    """Where it begins, such as "/a/commas"; empty for "/"."""
    pages: Callable[..., Response] | None = None
    """Makes them (``server.pages.Pages``), also of a refusal. Without, a refusal is JSON."""
    loads: Mapping[str, Path] = field(default_factory=lambda: LOADED)
    """Folders whose files the pages load, each under its address on the server, whatever the prefix."""
    folder: Path | None = None
    """A folder that is all its pages."""
    described: Mapping[str, Any] | None = field(default_factory=dict)
    """OpenAPI of routes that stand elsewhere, told at /api/openapi.json with its own. None: nothing is described."""


def app_of(rooms: Sequence[Room]) -> FastAPI:
    """The server of some rooms, of which the first, and no other, has no prefix."""
    first, *others = rooms
    assert not first.prefix and all(room.prefix for room in others), [room.prefix for room in rooms]
    app = _bare(first)
    app.add_middleware(GZipMiddleware, minimum_size=1500, compresslevel=1)  # half the time of 5, a tenth larger
    app.add_middleware(Headers)
    for at, folder in {at: folder for room in rooms for at, folder in room.loads.items()}.items():
        app.mount(at, StaticFiles(directory=folder))
    for room in others:
        app.mount(room.prefix, _furnished(_bare(room), room))
    return _furnished(app, first)


def _bare(room: Room) -> FastAPI:
    described = room.described is not None
    return FastAPI(
        title=room.title, version=__version__, openapi_url="/api/openapi.json" if described else None, docs_url=None,
        redoc_url=None,
        responses={status: {"model": Refusal, "description": "Why not."} for status in ("4XX", "503")},
    )  # fmt: skip


def _furnished(app: FastAPI, room: Room) -> FastAPI:
    for router in room.routers:
        app.include_router(router)
    if room.folder is not None:
        app.mount("/", StaticFiles(directory=room.folder, html=True))
    if room.described:
        _describe_also(app, room.described)
    refuse_in_words(app, room.pages, here=room.here, prefix=room.prefix)
    return app


def _describe_also(app: FastAPI, described: Mapping[str, Any]) -> None:
    """Have an app's OpenAPI tell of routes of another's, too."""
    own = app.openapi

    def openapi() -> dict[str, Any]:
        told, schemas = own(), described.get("components", {}).get("schemas", {})
        told["paths"] = {**described["paths"], **told["paths"]}
        parts = told.setdefault("components", {})
        parts["schemas"] = {**schemas, **parts.get("schemas", {})}
        return told

    app.openapi = openapi


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
