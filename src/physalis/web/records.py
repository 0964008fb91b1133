"""What the pages are told beside the atlas: what can be done where its model is at hand. No torch here."""

from collections.abc import Sequence
from typing import NamedTuple

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


class Live(NamedTuple):
    """A model beside an atlas."""

    steering: Steerable
    routers: Sequence[APIRouter]
