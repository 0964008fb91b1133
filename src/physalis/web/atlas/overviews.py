"""overviews: pages of a whole atlas that show one record each.

One more is a record and what makes it, with an entry of ``OVERVIEWS`` here, and a view of the same path in
``frontend/src/views/overviews/``. The record is at ``PATH.json`` and ``/api/PATH``, the page at ``PATH``; the summary
links to it.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from fastapi import APIRouter
from fastapi.responses import HTMLResponse, Response

from physalis.atlas import Atlas
from physalis.atlas.records import FeatureRow, Record
from physalis.web.server.pages import Pages

MIDDLE = 4
"""Features that are shown of a region."""


class Overview(NamedTuple):
    """A page of a whole atlas."""

    path: str
    title: str
    record: type[Record]
    make: Callable[[Atlas], Record]
    """What the page shows, of its type; made once while one file stands there."""


class Region(Record):
    """A region of the map."""

    name: str
    """The tokens most typical of it."""
    n_features: int
    middle: list[FeatureRow]
    """Those nearest to its middle."""


class Regions(Record):
    """The regions of the map, the largest first."""

    regions: list[Region]


def regions(atlas: Atlas) -> Regions:
    """The regions of the map, with the features nearest to the middle of each."""
    map = atlas.map()
    places, of = np.array([map.x, map.y]).T, np.array(map.region)
    found = []
    for region, name in enumerate(map.regions):
        (inside,) = np.nonzero(of == region)
        if not len(inside):
            continue
        away = ((places[inside] - places[inside].mean(0)) ** 2).sum(1)
        middle = [map.ids[i] for i in inside[np.argsort(away, kind="stable")[:MIDDLE]]]
        found.append(Region(name=name, n_features=len(inside), middle=list(atlas.rows(middle))))
    return Regions(regions=sorted(found, key=lambda each: -each.n_features))


OVERVIEWS = (Overview("/regions", "Regions", Regions, regions),)


def overviews_router(atlas: Atlas, page: Pages) -> APIRouter:
    """The pages of ``OVERVIEWS`` and their records."""
    router = APIRouter()
    for each in OVERVIEWS:
        _add(router, each, atlas, page)
    return router


def _add(router: APIRouter, overview: Overview, atlas: Atlas, page: Pages) -> None:
    told = atlas.kept(lambda: overview.make(atlas).model_dump_json())

    def record() -> Response:
        return Response(told(), media_type="application/json")

    def shown() -> HTMLResponse:
        return page(f"{overview.title} – physalis", overview=told())

    about = {"response_model": overview.record, "name": overview.title, "description": overview.record.__doc__}
    router.add_api_route(f"/api{overview.path}", record, **about)
    router.add_api_route(f"{overview.path}.json", record, include_in_schema=False)
    router.add_api_route(overview.path, shown, include_in_schema=False)
