"""try_records: what "Try it" is asked, and what it answers. The fields of a question are its query string too."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from physalis.atlas.records import Record
from physalis.search.records import Contrast, Found, OnToken

CHARACTERS = 20_000
"""Of one text, at most."""
TEXTS = 100
"""Texts in a set, at most."""
MOST = 500
"""Features in an answer, at most."""

Text = Annotated[str, Field(min_length=1, max_length=CHARACTERS)]
Limit = Annotated[int, Field(ge=1, le=MOST)]
STRICT = ConfigDict(strict=True)
"""A number is a number, not true and not "1"."""


class Try(Record):
    """What fires on this text?"""

    model_config = STRICT

    text: Text
    strongest: int = Field(5, ge=1, le=20)
    """Features shown of each token."""
    sort: Literal["peak", "relative", "total", "tokens"] = "peak"
    """How the whole text's features are ranked: by their largest code, that over their largest in the atlas, the sum of
    their codes, or the number of tokens they fire on."""
    densest: float = Field(1.0, ge=0, le=1)
    """Features that fire on a larger share of the atlas's text are left out."""
    limit: Limit = 50


class TryFeatures(Record):
    """Where in this text do these features fire?"""

    model_config = STRICT

    text: Text
    feature: list[int] = Field(min_length=1, max_length=32, fail_fast=True)


class TryToken(Record):
    """Which features fire on this token?"""

    model_config = STRICT

    text: list[Text] = Field(min_length=1, max_length=TEXTS, fail_fast=True)
    token: str = Field(min_length=1, max_length=200)
    """As text, with the space before it if it has one."""
    limit: Limit = 50


class TryContrast(Record):
    """Which features fire here and not there?"""

    model_config = STRICT

    here: list[Text] = Field(min_length=1, max_length=TEXTS, fail_fast=True)
    there: list[Text] = Field(min_length=1, max_length=TEXTS, fail_fast=True)
    measure: Literal["mean_code", "share_of_tokens", "share_of_texts"] = "mean_code"
    limit: Limit = 50


class TryMeaning(Record):
    """Which features have to do with this?"""

    query: str = Field(min_length=1, max_length=1000)
    limit: Limit = 50


class Named(Record):
    """A feature, by what tells it apart in a list."""

    id: int
    headline: str
    density: float
    max_code: float
    """Both as in the atlas, over its own text."""


class TokenCode(Record):
    id: int
    code: float


class TriedToken(Record):
    token: str
    left_out: str | None
    """Why the dictionary does not read it: "bos" or "sink"."""
    features: list[TokenCode]
    """Largest code first."""


class FiredFeature(Record):
    """A feature over a whole text."""

    id: int
    peak: float
    at: int
    """The token of its peak."""
    total: float
    tokens: int
    """On which it fires."""


class Tried(Record):
    state: str
    tokens: list[TriedToken]
    n_fired: int
    """Features that fire on the text, of which ``features`` are the first."""
    features: list[FiredFeature]
    names: list[Named]
    """Of every feature that is mentioned, by id."""


class Trace(Record):
    feature: Named
    codes: list[float]
    """One a token."""


class Traced(Record):
    state: str
    tokens: list[str]
    left_out: list[str | None]
    traces: list[Trace]


class TokenTried(Record):
    state: str
    on: OnToken
    names: list[Named]


class ContrastTried(Record):
    state: str
    verdict: str
    """What may be concluded, in a sentence."""
    contrast: Contrast
    names: list[Named]


class MeaningTried(Record):
    state: str
    found: Found
    names: list[Named]
