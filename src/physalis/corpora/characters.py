"""characters: the text of tokens, where a token may hold only a part of a character.

Vocabularies of bytes cut characters in two: an emoji, a Chinese character or a Cyrillic letter may be two or three
tokens, none of which is text. Alone such a token is its bytes, written ``\\xNN``. In a text the bytes of neighbours are
joined: the character stands once, on the token that completes it, and each token before that it begins or goes on in
ends with ``CUT``, which nobody sees and pages make visible. So the strings of a text, joined, are the text.
"""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate, groupby

CUT = "\u2060"
"""At the end of a token whose last character is completed by the next one: a word joiner, which has no width."""

SEEN = "¦"
"""What a cut is shown as, on pages and in headlines."""

Piece = str | bytes
"""A token: its text, or its bytes where those begin or end inside a character."""


def piece(data: bytes) -> Piece:
    """Bytes as text, if they are text."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def alone(token: Piece) -> str:
    """A token by itself: bytes that are only part of a character are written ``\\xNN`` rather than lost."""
    return token if isinstance(token, str) else token.decode(errors="backslashreplace")


def in_text(tokens: Sequence[Piece]) -> list[str]:
    """Tokens that follow each other in a text, characters whole, those that tokens cut marked by ``CUT``. Bytes that
    are no part of a whole character here, at the ends of a window for instance, are written ``\\xNN``."""
    shown: list[str] = []
    for kind, run in groupby(tokens, key=type):
        some = list(run)
        shown += _joined([each for each in some if isinstance(each, bytes)]) if kind is bytes else map(alone, some)
    return shown


def parts(tokens: Sequence[Piece]) -> list[str]:
    """For each token of a text that cuts characters, these whole, with ``SEEN`` on the side where it does: "日¦" begins
    that character, "¦日" ends it. Empty for other tokens, and for bytes that are no part of a whole character."""
    found: list[str] = []
    for kind, run in groupby(tokens, key=type):
        some = list(run)
        found += _parts([each for each in some if isinstance(each, bytes)]) if kind is bytes else [""] * len(some)
    return found


def plain(text: str) -> str:
    """Text without the marks of ``in_text``: for what is read outside our pages."""
    return text.replace(CUT, "")


def _joined(run: Sequence[bytes]) -> list[str]:
    data, ends = b"".join(run), [*accumulate(map(len, run))]
    shown = [""] * len(run)
    start = 0
    while start < len(data):
        size, text = _character(data, start)
        first, last = bisect_right(ends, start), bisect_right(ends, start + size - 1)
        for token in range(first, last):
            shown[token] += CUT
        shown[last] += text
        start += size
    return shown


def _parts(run: Sequence[bytes]) -> list[str]:
    data, ends = b"".join(run), [*accumulate(map(len, run))]
    found, whole = [""] * len(run), [True] * len(run)
    start = 0
    while start < len(data):
        size, text = _character(data, start)
        first, last = bisect_right(ends, start), bisect_right(ends, start + size - 1)
        for token in range(first, last + 1):
            found[token] += SEEN * (token > first) + text + SEEN * (token < last)
            whole[token] &= size > 1 or text.isascii() and len(text) == 1
        start += size
    return [text if is_whole else "" for text, is_whole in zip(found, whole, strict=True)]


def _character(data: bytes, start: int) -> tuple[int, str]:
    """How many bytes the character has that begins there, and it; a byte by itself where none does."""
    for size in (1, 2, 3, 4):
        try:
            return size, data[start : start + size].decode()
        except UnicodeDecodeError:
            continue
    return 1, f"\\x{data[start]:02x}"
