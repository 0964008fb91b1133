"""Amounts as people write them: 300k, 2M, 1_000; dictionary sizes: 4608 or 8x; and the ranges that numbers lie in."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from cyclopts import Parameter, Token

from physalis.errors import BadInput

_UNITS = {"": 1, "k": 1_000, "m": 1_000_000, "b": 1_000_000_000, "g": 1_000_000_000}
DEFAULT_FEATURES = "8x"
MOST = 10**9
"""Of anything that is counted one by one."""
LARGEST_SEED = 2**32 - 1
"""What every generator of random numbers takes."""


@dataclass(frozen=True)
class Range:
    """A validator: numbers from ``least`` to ``most``, or above ``above``."""

    least: float = -math.inf
    most: float = math.inf
    above: float = -math.inf
    below: float = math.inf

    def __call__(self, _: object, value: Any) -> None:
        """Raises ValueError, with the range in words."""
        for each in value if isinstance(value, list | tuple) else [value]:
            if each is not None and not (self.least <= each <= self.most and self.above < each < self.below):
                finite = "" if math.isfinite(each) else "a finite number, "
                raise ValueError(f"It must be {finite}{self}.")

    def __str__(self) -> str:
        low = f"at least {self.least:,g}" if self.least > -math.inf else ""
        low = low or (f"above {self.above:,g}" if self.above > -math.inf else "")
        high = f"at most {self.most:,.15g}" if self.most < math.inf else ""
        high = high or (f"below {self.below:,g}" if self.below < math.inf else "")
        return " and ".join(filter(None, (low, high))) or "a number"


def amount(text: str, *, such_as: str = "50000, 300k or 2M") -> int:
    """Read "300k" as 300000. Raises BadInput otherwise."""
    match = re.fullmatch(r"(-?[\d_]*\.?\d+)([kmbg]?)", text.strip().lower())
    if match is None:
        raise BadInput(f"Cannot read {text!r} as an amount. Write a number, as in {such_as}.")
    found = float(match[1].replace("_", "")) * _UNITS[match[2]]
    if not abs(found) < 2**63:
        raise BadInput(f"{text[:20]!r} is larger than anything here counts. Write a number, as in {such_as}.")
    if abs(found - round(found)) > 1e-6:
        raise BadInput(f"{text!r} is not a whole number. Write one, as in 50000, 1.5k or 2M.")
    return round(found)


def count_features(text: str | None, width: int) -> int:
    """Read "4608", or "8x" as 8 times ``width``; 8x if None. Raises BadInput otherwise."""
    text = (text or DEFAULT_FEATURES).strip().lower()
    if match := re.fullmatch(r"(\d*\.?\d+)x", text):
        return check_count(text, round(float(match[1]) * width))
    return check_count(text, amount(text, such_as="4608 or 16k, or a multiple of the width, as in 8x"))


def check_count(text: str, found: int) -> int:
    """Raises BadInput for no features at all."""
    if found < 1:
        raise BadInput(f"A dictionary has at least one feature; received {text!r}. Write 4608, 16k or 8x.")
    return found


def _convert(_: object, tokens: Sequence[Token]) -> int:
    return amount(tokens[0].value)


def whole(text: str) -> int:
    """Read "32". Raises BadInput otherwise: int() of a number with a fraction would round it without a word."""
    if re.fullmatch(r"[+-]?[0-9][0-9_]*", text.strip()) is None or len(text) > 300:
        raise BadInput(f"{text[:40]!r} is not a whole number.")
    return int(text)


def as_whole(_: object, tokens: Sequence[Token]) -> int:
    """A converter of one word."""
    return whole(tokens[0].value)


def as_wholes(_: object, tokens: Sequence[Token]) -> list[int]:
    """A converter of an option that may be given several times."""
    return [whole(each.value) for each in tokens]


def _sized(_: object, value: str | list[str] | None) -> None:
    for each in value if isinstance(value, list) else [value]:
        if each is not None:
            count_features(each, 1_000)  # what a multiple comes to is known when the width is


Count = Annotated[int | None, Parameter(converter=as_whole, validator=Range(1, MOST), metavar="N")]
Amount = Annotated[int | None, Parameter(converter=_convert, validator=Range(1), metavar="AMOUNT")]
AmountFrom0 = Annotated[int | None, Parameter(converter=_convert, validator=Range(0), metavar="AMOUNT")]
Seed = Annotated[int | None, Parameter(converter=as_whole, validator=Range(0, LARGEST_SEED), metavar="N")]
Positive = Annotated[float | None, Parameter(validator=Range(above=0, below=math.inf), metavar="NUMBER")]
Features = Annotated[
    str | None,
    Parameter(
        help="How many features: a number such as 4608 or 16k, or a multiple of the width such as 8x.",
        show_default=DEFAULT_FEATURES, validator=_sized, metavar="AMOUNT",
    ),
]  # fmt: skip
