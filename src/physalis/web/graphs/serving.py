"""graph_room: the page of one graph, which begins with the verdict of its trial.

| what | as JSON at |
| --- | --- |
| / | /api/graph |
| a feature of it, where its layer has an atlas | /api/graph/feature?layer=9&feature=12 |

/api/openapi.json describes them. A graph that nobody tried on its model has no page (``stored.StoredGraph.open``).
"""

from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, FastAPI, Query, Response
from fastapi.responses import HTMLResponse

from physalis.web.graphs.names import Names
from physalis.web.graphs.records import Asked, GraphPage, NodeFeature, page_of
from physalis.web.graphs.stored import StoredGraph
from physalis.web.server.pages import Pages
from physalis.web.server.rooms import Room, app_of
from physalis.web.server.shell import read_shell

SHELL = "graph.html"


def create_graph_app(folder: Path | str) -> FastAPI:
    """The server of one graph. Raises BadInput as ``StoredGraph.open`` does, and if the pages were not built."""
    graph = StoredGraph.open(folder)
    return app_of([graph_room(page_of(graph), Names({}))])


def graph_room(graph: GraphPage, names: Names, *, prefix: str = "") -> Room:
    """The page of one graph, with what is known of its features. Raises BadInput if the pages were not built."""
    page = Pages(read_shell(name=SHELL), prefix=prefix)
    told = names.put_into(graph).model_dump_json()
    router = APIRouter()

    @router.get("/api/graph", response_model=GraphPage)
    def graph_() -> Response:
        """Nodes, edges and the verdict."""
        return Response(told, media_type="application/json")

    @router.get("/api/graph/feature")
    def feature(asked: Annotated[Asked, Query()]) -> NodeFeature:
        """What an atlas says of a feature."""
        return names.feature(asked)

    @router.get("/", include_in_schema=False)
    def graph_page() -> HTMLResponse:
        return page(f"{graph.ends[0].name.strip() or 'A graph'} – physalis", graph=told)

    here = f"{prefix}/ and what {prefix}/api/openapi.json lists"
    return Room("physalis", [router], here, prefix=prefix, pages=page)
