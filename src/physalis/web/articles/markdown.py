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

from markdown_it import MarkdownIt
from markdown_it.helpers import parseLinkLabel
from markdown_it.rules_block import StateBlock
from markdown_it.rules_core import StateCore
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

from physalis.artifact import untrusted
from physalis.artifact.untrusted import shown
from physalis.errors import BadInput

_FENCE = re.compile(r"(:{3,})[ \t]*(\S.*)?")
_CITATION = re.compile(r"\[(@[^\[\]]+)\]")
MOST = 1 << 20
"""Bytes of an article, of which a novel has half."""
MOST_HEAD = 1 << 16
"""Characters between its first two lines of ---."""
LONGEST_PARAGRAPH = 20_000
"""Characters of a paragraph: some of Markdown's marks take the square of the time that their number takes."""
DEEPEST = 4
"""Blocks in blocks, and notes in notes."""


class Lost(BadInput):
    """A line of an author's file that does not resolve."""

    def __init__(self, file: Path | str, line: int, sentence: str) -> None:
        super().__init__(f"{file}, line {line}: {sentence}")


def read_markdown(file: Path) -> tuple[dict[str, Any], list[Token]]:
    """What the file says of itself between two lines of ``---``, and its tokens, whose ``map`` counts lines of the
    whole file from 0. Raises BadInput for a file that is not there, is not text, or whose head cannot be read."""
    try:
        text = untrusted.read_text(file, most=MOST)
    except BadInput as error:
        raise BadInput(f"This cannot be read as Markdown: {error}") from error
    head, body = _split(file, text.replace("\r\n", "\n").replace("\r", "\n"))
    tokens = _parser(file).parse(body)
    return head, tokens


def _split(file: Path, text: str) -> tuple[dict[str, Any], str]:
    lines = text.split("\n")
    if lines[0].rstrip() != "---":
        return {}, text
    end = next((i for i, line in enumerate(lines[1:], 1) if line.rstrip() == "---"), None)
    if end is None:
        raise Lost(file, 1, "the head that begins with --- never ends. Close it with another line of ---.")
    said = "\n".join(lines[1:end])
    if len(said) > MOST_HEAD:
        raise Lost(file, 2, f"the head has more than {MOST_HEAD:,} characters.")
    try:
        head = untrusted.parse_yaml(said, "the head") or {}
    except untrusted.Malformed as error:
        raise Lost(file, error.line + 2, str(error)) from error
    if not isinstance(head, dict):
        raise Lost(file, 2, f"the head must be lines such as title: ...; received {shown(head)}.")
    # Empty lines in its place, so that lines count as in the file.
    return head, "\n".join([""] * (end + 1) + lines[end + 1 :])


def _parser(file: Path) -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False, "typographer": False}).enable(["table", "strikethrough"])
    depth = 0

    def block(state: StateBlock, start: int, end: int, silent: bool) -> bool:
        nonlocal depth
        found = _FENCE.fullmatch(_line(state, start))
        if found is None or not found[2] or state.is_code_block(start):
            return False
        if silent:
            return True
        last = next((i for i in range(start + 1, end) if _closes(_line(state, i), found[1])), None)
        if last is None:
            raise Lost(
                file, start + 1, f"the block ::: {found[2].strip()[:80]} never ends. Close it with a line of :::."
            )
        parent, most = state.parentType, state.lineMax
        state.parentType, state.lineMax = "container", last
        token = state.push("block_open", "", 1)
        token.info, token.map, token.block = found[2].strip(), [start, last], True
        depth += 1
        if depth > DEEPEST:
            raise Lost(file, start + 1, f"blocks stand more than {DEEPEST} deep inside each other.")
        state.md.block.tokenize(state, start + 1, last)
        depth -= 1
        state.push("block_close", "", -1)
        state.parentType, state.lineMax, state.line = parent, most, last + 1
        return True

    def short(state: StateCore) -> None:
        for token in state.tokens:
            if token.type == "inline" and len(token.content) > LONGEST_PARAGRAPH:
                line = (token.map or [0])[0] + 1
                raise Lost(file, line, f"a paragraph has more than {LONGEST_PARAGRAPH:,} characters. Part it.")

    parser.core.ruler.before("inline", "short", short)
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
    depth = state.env.get("notes", 0)
    if end < 0 or depth >= DEEPEST:
        return False
    if not silent:
        token = state.push("note", "span", 0)
        token.children = []
        inside = {**state.env, "notes": depth + 1}
        state.md.inline.parse(state.src[state.pos + 2 : end], state.md, inside, token.children)
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
