"""serve_comparison: two dictionaries held against each other, or a tree of features, as one page.

| what | as JSON at |
| --- | --- |
| / of a comparison | /api/comparison |
| its features, /?side&fate&sort&descending&offset | /api/comparison/features?... |
| the pairs found by direction | /api/comparison/pairs |
| what is split, and into what | /api/comparison/groups?offset&limit |
| / of a forest | /api/forest |
| its trees, the largest first | /api/forest/trees?offset&limit |
| one tree, /?level=1&feature=12 | /api/forest/family?level=1&feature=12 |

/api/openapi.json describes them. With atlases of the dictionaries features have headlines; without, numbers only.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, FastAPI, Query
from fastapi.responses import HTMLResponse

from physalis import artifact
from physalis.atlas import Atlas
from physalis.comparing import Comparison, Forest, forest
from physalis.comparing.records import ForestSummary, Pairs, Summary
from physalis.web.comparison.records import (
    Asked,
    ComparedRows,
    GroupRows,
    Kin,
    Names,
    Paged,
    Place,
    TreeRows,
    group_rows,
    kin,
    names_of,
    rows,
    tree_rows,
)
from physalis.web.server.pages import Pages
from physalis.web.server.rooms import Room, app_of
from physalis.web.server.serving import serve_app
from physalis.web.server.shell import read_shell

SHELL = "compare.html"


def serve_comparison(
    folder: Path | str,
    atlases: Sequence[Path | str] = (),
    *,
    host: str = "127.0.0.1",
    port: int = 8123,
    token: str | None = None,
    origin: str | None = None,
    proxies: Sequence[str] = (),
) -> None:
    """Serve the page of a comparison or a forest until interrupted, and say where. Port 0 takes any that is free.

    ``atlases`` are folders of atlases of the dictionaries that were compared: with one, a dictionary's features have
    headlines and their strongest example. ``token``, ``origin`` and ``proxies`` as ``serve`` has
    them.

    Raises BadInput if the folder holds neither, if an atlas is of another dictionary, and as ``serve`` does.
    """

    def make() -> FastAPI:
        return create_comparison_app(open_compared(folder), [Atlas.open(each) for each in atlases])

    serve_app(make, folder, host=host, port=port, token=token, origin=origin, proxies=proxies)


def open_compared(folder: Path | str) -> Comparison | Forest:
    """What `physalis compare` made in a folder. Raises BadInput if it is neither a comparison nor a forest."""
    grown = artifact.kind_of(Path(folder)) == forest.KIND
    return Forest.open(folder) if grown else Comparison.open(folder)


def create_comparison_app(subject: Comparison | Forest, atlases: Sequence[Atlas] = ()) -> FastAPI:
    """The server of one comparison or forest. Raises BadInput as ``comparison_room`` does."""
    return app_of([comparison_room(subject, atlases)])


def comparison_room(subject: Comparison | Forest, atlases: Sequence[Atlas] = (), *, prefix: str = "") -> Room:
    """The pages of one comparison or forest. Raises BadInput if an atlas is of none of its dictionaries, or if the
    pages were not built."""
    names = names_of(subject, atlases)
    page = Pages(read_shell(name=SHELL), prefix=prefix)
    if isinstance(subject, Forest):
        told = _of_forest(subject, names)
        kind, summary = "forest", subject.summary.model_dump_json()
        title = f"A tree of features, {len(subject.summary.widths)} dictionaries – physalis"
    else:
        told = _of_comparison(subject, names)
        kind, summary = "comparison", subject.summary.model_dump_json()
        title = f"{' and '.join(subject.summary.names)} – physalis"
    pages = APIRouter(include_in_schema=False)

    @pages.get("/")
    def main_page() -> HTMLResponse:
        return page(title, status=200, **{kind: summary})

    here = f"{prefix}/ and what {prefix}/api/openapi.json lists"
    return Room("physalis", [told, pages], here, prefix=prefix, pages=page)


def _of_comparison(found: Comparison, names: Names) -> APIRouter:
    router = APIRouter(prefix="/api/comparison")

    @router.get("")
    def comparison() -> Summary:
        """Both dictionaries as wholes."""
        return found.summary

    @router.get("/features")
    def features(asked: Annotated[Asked, Query()]) -> ComparedRows:
        """One page of a side's features, each beside its partner."""
        return rows(found, names, asked)

    @router.get("/pairs")
    def pairs() -> Pairs:
        """Every pair found by direction of which both fire."""
        return found.pairs

    @router.get("/groups")
    def groups(asked: Annotated[Paged, Query()]) -> GroupRows:
        """Features that are split, and into what."""
        return group_rows(found, names, asked)

    return router


def _of_forest(grown: Forest, names: Names) -> APIRouter:
    router = APIRouter(prefix="/api/forest")

    @router.get("")
    def forest_() -> ForestSummary:
        """The dictionaries and the steps between them."""
        return grown.summary

    @router.get("/trees")
    def trees(asked: Annotated[Paged, Query()]) -> TreeRows:
        """Trees, the largest first."""
        return tree_rows(grown, names, asked)

    @router.get("/family")
    def family(asked: Annotated[Place, Query()]) -> Kin:
        """A feature's ancestors, siblings and descendants."""
        return kin(grown, names, asked.level, asked.feature)

    return router
