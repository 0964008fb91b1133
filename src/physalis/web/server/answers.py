"""answers: records as the bodies of responses, and a sentence where there is none."""

from collections.abc import Sequence

from fastapi.responses import Response
from pydantic import BaseModel
from pydantic_core import to_json


def as_json(told: BaseModel | Sequence[BaseModel]) -> Response:
    """What pydantic writes, as it is: FastAPI would check it once more and write it again, and that where all wait."""
    return Response(to_json(told, inf_nan_mode="null"), media_type="application/json")


class Refusal(BaseModel):
    """What is answered instead, where something was asked that cannot be."""

    detail: str
    """A sentence: what was wrong, and what to do."""
