"""read_article: Markdown with figures of an atlas and of the lab becomes the text of a page, and the records that its
figures draw themselves from.

| written | is |
| --- | --- |
| ``::: feature 12`` | a feature: how strongly it fires, on which text |
| ``::: list 3, 17, 99`` | features, a line each |
| ``::: experiment lab/TMS-1.json`` | an experiment with its sliders; the file is one that publish_lab wrote |
| ``::: image plot.png`` | a picture |
| ``::: note`` | a note in the margin, as is ``^[...]`` |

Text inside a block is its caption, and ends with a line of ``:::``. A name after ``#``, as in
``::: feature 12 #commas``, is what ``[](#commas)`` refers to as "Figure 1". ``[text](feature:12)``
leads to a feature's page.
"""

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from pydantic import ValidationError

from physalis.artifact import untrusted
from physalis.artifact.untrusted import shown
from physalis.atlas import Atlas
from physalis.errors import BadInput
from physalis.lab.pages import Page
from physalis.lab.publishing import Checked
from physalis.web.articles.bibliography import Work, read_bibliography
from physalis.web.articles.heads import read_head
from physalis.web.articles.markdown import Lost, inline_tokens, plain, read_markdown
from physalis.web.articles.pictures import read_picture
from physalis.web.server.packing import pack

FIGURES = ("feature", "list", "experiment", "image")

MOST_RECORD = 64 << 20
"""Bytes of an experiment's record."""
MOST_PICTURES = 256 << 20
"""Bytes of all pictures of an article."""
LONGEST_NUMBER = 12
"""Digits of a feature's number: no atlas has that many."""


@dataclass(frozen=True, slots=True)
class Article:
    """An article that resolved: every feature, file, citation and reference in it is there."""

    slug: str
    title: str
    description: str
    html: str
    figures: list[dict[str, Any]]
    """Records of those that a script draws, in the order of their places in ``html``."""
    features: list[int]
    """Those shown or linked to."""
    pictures: dict[str, bytes]
    """File name beside the page to what it holds."""
    numbers: dict[str, int]
    """Name of each figure to its number."""


def read_articles(
    files: Sequence[Path | str], atlas: Atlas, *, feature: str = "../features/{}.html", picture: str = "../assets/{}"
) -> list[Article]:
    """``read_article`` of each file. Raises BadInput as that does, and if two of them would have one address."""
    found = [read_article(file, atlas, feature=feature, picture=picture) for file in files]
    slugs = [article.slug for article in found]
    if twice := [slug for slug in slugs if slugs.count(slug) > 1]:
        raise BadInput(f"Two articles would both be articles/{twice[0]}. Give their files different names.")
    return found


def read_article(
    file: Path | str, atlas: Atlas, *, feature: str = "../features/{}.html", picture: str = "../assets/{}"
) -> Article:
    """The article of a Markdown file. HTML of its author's stays text, and nothing of it runs. ``feature`` and
    ``picture`` are the addresses of a feature's page, by its number, and of a picture, by its file's name.

    Raises BadInput with the line of whatever does not resolve.
    """
    file = Path(file)
    said, tokens = read_markdown(file)
    if "title" not in said and tokens and tokens[0].type == "heading_open":
        said["title"] = plain(tokens[1].children or [])
        tokens = tokens[3:]
    head = read_head(file, said)
    if not head.title.strip():
        raise Lost(file, 1, "the article has no title. Begin it with a line such as # What we found.")
    resolved = _Resolver(file, atlas, _works(file, head.bibliography), feature, picture)
    resolved.read(tokens)
    writer = _Writer(resolved)
    body = writer.render(tokens, MarkdownIt("commonmark").options, {})
    slug = re.sub(r"[^a-z0-9]+", "-", file.stem.lower()).strip("-") or "article"
    return Article(
        slug=slug,
        title=head.title,
        description=head.description,
        html=head.html() + _contents(resolved) + f'<div class="body">{body}</div>' + _references(resolved),
        figures=resolved.figures,
        features=list(dict.fromkeys(resolved.features)),
        pictures=resolved.pictures,
        numbers=resolved.numbers,
    )


def _works(file: Path, names: Sequence[str]) -> dict[str, Work]:
    works: dict[str, Work] = {}
    for name in names:
        with untrusted.named(f"{file}, the bibliography"):
            works |= read_bibliography(file.parent, name)
    return works


class _Resolver:
    """Finds what the tokens speak of, and numbers it in the order of the text."""

    def __init__(self, file: Path, atlas: Atlas, works: dict[str, Work], feature: str, picture: str) -> None:
        self.file, self.atlas, self.works = file, atlas, works
        self.feature_at, self.picture_at = feature, picture
        self.figures: list[dict[str, Any]] = []
        self.features: list[int] = []
        self.pictures: dict[str, bytes] = {}
        self.cited: dict[str, int] = {}
        self.numbers: dict[str, int] = {}
        """Name of a figure to its number."""
        self.headings: list[tuple[int, str, str]] = []
        """Level, id and text."""

    def read(self, tokens: list[Token]) -> None:
        inside = []
        for i, token in enumerate(tokens):
            if token.type == "heading_open":
                self._heading(token, plain(tokens[i + 1].children or []))
            elif token.type in ("th_open", "td_open") and (style := token.attrs.pop("style", None)):
                # The pages allow no inline style.
                token.attrSet("class", str(style).removeprefix("text-align:"))
            elif token.type == "block_open":
                if inside and token.info.split()[0] != "note":
                    raise Lost(self.file, _at(token), f"a {token.info.split()[0]} cannot stand inside a {inside[-1]}.")
                inside.append(self._block(token))
            elif token.type == "block_close":
                token.meta["kind"] = inside.pop()
        names = {*self.numbers, *(id for _, id, _ in self.headings)}
        for line, token in inline_tokens(tokens):
            if token.type == "cite":
                self._cite(token, line)
            elif token.type == "link_open":
                self._link(token, line, names)
            elif token.type == "image":
                token.attrSet("src", self._picture(unquote(str(token.attrGet("src"))), line))

    def _heading(self, token: Token, text: str) -> None:
        token.tag = {"h1": "h2"}.get(token.tag, token.tag)
        slug = id = re.sub(r"[^\w]+", "-", text.lower()).strip("-") or "part"
        taken, n = {name for _, name, _ in self.headings}, 1
        while id in taken:
            n += 1
            id = f"{slug}-{n}"
        token.attrSet("id", id)
        self.headings.append((int(token.tag[1]), id, text))

    def _block(self, token: Token) -> str:
        line = _at(token)
        kind, *said = token.info.split()
        if kind == "note":
            token.meta["kind"] = kind
            return kind
        if kind not in FIGURES:
            raise Lost(self.file, line, f"there is no block {shown(kind)}. There are: {', '.join((*FIGURES, 'note'))}.")
        number = len(self.numbers) + 1
        name = said.pop()[1:] if said and said[-1].startswith("#") else f"figure-{number}"
        if name in self.numbers or not re.fullmatch(r"[\w.-]+", name):
            raise Lost(self.file, line, f"the name #{name} is taken or not one word. Give each figure its own.")
        self.numbers[name] = number
        token.meta |= {"kind": kind, "name": name, "number": number}
        token.meta |= self._figure(kind, " ".join(said), line)
        return kind

    def _figure(self, kind: str, said: str, line: int) -> dict[str, Any]:
        match kind:
            case "feature":
                return self._feature(said, line)
            case "list":
                return self._list(said, line)
            case "experiment":
                return self._experiment(said, line)
            case _:
                return {"src": self._picture(said, line)}

    def _feature(self, said: str, line: int) -> dict[str, Any]:
        (id,) = self._ids(said, line, one=True)
        found = self.atlas[id]
        return self._live({"kind": "feature", "feature": pack(found)}, f"Feature {id}: {found.headline}")

    def _list(self, said: str, line: int) -> dict[str, Any]:
        rows = self.atlas.rows(self._ids(said, line))
        record = {"kind": "list", "rows": [row.model_dump(mode="json") for row in rows]}
        return self._live(record, "; ".join(f"{row.id}: {row.headline}" for row in rows))

    def _experiment(self, said: str, line: int) -> dict[str, Any]:
        try:
            read = untrusted.contents(untrusted.open_inside(self.file.parent, said), said, most=MOST_RECORD)
            told = untrusted.parse_json(read, said)
            page = Page.model_validate(told["page"])
            if told.get("check") is not None:
                Checked.of(told["check"])
        except (BadInput, ValueError, TypeError, LookupError, RecursionError) as error:
            why = f"{error.error_count()} of its values do not fit" if isinstance(error, ValidationError) else error
            raise Lost(
                self.file, line, f"{shown(said or 'nothing')} is no experiment's record ({why}). Name a file beside "
                "the article that physalis lab publish wrote, such as lab/TMS-1.json."
            ) from error  # fmt: skip
        record = {"kind": "experiment", "page": page.model_dump(mode="json"), "check": told.get("check")}
        return self._live(record, f"{page.id}: {page.title}") | {"wide": True}

    def _live(self, record: dict[str, Any], still: str) -> dict[str, Any]:
        self.figures.append(record)
        return {"record": len(self.figures) - 1, "still": still}

    def _ids(self, said: str, line: int, one: bool = False) -> list[int]:
        words = said.replace(",", " ").split()
        numbers = all(word.isascii() and word.isdigit() and len(word) <= LONGEST_NUMBER for word in words)
        if not words or not numbers or (one and len(words) > 1):
            need = "one feature, such as ::: feature 12" if one else "features, such as ::: list 3, 17, 99"
            raise Lost(self.file, line, f"a block here needs the number of {need}; received {shown(said)}.")
        ids = [int(word) for word in words]
        try:
            self.atlas.rows(ids)
        except BadInput as error:
            raise Lost(self.file, line, str(error)) from error
        self.features += ids
        return ids

    def _picture(self, said: str, line: int) -> str:
        if re.match(r"[a-zA-Z][\w+.-]*:|//", said):
            raise Lost(
                self.file,
                line,
                f"the picture {shown(said)} lies elsewhere. Save it beside the article and name the file.",
            )
        try:
            name, content = read_picture(self.file.parent, said)
        except BadInput as error:
            raise Lost(self.file, line, f"there is no picture {shown(said)}: {error}") from error
        self.pictures[name] = content
        if sum(map(len, self.pictures.values())) > MOST_PICTURES:
            raise Lost(self.file, line, f"the pictures up to here have more than {MOST_PICTURES:,} bytes together.")
        return self.picture_at.format(name)

    def _cite(self, token: Token, line: int) -> None:
        for key, _ in token.meta["cited"]:
            if key not in self.works:
                known = ", ".join(sorted(self.works)[:8])
                hint = f"It has: {known}." if known else "The head names no bibliography, or an empty one."
                raise Lost(self.file, line, f"nothing in the bibliography is called {shown(key)}. {hint}")
            self.cited.setdefault(key, len(self.cited) + 1)

    def _link(self, token: Token, line: int, names: set[str]) -> None:
        target = unquote(str(token.attrGet("href")))
        if target.startswith("feature:"):
            (id,) = self._ids(target.removeprefix("feature:"), line, one=True)
            token.attrSet("href", self.feature_at.format(id))
        elif target.startswith("#"):
            if target[1:] not in names:
                known = ", ".join(sorted(names)[:20]) or "no names"
                raise Lost(self.file, line, f"nothing here is called {shown(target)[1:-1]}. There are: {known}.")
            token.meta["number"] = self.numbers.get(target[1:])
        elif re.match(r"https?://", target):
            token.attrSet("rel", "noreferrer noopener")
        elif not target.startswith("mailto:"):
            raise Lost(
                self.file, line, f"the link {shown(target)} leads out of the site. Links begin with https://, http://, "
                "mailto:, # or feature:."
            )  # fmt: skip


class _Writer(RendererHTML):
    """Tokens as HTML; the words of the author are escaped by RendererHTML."""

    def __init__(self, resolved: _Resolver) -> None:
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


def _at(token: Token) -> int:
    return (token.map or [0])[0] + 1


def _caption(tokens: list[Token]) -> str:
    end = next(i for i, token in enumerate(tokens) if token.type == "block_close")
    return " ".join(plain(token.children or []) for token in tokens[:end] if token.type == "inline")


def _reference(key: str) -> str:
    return "ref-" + re.sub(r"[^\w.-]", "-", key)


def _contents(resolved: _Resolver) -> str:
    parts = [part for part in resolved.headings if part[0] <= 3]
    if len(parts) < 2:
        return ""
    lines = "".join(
        f'<li class="{"deeper" if level > 2 else "part"}"><a href="#{html.escape(id)}">{html.escape(text)}</a></li>'
        for level, id, text in parts
    )
    return f'<nav class="contents" aria-label="Contents"><h2>Contents</h2><ol>{lines}</ol></nav>'


def _references(resolved: _Resolver) -> str:
    if not resolved.cited:
        return ""
    lines = "".join(f'<li id="{_reference(key)}">{resolved.works[key].html()}</li>' for key in resolved.cited)
    return f'<section class="references"><h2 id="references">References</h2><ol>{lines}</ol></section>'
