"""What a list of features is asked: the same in an address, in a notebook and for the atlas."""

import math
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from physalis.atlas import Atlas
from physalis.atlas.records import FeatureList
from physalis.errors import BadInput

MOST_ROWS = 1000
LONGEST, MOST_FILTERS = 500, 32
"""Characters of a search; filters of a list."""
LAST = 2**31 - 1
"""The largest offset: there are no more features."""


class Question(BaseModel):
    """What a list is asked, as its address says it."""

    model_config = ConfigDict(extra="forbid")

    query: str = Field("", max_length=LONGEST)
    sort: str = Field("", max_length=40)
    """Empty: best match first for a query, by density else."""
    descending: bool = True
    filter: list[Annotated[str, Field(max_length=200)]] = Field([], max_length=MOST_FILTERS)
    """Each metric:low..high."""
    offset: int = Field(0, ge=0, le=LAST)
    limit: int = Field(50, ge=0, le=MOST_ROWS)

    def put_to(self, atlas: Atlas) -> FeatureList:
        """The answer. Raises BadInput for a sort or filter that does not exist or cannot be read."""
        return atlas.list(
            query=self.query,
            sort=self.sort or None,
            descending=self.descending,
            filters=dict(read_filter(text) for text in self.filter),
            offset=self.offset,
            limit=self.limit,
        )


def read_filter(text: str) -> tuple[str, tuple[float | None, float | None]]:
    """A metric and its bounds from "density:1e-4..0.01". Raises BadInput if it cannot be read."""
    name, colon, interval = text.partition(":")
    low, dots, high = interval.partition("..")
    try:
        if not (colon and dots):
            raise ValueError
        bounds = tuple(float(end) if end.strip() else None for end in (low, high))
    except ValueError as error:
        raise BadInput(
            f"The filter {text!r} cannot be read. Write metric:low..high, such as density:0.001..0.01 or n_fired:100.."
        ) from error
    if any(end is not None and math.isnan(end) for end in bounds):
        raise BadInput(f"The filter {text!r} has an end that is not a number.")
    return name, (bounds[0], bounds[1])
