"""Anchors: what a comment hangs on: a feature, a figure, or a passage of an article.

A passage is found again by its words and those around it, as in the TextQuoteSelector of the W3C's Web Annotation Data
Model (https://www.w3.org/TR/annotation-model/#text-quote-selector), so that it survives changes elsewhere in the text.
All anchors of one page share a *place*, which is what pages ask for: "feature/12", "figure/TMS-1", "article/intro".
"""

import os
import re
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from physalis.errors import BadInput
from physalis.people.records import Record

MOST_FEATURE, LONGEST_NAME = 2**31 - 1, 100
_SLUG = "[A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*"
_PLACE = re.compile(rf"feature/(?P<feature>0|[1-9][0-9]{{0,9}})|(?:figure|article)/(?P<name>{_SLUG})")

Slug = Annotated[str, Field(pattern=f"^{_SLUG}$", max_length=LONGEST_NAME)]
"""A name that is also safe as a file's: letters and digits, parted by single dots, dashes or underscores."""


class FeatureAnchor(Record):
    """A feature of the atlas."""

    kind: Literal["feature"] = "feature"
    feature: Annotated[int, Field(ge=0, le=MOST_FEATURE, strict=True)]

    @property
    def place(self) -> str:
        return f"feature/{self.feature}"


class FigureAnchor(Record):
    """A figure, by the id it has on its page. One of an article's is called ARTICLE.FIGURE."""

    kind: Literal["figure"] = "figure"
    figure: Slug

    @property
    def place(self) -> str:
        return f"figure/{self.figure}"


class PassageAnchor(Record):
    """The words ``exact`` of an article, where ``prefix`` stands before them and ``suffix`` after."""

    kind: Literal["passage"] = "passage"
    article: Slug
    exact: Annotated[str, Field(min_length=1, max_length=1000, pattern=r"\S")]
    prefix: Annotated[str, Field(max_length=200)] = ""
    suffix: Annotated[str, Field(max_length=200)] = ""

    @property
    def place(self) -> str:
        return f"article/{self.article}"

    def find(self, text: str) -> tuple[int, int] | None:
        """Where ``text`` has the passage: its start and end in characters. Of several, the one whose surroundings
        agree longest with prefix and suffix, the first of equals. None if the words are gone."""
        best, longest = None, -1
        start = text.find(self.exact)
        while start >= 0:
            end = start + len(self.exact)
            before, after = text[max(0, start - len(self.prefix)) : start], text[end : end + len(self.suffix)]
            agreed = _common(self.prefix[::-1], before[::-1]) + _common(self.suffix, after)
            if agreed > longest:
                best, longest = (start, end), agreed
            start = text.find(self.exact, start + 1)
        return best


Anchor = FeatureAnchor | FigureAnchor | PassageAnchor
ANCHOR = TypeAdapter[Anchor](Annotated[Anchor, Field(discriminator="kind")])
"""Reads and writes an anchor as JSON."""


def read_place(text: str) -> str:
    """``text`` if it is a place. Raises BadInput otherwise."""
    match = _PLACE.fullmatch(text)
    if match is None or int(match["feature"] or 0) > MOST_FEATURE or len(match["name"] or "") > LONGEST_NAME:
        raise BadInput(
            f"No comment can hang on {ascii(text[:60])}. Write feature/12, figure/NAME or article/NAME; a NAME is "
            "letters and digits, parted by single dots, dashes or underscores."
        )
    return text


def _common(a: str, b: str) -> int:
    return len(os.path.commonprefix([a, b]))
