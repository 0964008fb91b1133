"""vocabulary: what a rule can say of a token alone: its symbol, lexeme, beginning, ending and kind."""

import re
from collections.abc import Sequence

from physalis.corpora.characters import Piece, alone

_ENDINGS = ("ings", "ing", "edly", "ed", "ies", "es", "s")
SHORTEST = 3
"""Letters that are left of a word without its ending, at least."""


def symbol(piece: Piece) -> str:
    """As it is shown: leading spaces kept, bytes that are no text as ``\\xNN``."""
    return alone(piece)


def lexeme(piece: Piece) -> str:
    """Without casing, spaces around it and the endings of English plurals and verbs. What is no word is itself,
    without spaces."""
    word = alone(piece).strip().lower()
    if not word:
        return alone(piece)
    if word.isalpha() and word.isascii():
        for ending in _ENDINGS:
            left = word.removesuffix(ending)
            if left != word and len(left) >= SHORTEST and not (ending == "s" and left.endswith("s")):
                word = left + ("y" if ending == "ies" else "")
                break
        word = word.removesuffix("e") if len(word) > SHORTEST else word
    return word


def beginning(piece: Piece) -> str:
    """The first three letters of a longer word, or the first of several signs, or nothing."""
    text = alone(piece).strip().lower()
    return text[:3] if len(text) > 3 and text.isalpha() else text[:1] if len(text) > 1 and not text[0].isalnum() else ""


def ending(piece: Piece) -> str:
    """The last three letters of a longer word, or the last of several signs, or nothing."""
    text = alone(piece).strip().lower()
    return (
        text[-3:] if len(text) > 3 and text.isalpha() else text[-1:] if len(text) > 1 and not text[-1].isalnum() else ""
    )


def kind(piece: Piece) -> str:
    """One of a dozen words."""
    if isinstance(piece, bytes):
        return "part of a character"
    if "\n" in piece:
        return "line break"
    text = piece.strip()
    if not text:
        return "spaces"
    if text.isdigit():
        return "digits"
    if text.isalpha():
        case = "CAPITALS" if text.isupper() and len(text) > 1 else "Capitalised" if text[0].isupper() else "lower case"
        return f"{case} {'word' if piece[0].isspace() else 'letters'}"
    if not any(character.isalnum() for character in text):
        return "punctuation"
    return "code such as _x" if re.fullmatch(r"\w+", text) else "letters and signs"


def table(pieces: Sequence[Piece]) -> dict[str, list[str]]:
    """Each of the five of every token, by its name."""
    return {each.__name__: [each(piece) for piece in pieces] for each in (symbol, lexeme, beginning, ending, kind)}
