"""What stands in an atlas.db is what a build can have put there: numbers that are numbers, ids that exist. No torch.

Raised is BadInput with the end of a sentence, such as "it names a feature that does not exist".
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from physalis.atlas.feature_pages import PageShape, StringTable, page_dtype
from physalis.errors import BadInput

LARGEST_PAGE = 1 << 22
"""Bytes of a page. The usual ones have some 25,000."""
LARGEST_TOKEN = 1 << 22
"""Ids of tokens lie below; the largest vocabularies have some 300,000."""

POSSIBLE = {
    "density": (0, 1), "n_fired": (0, 2**53), "max_code": (0, np.inf), "mean_code": (0, np.inf),
    "token_entropy": (0, np.inf), "nearest_cosine": (-1, 1),
}  # fmt: skip
"""Between what a feature's numbers lie."""
COUNTS = ("n_fired", "region")
"""Numbers that are whole."""
ROUNDING = 0.02
"""By how much rounding may lead out of that."""


def shape_of(said: Any) -> PageShape:
    """A page's sizes from their JSON."""
    names = PageShape.__dataclass_fields__
    if not isinstance(said, dict) or set(said) != set(names):
        raise BadInput(f"its pages' shape should be {', '.join(names)}")
    if not all(type(value) is int and 0 <= value <= LARGEST_PAGE for value in said.values()):
        raise BadInput("its pages' shape holds what is no size")
    shape = PageShape(**said)
    if shape.token_bytes not in (2, 4) or not (shape.bins and shape.effects and shape.intervals):
        raise BadInput("its pages' shape is none that a build makes")
    if shape.examples * shape.width > LARGEST_PAGE or page_dtype(shape).itemsize > LARGEST_PAGE:
        raise BadInput(f"its pages would have more than {LARGEST_PAGE:,} bytes each")
    return shape


def strings_of(said: Any) -> StringTable:
    """The tokens' text from its JSON."""
    if not (isinstance(said, list) and len(said) == 2 and all(isinstance(each, list) for each in said)):
        raise BadInput("its tokens' text cannot be read")
    ids, pieces = said
    if not all(type(id) is int and -1 <= id < LARGEST_TOKEN for id in ids):  # -1 pads, and is written as nothing
        raise BadInput(f"its tokens' ids should lie from 0 to {LARGEST_TOKEN - 1:,}")
    if len(ids) != len(pieces) or len(set(ids)) != len(ids):
        raise BadInput("its tokens' text does not fit their ids")
    try:
        table = [each if isinstance(each, str) else bytes.fromhex(each["hex"]) for each in pieces]
    except (TypeError, KeyError, ValueError) as error:
        raise BadInput("its tokens' text cannot be read") from error
    return StringTable(ids, table)


def columns_of(rows: Sequence[Sequence[Any]], names: Sequence[str], n_features: int) -> dict[str, np.ndarray]:
    """Every number of every feature by its name, from rows that begin with the id."""
    if len(rows) != n_features:
        raise BadInput(f"it has {len(rows):,} features where {n_features:,} were written")
    columns = [*zip(*rows, strict=True)] or [()] * (1 + len(names))
    if columns[0] != tuple(range(n_features)):
        raise BadInput("its features are not numbered from 0 on")
    found: dict[str, np.ndarray] = {"id": np.arange(n_features)}
    for name, column in zip(names, columns[1:], strict=False):
        if not set(map(type, column)) <= {int, float}:
            raise BadInput(f"it holds a {name} that is no number")
        try:
            found[name] = np.array(column, np.float64)
        except OverflowError as error:
            raise BadInput(f"it holds a {name} that is no number") from error
        if not np.isfinite(found[name]).all():
            raise BadInput(f"it holds a {name} that is no number")
        low, high = POSSIBLE.get(name, (-np.inf, np.inf))
        if n_features and not low - ROUNDING <= found[name].min() <= found[name].max() <= high + ROUNDING:
            raise BadInput(f"it holds a {name} that cannot be: it lies from {low:g} to {high:g}")
        if name in COUNTS and (found[name] % 1).any():
            raise BadInput(f"it holds a {name} that is no whole number")
    return found


def check_page(page: np.void, shape: PageShape, strings: StringTable, n_features: int) -> None:
    """Raises BadInput for a page that points outside of the atlas, or holds what is no number."""
    for name in _NUMBERS:
        if not np.isfinite(page[name]).all():
            raise BadInput("it holds what is no number")
    if page["max_code"] < 0:
        raise BadInput("its largest code is below 0")
    for name in ("nearest", "cofiring"):
        _within(page[name], n_features, "a feature that does not exist")
    for name in ("example_tokens", "token", "promoted", "suppressed"):
        _within(page[name], strings.size, "a token that has no text")
    _within(page["example_peak"], shape.width, "a place outside of its example")


_NUMBERS = (
    "max_code", "share_of_firings", "share_of_code", "top_low", "token_share", "promoted_logit", "suppressed_logit",
    "logit_range", "nearest_cosine", "cofiring_correlation",
)  # fmt: skip


def _within(ids: np.ndarray, end: int, what: str) -> None:
    if ids.size and not (ids.min() >= -1 and ids.max() < end):
        raise BadInput(f"it names {what}")
