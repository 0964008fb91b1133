"""leaves: Leaf, one thing that a rule asks of a token or of what stands before it, and how it is written.

The primitives are those of Semantic Regexes (Boggust et al., arXiv 2510.06378), as far as they are learned without a
language model. What a leaf is true of is told by ``surroundings``.
"""

import json
import re
from dataclasses import dataclass
from typing import Literal, get_args

Kind = Literal[
    "symbol", "lexeme", "beginning", "ending", "kind", "very like", "like", "loosely like",
    "word", "previous word", "line starts", "inside", "place",
]  # fmt: skip
"""symbol: this very token.                          lexeme: a token in any casing, spacing and inflection.
beginning, ending: the first or last three letters, or sign.   kind: digits, a Capitalised word, punctuation, ...
very like, like, loosely like: used and spelled like this token in the text that the rules are of (``fields``).
word: the letters from the last break up to this token.       previous word: the word before that.
line starts: the line's first word or sign.       inside: the bracket or quotation that is open.
place: the token's number in the context, from 1, as far as 16."""
TOKEN_KINDS: tuple[Kind, ...] = ("symbol", "lexeme", "beginning", "ending", "kind", "very like", "like", "loosely like")
"""What is asked of a token alone: also of one that stands before."""
PLACE_KINDS: tuple[Kind, ...] = get_args(Kind)[len(TOKEN_KINDS) :]
FARTHEST = 4
"""Tokens that a leaf looks back, at most."""


@dataclass(frozen=True, slots=True, order=True)
class Leaf:
    """``kind value``, of the token ``back`` positions before; or that it is not so."""

    kind: Kind
    value: str
    """As tokens are shown: with leading spaces, and bytes that are no text as ``\\xNN``."""
    back: int = 0
    negated: bool = False

    def __str__(self) -> str:
        """As ``parse_leaf`` reads it: ``"self"``, ``not like "map" before``, ``"(" 2 before``."""
        kind = "" if self.kind == "symbol" else f"{self.kind} "
        place = {0: "", 1: " before"}.get(self.back, f" {self.back} before")
        return f"{'not ' * self.negated}{kind}{json.dumps(self.value, ensure_ascii=False)}{place}"

    def in_words(self) -> str:
        """For a sentence."""
        said = _SAID[self.kind].format(json.dumps(self.value, ensure_ascii=False))
        place = {0: "", 1: " just before"}.get(self.back, f" {self.back} tokens before")
        return f"{'not ' * self.negated}{said}{place}"


_SAID: dict[str, str] = {
    "symbol": "the token {}", "lexeme": "a form of {}", "beginning": "what begins with {}",
    "ending": "what ends in {}", "kind": "{}",
    "very like": "a token used just like {}", "like": "a token used like {}",
    "loosely like": "a token used somewhat like {}", "word": "the word {} so far", "previous word": "after the word {}",
    "line starts": "in a line that starts with {}", "inside": "inside {}", "place": "at place {} of the context",
}  # fmt: skip

_KINDS = sorted((kind for kind in get_args(Kind) if kind != "symbol"), key=len, reverse=True)
_STRING = r'"(?:[^"\\]|\\.)*"'
PATTERN = re.compile(
    rf"(?P<not>not )?(?:(?P<kind>{'|'.join(_KINDS)}) )?(?P<value>{_STRING})"
    rf"(?:(?: (?P<back>[2-{FARTHEST}]))?(?P<before> before))?"
)
"""A leaf, as it is written."""


def leaf_of(found: re.Match[str]) -> Leaf:
    """What ``PATTERN`` found. Raises ValueError for a string that is none, or a place's kind with ``before``."""
    kind: Kind = found["kind"] or "symbol"  # type: ignore[assignment]
    back = 0 if found["before"] is None else int(found["back"] or 1)
    if back and kind in PLACE_KINDS:
        raise ValueError(f"{kind!r} is said of the token itself, not of one before")
    return Leaf(kind, json.loads(found["value"]), back, found["not"] is not None)
