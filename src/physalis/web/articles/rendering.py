"""rendering: an article that resolved, as HTML: its text, its contents and its references."""

import html
import re
from typing import Any

from markdown_it.renderer import RendererHTML
from markdown_it.token import Token

from physalis.web.articles.markdown import plain
from physalis.web.articles.resolving import Resolver


class Writer(RendererHTML):
    """Tokens as HTML; the words of the author are escaped by RendererHTML."""

    def __init__(self, resolved: Resolver) -> None:
        super().__init__()
        self._resolved = resolved
        self._notes = 0

    def block_open(self, tokens: Any, i: int, options: Any, env: Any) -> str:
        meta = tokens[i].meta
        if meta["kind"] == "note":
            return '<aside class="note">'
        if meta["kind"] == "image":
            alt = html.escape(_caption(tokens[i + 1 :]))
            shown = f'<img src="{html.escape(meta["src"])}" alt="{alt}">'
        else:
            shown = f'<div data-figure="{meta["record"]}"><p>{html.escape(meta["still"])}</p></div>'
        wide = ' class="wide"' if meta.get("wide") else ""
        name = html.escape(meta["name"])
        return f'<figure id="{name}"{wide}>{shown}<figcaption><b>Figure {meta["number"]}.</b> '

    def block_close(self, tokens: Any, i: int, options: Any, env: Any) -> str:
        return "</aside>\n" if tokens[i].meta["kind"] == "note" else "</figcaption></figure>\n"

    def note(self, tokens: Any, i: int, options: Any, env: Any) -> str:
        self._notes += 1
        mark = f"<sup>{self._notes}</sup>"
        inside = self.renderInline(tokens[i].children or [], options, env)
        return f'{mark}<span class="note" role="note">{mark} {inside}</span>'

    def cite(self, tokens: Any, i: int, options: Any, env: Any) -> str:
        parts = []
        for key, where in tokens[i].meta["cited"]:
            number, title = self._resolved.cited[key], html.escape(self._resolved.works[key].words())
            link = f'<a href="#{_reference(key)}" title="{title}">{number}</a>'
            parts.append(f"{link}, {html.escape(where)}" if where else link)
        return f'<span class="cite">[{"; ".join(parts)}]</span>'

    def link_open(self, tokens: Any, i: int, options: Any, env: Any) -> str:
        token = tokens[i]
        empty = tokens[i + 1].type == "link_close"
        text = ""
        if empty:
            text = (
                f"Figure {token.meta['number']}"
                if token.meta.get("number")
                else html.escape(str(token.attrGet("href")))
            )
        return self.renderToken(tokens, i, options, env) + text

    def image(self, tokens: Any, i: int, options: Any, env: Any) -> str:
        token = tokens[i]
        token.attrSet("alt", plain(token.children or []))
        return self.renderToken(tokens, i, options, env)

    def table_open(self, tokens: Any, i: int, options: Any, env: Any) -> str:
        return '<div class="scroll"><table>\n'

    def table_close(self, tokens: Any, i: int, options: Any, env: Any) -> str:
        return "</table></div>\n"


def _caption(tokens: list[Token]) -> str:
    end = next(i for i, token in enumerate(tokens) if token.type == "block_close")
    return " ".join(plain(token.children or []) for token in tokens[:end] if token.type == "inline")


def _reference(key: str) -> str:
    return "ref-" + re.sub(r"[^\w.-]", "-", key)


def contents(resolved: Resolver) -> str:
    parts = [part for part in resolved.headings if part[0] <= 3]
    if len(parts) < 2:
        return ""
    lines = "".join(
        f'<li class="{"deeper" if level > 2 else "part"}"><a href="#{html.escape(id)}">{html.escape(text)}</a></li>'
        for level, id, text in parts
    )
    return f'<nav class="contents" aria-label="Contents"><h2>Contents</h2><ol>{lines}</ol></nav>'


def references(resolved: Resolver) -> str:
    if not resolved.cited:
        return ""
    lines = "".join(f'<li id="{_reference(key)}">{resolved.works[key].html()}</li>' for key in resolved.cited)
    return f'<section class="references"><h2 id="references">References</h2><ol>{lines}</ol></section>'
