"""families: /api/family/12, where a feature of an atlas sits in a tree of features."""

from collections.abc import Callable

from fastapi import APIRouter, HTTPException

from physalis.atlas import Atlas
from physalis.comparing import Forest
from physalis.errors import BadInput, Unavailable
from physalis.web.comparison.records import Kin, Names, kin, level_of
from physalis.web.server.numbers import NUMBER

FindKin = Callable[[int], Kin]
"""From a feature of the atlas to its family."""


def find_families(forest: Forest, atlas: Atlas) -> FindKin:
    """Raises BadInput if the forest has no place for the atlas's dictionary. What it returns raises it too, for a
    feature that does not exist."""
    level = level_of(forest, atlas)
    names = Names([atlas], [(width.name, width.hash) for width in forest.summary.widths])
    return lambda id: kin(forest, names, level, id)


def family_router(find: FindKin) -> APIRouter:
    """The families as JSON."""
    router = APIRouter()

    @router.get(f"/api/family/{{id:{NUMBER}}}")
    def family(id: int) -> Kin:
        """A feature's ancestors, siblings and descendants among narrower and wider dictionaries."""
        try:
            return find(id)
        except Unavailable:
            raise
        except BadInput as error:
            raise HTTPException(404, str(error)) from error

    return router
