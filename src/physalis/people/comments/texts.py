"""Texts: what a person may write in a line or a paragraph, checked once, before it is signed and kept."""

import unicodedata

from physalis.errors import BadInput

DIRECTIONS = "\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
"""Marks that turn the direction of writing: in a name they make it read as another."""

_BREAKS = ("Cc", "Cs", "Zl", "Zp")
"""Unicode categories of what cannot stand in a line: controls, halves of a pair, line and paragraph separators."""


def line(text: str, *, what: str, least: int, most: int) -> str:
    """``text`` without spaces around it. Raises BadInput for too few or too many characters, for one that would end a
    line (or a header) or turn its direction, and for a text without letters."""
    bad = next((c for c in text if unicodedata.category(c) in _BREAKS or c in DIRECTIONS), None)
    if bad is not None:
        raise BadInput(f"The {what} {_shown(text)} holds U+{ord(bad):04X}, which cannot stand in a line. Leave it out.")
    text = text.strip()
    if not least <= len(text) <= most:
        raise BadInput(f"The {what} has {least} to {most} characters; received {len(text)}: {_shown(text)}.")
    if text and not any(c.isalnum() for c in text):
        raise BadInput(f"The {what} has no letter or digit; received {_shown(text)}.")
    return text


def prose(text: str, *, what: str, most: int) -> str:
    """``text`` with lines that end in a line feed, without empty ones around it. Raises BadInput if nothing or too much
    is left, or if it holds control characters."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    bad = next((c for c in text if unicodedata.category(c) in ("Cc", "Cs") and c not in "\n\t"), None)
    if bad is not None:
        raise BadInput(f"The {what} holds the control character U+{ord(bad):04X}. Leave it out.")
    text = text.rstrip().lstrip("\n")  # spaces before the first word may mean code
    if not text:
        raise BadInput(f"The {what} is empty. Write something.")
    if len(text) > most:
        raise BadInput(f"The {what} has at most {most:,} characters; received {len(text):,}. Shorten it.")
    return text


def _shown(text: str) -> str:
    return ascii(text if len(text) <= 60 else f"{text[:60]}...")
