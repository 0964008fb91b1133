"""markdown: an author's text as tokens: CommonMark and tables, with figures, margin notes and citations. No HTML of
the author's own: it stays text.

| written | is |
| --- | --- |
| ``::: feature 12 #name`` ... ``:::`` | a block: a kind, what it is of, a name to link to; between them its text |
| ``^[as measured twice]`` | a note in the margin |
| ``[@elhage2022, section 3; @cunningham2023]`` | citations |
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from markdown_it import MarkdownIt
from markdown_it.helpers import parseLinkLabel
from markdown_it.rules_block import StateBlock
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

from physalis.errors import BadInput

_FENCE = re.compile(r"(:{3,})[ \t]*(\S.*)?")
_CITATION = re.compile(r"\[(@[^\[\]]+)\]")


class Lost(BadInput):
    """A line of an author's file that does not resolve."""

    def __init__(self, file: Path | str, line: int, sentence: str) -> None:
        super().__init__(f"{file}, line {line}: {sentence}")


def read_markdown(file: Path) -> tuple[dict[str, Any], list[Token]]:
    """What the file says of itself between two lines of ``---``, and its tokens, whose ``map`` counts lines of the
    whole file from 0. Raises BadInput for a file that is not there, is not text, or whose head cannot be read."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(
            f"{file} cannot be read as Markdown ({error}). Check the path; the text must be UTF-8."
        ) from error
    head, body = _split(file, text)
    tokens = _parser(file).parse(body)
    return head, tokens


def _split(file: Path, text: str) -> tuple[dict[str, Any], str]:
    lines = text.split("\n")
    if lines[0].rstrip() != "---":
        return {}, text
    end = next((i for i, line in enumerate(lines[1:], 1) if line.rstrip() == "---"), None)
    if end is None:
        raise Lost(file, 1, "the head that begins with --- never ends. Close it with another line of ---.")
    try:
        head = yaml.safe_load("\n".join(lines[1:end])) or {}
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        at = mark.line + 2 if mark else 1
        raise Lost(file, at, f"the head is not YAML ({getattr(error, 'problem', error)}).") from error
    if not isinstance(head, dict):
        raise Lost(file, 2, f"the head must be lines such as title: ...; received {head!r}.")
    # Empty lines in its place, so that lines count as in the file.
    return head, "\n".join([""] * (end + 1) + lines[end + 1 :])


def _parser(file: Path) -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False, "typographer": False}).enable(["table", "strikethrough"])

    def block(state: StateBlock, start: int, end: int, silent: bool) -> bool:
        found = _FENCE.fullmatch(_line(state, start))
        if found is None or not found[2] or state.is_code_block(start):
            return False
        if silent:
            return True
        last = next((i for i in range(start + 1, end) if _closes(_line(state, i), found[1])), None)
        if last is None:
            raise Lost(file, start + 1, f"the block ::: {found[2].strip()} never ends. Close it with a line of :::.")
        parent, most = state.parentType, state.lineMax
        state.parentType, state.lineMax = "container", last
        token = state.push("block_open", "", 1)
        token.info, token.map, token.block = found[2].strip(), [start, last], True
        state.md.block.tokenize(state, start + 1, last)
        state.push("block_close", "", -1)
        state.parentType, state.lineMax, state.line = parent, most, last + 1
        return True

    parser.block.ruler.before("fence", "block", block, {"alt": ["paragraph", "reference", "blockquote", "list"]})
    parser.inline.ruler.before("link", "note", _note)
    parser.inline.ruler.before("link", "cite", _cite)
    return parser


def _line(state: StateBlock, line: int) -> str:
    return state.src[state.bMarks[line] + state.tShift[line] : state.eMarks[line]].rstrip()


def _closes(line: str, opening: str) -> bool:
    return len(line) >= len(opening) and not line.strip(":")


def _note(state: StateInline, silent: bool) -> bool:
    if not state.src.startswith("^[", state.pos):
        return False
    end = parseLinkLabel(state, state.pos + 1)
    if end < 0:
        return False
    if not silent:
        token = state.push("note", "span", 0)
        token.children = []
        state.md.inline.parse(state.src[state.pos + 2 : end], state.md, state.env, token.children)
    state.pos = end + 1
    return True


def _cite(state: StateInline, silent: bool) -> bool:
    found = _CITATION.match(state.src, state.pos)
    if found is None:
        return False
    if not silent:
        token = state.push("cite", "span", 0)
        token.content = found[1]
        parts = [part.strip().partition(",") for part in found[1].split(";") if part.strip()]
        token.meta["cited"] = [(key.strip().removeprefix("@"), where.strip()) for key, _, where in parts]
    state.pos = found.end()
    return True


def inline_tokens(tokens: Sequence[Token]) -> Iterator[tuple[int, Token]]:
    """Every token inside paragraphs, notes and headings, with its line, from 1."""
    line = 1
    for token in tokens:
        line = token.map[0] + 1 if token.map else line  # cells of a table have only their row's
        if token.type == "inline" and token.children:
            yield from _spread(token.children, line)


def _spread(children: Sequence[Token], line: int) -> Iterator[tuple[int, Token]]:
    for child in children:
        yield line, child
        if child.children and child.type != "image":
            yield from _spread(child.children, line)
        line += _breaks(child)


def _breaks(token: Token) -> int:
    own = token.type in ("softbreak", "hardbreak")
    return own + token.content.count("\n") + sum(_breaks(child) for child in token.children or ())


def plain(tokens: Sequence[Token]) -> str:
    """The words of inline tokens alone, without notes and citations."""
    text = ""
    for token in tokens:
        if token.type in ("text", "code_inline"):
            text += token.content
        elif token.type in ("softbreak", "hardbreak"):
            text += " "
        elif token.type == "image":
            text += plain(token.children or ())
    return text.strip()
