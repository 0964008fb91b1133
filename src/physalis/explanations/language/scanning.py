"""scanning: what stands around each position of a text: its word, the word before, its line, what is open."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from physalis.explanations.language.leaves import Kind

PLACES = {"1": 1, "2": 2, "3-4": 4, "5-8": 8, "9-16": 16}
"""Which places at the start of a context are told from the rest, and the last token of each."""
_CLOSES = {")": "(", "]": "[", "}": "{"}
_QUOTES = "\"'`"
_DEEPEST = 64


def scan(
    tokens: Int[np.ndarray, "contexts length"], symbols: Sequence[str]
) -> dict[Kind, tuple[np.ndarray, list[str]]]:
    """Of each kind of place, a number at every position, -1 where there is nothing of it, and what the numbers are
    called. ``symbols`` are the texts of all tokens of the vocabulary."""
    names: tuple[Kind, ...] = ("word", "previous word", "line starts", "inside")
    ids = {name: np.full(tokens.shape, -1, np.int32) for name in names}
    numbers: dict[Kind, dict[str, int]] = {name: {} for name in names}
    for row, context in enumerate(tokens.tolist()):
        state = _State()
        for column, token in enumerate(context):
            state.read(symbols[int(token)])
            for name, value in zip(names, state.values(), strict=True):
                if value:
                    ids[name][row, column] = numbers[name].setdefault(value, len(numbers[name]))
    found: dict[Kind, tuple[np.ndarray, list[str]]] = {name: (ids[name].ravel(), list(numbers[name])) for name in names}
    place = np.searchsorted(list(PLACES.values()), np.arange(tokens.shape[1]), side="right")
    place = np.where(place < len(PLACES), place, -1).astype(np.int32)
    return {**found, "place": (np.broadcast_to(place, tokens.shape).ravel(), list(PLACES))}


class _State:
    """What a reader remembers of a text, character by character."""

    def __init__(self) -> None:
        self.word = self.previous = self.line = self.quote = ""
        self.open: list[str] = []
        self.is_word_at_line_start = True
        """Nothing but spaces and at most one word, which may go on, stood in the line so far."""

    def read(self, text: str) -> None:
        """Go on with a token's text."""
        for character in text:
            if character.isalnum():
                self.word += character.lower()
                if self.is_word_at_line_start:
                    self.line += character.lower()
                continue
            if self.word:
                self.previous, self.word = self.word, ""
            if character == "\n":
                self.line, self.is_word_at_line_start = "", True
                self.quote = ""
            elif not character.isspace():
                self._sign(character)
            elif self.line:
                self.is_word_at_line_start = False

    def _sign(self, character: str) -> None:
        if self.is_word_at_line_start:
            self.line = self.line or character
            self.is_word_at_line_start = False
        if self.quote:
            self.quote = "" if character == self.quote else self.quote
        elif character in _QUOTES:
            self.quote = character
        elif character in "([{":
            self.open = [*self.open[-_DEEPEST:], character]
        elif self.open and _CLOSES.get(character) == self.open[-1]:
            self.open.pop()

    def values(self) -> tuple[str, str, str, str]:
        """word, previous word, line starts, inside"""
        return self.word, self.previous, self.line, self.quote or (self.open[-1] if self.open else "")
