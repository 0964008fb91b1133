"""make_console(): where the command line prints. What it is given it shows as it stands: a name in square brackets is
no style, a word between colons no picture, and what would steer a terminal is spelt out."""

import re
from typing import Any

from rich.console import Console, RenderableType
from rich.segment import Segment

WIDE = 110
"""Columns where there is no terminal: a file, a pipe."""

_STEERS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def spelt(text: str) -> str:
    """Text with control characters spelt out, but for line ends and tabs: names and tokens come from strangers. So are
    the bytes of a file's name that is no UTF-8."""
    return _STEERS.sub(lambda found: _escaped(ord(found[0])), text)


def _escaped(code: int) -> str:
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code < 0xDD00 else f"\\u{code:04x}"


class _Literal(Console):
    """Reads no markup, and spells out what would steer the terminal."""

    def render(self, renderable: RenderableType, options: Any = None) -> Any:
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(spelt(segment.text), segment.style)


def make_console() -> Console:
    """As wide as the terminal, and readable where there is none."""
    width = None if Console().is_terminal else WIDE
    return _Literal(highlight=False, markup=False, emoji=False, width=width)
