"""make_console(): where the command line prints. What it is given it shows as it stands: a name in square brackets is
no style, a word between colons no picture, and what would steer a terminal is spelt out."""

import re
from typing import Any

from rich.console import Console, RenderableType
from rich.segment import Segment

WIDE = 110
"""Columns where there is no terminal: a file, a pipe."""

_STEERS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def spelt(text: str) -> str:
    """Text with control characters spelt out, but for line ends and tabs: names and tokens come from strangers."""
    return _STEERS.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


class _Literal(Console):
    """Reads no markup, and spells out what would steer the terminal."""

    def render(self, renderable: RenderableType, options: Any = None) -> Any:
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(spelt(segment.text), segment.style)


def make_console() -> Console:
    """As wide as the terminal, and readable where there is none."""
    width = None if Console().is_terminal else WIDE
    return _Literal(highlight=False, markup=False, emoji=False, width=width)
