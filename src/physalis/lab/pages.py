"""Page: an experiment to be explored. Its sliders choose among runs made beforehand; each run is a few panels.

A panel is numbers and words, not a drawing: web pages, notebooks and static sites draw the same record.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, field_validator

from physalis.display.reprs import Displayed


class Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    def __str__(self) -> str:
        return repr(self)


def _finite(values: Sequence[float | None]) -> list[float | None]:
    """JSON has no NaN: where there is no number there is null, a gap in the drawing."""
    return [float(f"{v:.5g}") if v is not None and math.isfinite(v) else None for v in values]


class Axis(Record):
    label: str
    log: bool = False
    low: float | None = None
    """Where the axis begins; the data's least unless given."""
    high: float | None = None
    names: list[str] = []
    """Of the places 0, 1, ... where they are kinds and not amounts."""


class Rule(Record):
    """A line across the drawing at a value that theory names."""

    at: float
    label: str


class Series(Record):
    """One line, or one group of dots."""

    name: str
    x: list[float | None]
    y: list[float | None]
    low: list[float | None] = []
    """Lower edge of a band around the line, as over seeds; empty for none."""
    high: list[float | None] = []
    faint: bool = False
    """For what stands behind: single seeds, a baseline."""

    _round = field_validator("x", "y", "low", "high", mode="before")(_finite)


class Lines(Record, Displayed):
    kind: Literal["lines"] = "lines"
    title: str
    x: Axis
    y: Axis
    series: list[Series]
    rules: list[Rule] = []
    follows: str = ""
    """Name of the slider whose place is marked on the x axis: at its value or, where a line has a point for each of its
    positions, at that point. A slider that is named as the x axis is followed anyway."""


class Dots(Record, Displayed):
    """Scattered points; rules lie across y."""

    kind: Literal["dots"] = "dots"
    title: str
    x: Axis
    y: Axis
    series: list[Series]
    rules: list[Rule] = []
    follows: str = ""


class Vectors(Record, Displayed):
    """Directions in the plane, drawn from the origin to equal scales: a feature's column, a training point's place."""

    kind: Literal["vectors"] = "vectors"
    title: str
    x: list[float]
    y: list[float]
    weight: list[float] = []
    """0 to 1, how much each matters: the colour. All alike unless given."""
    group: list[int] = []
    """Set that each belongs to: the colour instead, where given."""
    names: list[str] = []
    linked: bool = False
    """Whether neighbours around the origin are joined: the polygon that they make."""
    reach: float | None = None
    """Half the width of what is shown, so that frames compare; the longest vector unless given."""


class Cells(Record, Displayed):
    """A matrix in colour, the first row at the top. A slider named as the rows or the columns is followed: the row or
    column whose tick is the slider's value is marked."""

    kind: Literal["cells"] = "cells"
    title: str
    values: list[list[float | None]]
    scale: Literal["diverging", "sequential", "classes"]
    """diverging: around 0. sequential: from 0. classes: whole numbers that index ``classes``."""
    classes: list[str] = []
    ground: int | None = None
    """The class that means nothing is there, drawn pale."""
    rows: str = ""
    """What the rows are; ``row_ticks`` names some of them."""
    columns: str = ""
    row_ticks: list[str] = []
    """One for each row, or none; "" for those without."""
    column_ticks: list[str] = []
    lines: list[Series] = []
    """Lines over the cells, in units of columns (x) and rows (y), the middle of the first cell at 0: a boundary that
    theory gives."""

    @field_validator("values", mode="before")
    @classmethod
    def _round(cls, rows: Any) -> list[list[float | None]]:
        return [_finite(row) for row in rows]


class Stacks(Record, Displayed):
    """Bars with parts: what each neuron is made of, counts of a kind. ``parts[i][j]`` is bar i's share in part j."""

    kind: Literal["stacks"] = "stacks"
    title: str
    bars: list[str]
    parts: list[list[float]]
    names: list[str] = []
    """Of the parts; parts of one bar are coloured alike in all."""
    value: Axis


class Words(Record, Displayed):
    """Text in rows: tokens, verdicts, the matrix's reading."""

    kind: Literal["words"] = "words"
    title: str
    columns: list[str]
    rows: list[list[str]]


Panel = Lines | Dots | Vectors | Cells | Stacks | Words


class Slider(Record):
    name: str
    """Lower case: "sparsity", "training points"."""
    values: list[str]
    """As shown, in order."""
    start: int = 0
    alike: bool = True
    """Whether its frames share axes and scales, so that they compare; not where each shows another thing."""


class Frame(Record):
    at: list[int]
    """Position of each slider."""
    panels: list[Panel]


class Page(Record, Displayed):
    id: str
    title: str
    idea: str
    """What there is to see and why it matters, in two to five sentences of our own; paragraphs apart by a blank
    line."""
    original: str
    """What the paper's figure shows, in a sentence."""
    source: str
    link: str
    """Of the paper."""
    sliders: list[Slider]
    frames: list[Frame]
    """One for each combination of the sliders' positions, the last slider's fastest."""
    panels: list[Panel] = []
    """What no slider moves."""

    def __repr__(self) -> str:
        return f"Page({self.id!r}, {self.title!r}, {len(self.frames):,} positions of {len(self.sliders)} sliders)"


def frames(sliders: Sequence[Slider], panels: Callable[..., list[Panel]]) -> list[Frame]:
    """A frame for each combination of positions; ``panels`` receives them, one argument a slider."""
    return [
        Frame(at=list(at), panels=panels(*at))
        for at in itertools.product(*(range(len(slider.values)) for slider in sliders))
    ]
