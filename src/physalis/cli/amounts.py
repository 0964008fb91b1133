"""Amounts as people write them: 300k, 2M, 1_000; and dictionary sizes: 4608 or 8x."""

import re
from collections.abc import Sequence
from typing import Annotated

from cyclopts import Parameter, Token

from physalis.errors import BadInput

_UNITS = {"": 1, "k": 1_000, "m": 1_000_000, "b": 1_000_000_000, "g": 1_000_000_000}
DEFAULT_FEATURES = "8x"


def amount(text: str) -> int:
    """Read "300k" as 300000. Raises BadInput otherwise."""
    match = re.fullmatch(r"([\d_]*\.?\d+)([kmbg]?)", text.strip().lower())
    if match is None:
        raise BadInput(f"Cannot read {text!r} as an amount. Write a number, as in 50000, 300k or 2M.")
    found = float(match[1].replace("_", "")) * _UNITS[match[2]]
    if abs(found - round(found)) > 1e-6:
        raise BadInput(f"{text!r} is not a whole number. Write one, as in 50000, 1.5k or 2M.")
    return round(found)


def count_features(text: str | None, width: int) -> int:
    """Read "4608", or "8x" as 8 times ``width``; 8x if None. Raises BadInput otherwise."""
    text = (text or DEFAULT_FEATURES).strip().lower()
    if match := re.fullmatch(r"(\d*\.?\d+)x", text):
        return round(float(match[1]) * width)
    return amount(text)


def _convert(_: object, tokens: Sequence[Token]) -> int:
    return amount(tokens[0].value)


Amount = Annotated[int | None, Parameter(converter=_convert)]
Features = Annotated[str | None, Parameter(help="How many features: a number, or a multiple of the width as in 8x.")]
