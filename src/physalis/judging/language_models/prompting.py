"""prompting: what a language model is asked, from the files in ``prompts``, and how its answers are read.

Passages are written by strangers: each stands in tags that it cannot close, and its tokens are marked by characters
that are taken out of it.
"""

import re
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from string import Template

import numpy as np
from jaxtyping import Float

from physalis.judging.questions import Ask

OPEN, CLOSE = "⟦", "⟧"
"""Around tokens that are marked."""
MOST = 10
"""The largest answer."""
_LIST = re.compile(r"\[([\d\s,.]*)\]")
_LEVEL = re.compile(r"(\d+)\s*[=:]\s*(\d+(?:\.\d+)?)")


@cache
def template(name: str) -> Template:
    """A prompt, as its file says it."""
    return Template(
        files("physalis.judging.language_models").joinpath(f"prompts/{name}.txt").read_text(encoding="utf-8")
    )


def filled(name: str, **values: object) -> str:
    """A prompt with everything in its place."""
    return template(name).substitute(open=OPEN, close=CLOSE, **values)


def safe(text: str) -> str:
    """A stranger's text without what marks tokens or ends a passage."""
    return text.replace(OPEN, "[").replace(CLOSE, "]").replace("</", "< /")


def passage(number: int, tokens: Sequence[str], marked: Sequence[bool], levels: Sequence[int] | None = None) -> str:
    """One passage in its tags; marked tokens with their ``levels``, where these are told."""
    parts = []
    for i, (token, is_marked) in enumerate(zip(tokens, marked, strict=True)):
        level = f"({levels[i]})" if levels is not None else ""
        parts.append(f"{OPEN}{safe(token)}{CLOSE}{level}" if is_marked else safe(token))
    return f'<passage n="{number}">\n{"".join(parts)}\n</passage>'


def numbered(tokens: Sequence[str]) -> str:
    """Tokens one a line, each after its number."""
    return "\n".join(f"{i}: {safe(token)!r}" for i, token in enumerate(tokens, 1))


def read(ask: Ask, text: str, n: int) -> Float[np.ndarray, " answers"]:
    """The answers in a reply: NaN, all of them, where it is not what was asked for."""
    nothing = np.full(n, np.nan)
    if ask == "levels":
        found = [(int(i), float(level)) for i, level in _LEVEL.findall(text)]
        if not found:
            return np.zeros(n) if re.search(r"\bnone\b", text, re.IGNORECASE) else nothing
        if any(not 1 <= i <= n or level > MOST for i, level in found):
            return nothing
        levels = np.zeros(n)
        for i, level in found:
            levels[i - 1] = level
        return levels
    lists = [[part for part in re.split(r"[\s,]+", each.strip()) if part] for each in _LIST.findall(text)]
    wanted = 1 if ask == "odd" else n
    try:
        values = next([float(part) for part in each] for each in reversed(lists) if len(each) == wanted)
    except (StopIteration, ValueError):
        return nothing
    if ask == "odd":
        which = values[0]
        return (np.arange(1, n + 1) == which).astype(np.float64) if which in range(1, n + 1) else nothing
    return np.array(values) / MOST if max(values) <= MOST else nothing


def sentence(text: str) -> str:
    """What was said in a reply that should be one sentence: its first line that says something, no quotation marks
    around it; empty where there is none."""
    lines = [line.strip().strip("\"'*` ") for line in text.splitlines()]
    return next((line for line in lines if line), "")[:500]


def lines(text: str, n: int) -> list[str]:
    """The texts of a reply that should be a list, ``n`` at most."""
    found = [line.strip()[1:].strip() for line in text.splitlines() if line.strip().startswith(("-", "*", "•"))]
    return [line for line in found if line][:n]
