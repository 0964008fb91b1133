"""shortened: what somebody sent, as far as a sentence repeats it."""

import reprlib

LONGEST = 200
"""Characters of what somebody sent that a sentence repeats."""
_repr = reprlib.Repr()


def cut(text: str) -> str:
    """A text, as far as a sentence repeats it."""
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def shown(given: object) -> str:
    """A value that somebody sent, as far as a sentence repeats it: in ASCII, since half a surrogate pair could not be
    sent back."""
    text = given[: LONGEST + 1] if isinstance(given, str) else given
    return cut(
        (ascii(text) if isinstance(text, str) else _repr.repr(text)).encode("ascii", "backslashreplace").decode()
    )
