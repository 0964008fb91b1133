"""contents_room: the table of contents of a server: a page at "/", and as JSON at /api/contents."""

from collections.abc import Callable

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from physalis.web.contents.records import Contents
from physalis.web.server.pages import Pages
from physalis.web.server.rooms import Room
from physalis.web.server.shell import read_shell

SHELL = "contents.html"


def contents_room(told: Callable[[], Contents]) -> Room:
    """The page that leads to all others. Raises BadInput if the pages were not built."""
    page = Pages(read_shell(name=SHELL))
    router = APIRouter()

    @router.get("/api/contents")
    def contents() -> Contents:
        """What is shown here, and where."""
        return told()

    @router.get("/", include_in_schema=False)
    def contents_page() -> HTMLResponse:
        now = told()
        return page(f"{now.name} – physalis", contents=now.model_dump_json())

    return Room("physalis", [router], "/ and the pages that it leads to", pages=page)
