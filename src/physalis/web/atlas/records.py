"""What the pages are told beside the atlas: what can be done where its model is at hand. No torch here."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict


class Steerable(BaseModel):
    """What there is to steer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    site: str
    unit: float | None
    """The median norm of an activation at the site, which strengths are to be compared with; None if it is unknown."""
    answers: bool
    """Whether the model was made to answer messages."""
    doses: bool
    """Whether there is text to judge doses on."""


class Tryable(BaseModel):
    """What texts can be tried for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    meaning: bool
    """Whether features can be searched by meaning: whether a model that embeds sentences is at hand."""


class Writable(BaseModel):
    """Who writes labels, notes, votes and lists here."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    writes: bool
    author: str
    """Whose name they bear; empty where nobody writes."""


class Commentable(BaseModel):
    """That there are comments by invitation here."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    longest: int
    """Characters of a comment."""


class Live(NamedTuple):
    """A model beside an atlas."""

    steering: Steerable
    trying: Tryable
    routers: Sequence[APIRouter]
    described: Mapping[str, Any] = {}
    """Routes that are described elsewhere, as OpenAPI."""
