"""Head: what an article says of itself between its first two lines of ``---``."""

import datetime
import html
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from physalis.artifact.untrusted import shown
from physalis.errors import BadInput

KEYS = ("title", "description", "authors", "date", "bibliography")


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """Words alone, whatever stood there."""

    title: str
    description: str
    authors: tuple[str, ...]
    date: str
    bibliography: tuple[str, ...]
    """Names of files beside the article."""

    def html(self) -> str:
        """The title and what stands under it."""
        said = f'<h1 tabindex="-1">{html.escape(self.title)}</h1>'
        if self.description:
            said += f'<p class="lead">{html.escape(self.description)}</p>'
        by = " · ".join(part for part in (", ".join(self.authors), self.date) if part)
        by = by and f'<p class="by">{html.escape(by)}</p>'
        return f'<header class="front">{said}{by}</header>'


def read_head(file: Path, said: dict[Any, Any]) -> Head:
    """The head that ``said`` spells. Raises BadInput for what it cannot say, and for values that are no words."""
    if unknown := [key for key in said if key not in KEYS]:
        raise BadInput(
            f"{file}: the head says {shown(unknown[0])}, which means nothing here. It may say: {', '.join(KEYS)}."
        )
    day = said.get("date")
    return Head(
        title=_words(file, "title", said.get("title")),
        description=_words(file, "description", said.get("description")),
        authors=_listed(file, "authors", said.get("authors")),
        date=f"{day.day} {day:%B %Y}" if isinstance(day, datetime.date) else _words(file, "date", day),
        bibliography=_listed(file, "bibliography", said.get("bibliography")),
    )


def _words(file: Path, key: str, value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str | int | float) or (isinstance(value, int) and abs(value) > 10**18):
        raise BadInput(f"{file}: the head says {key}: {shown(value)}, which is no line of text. Put it into quotes.")
    return str(value)


def _listed(file: Path, key: str, value: Any) -> tuple[str, ...]:
    each = value if isinstance(value, list) else [] if value is None else [value]
    return tuple(_words(file, key, one) for one in each)
