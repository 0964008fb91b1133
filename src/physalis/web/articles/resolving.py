"""resolving: what an article speaks of, found: figures, features, pictures, works and names, numbered in the order of
the text. What is not there is said with its line."""

import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from markdown_it.token import Token
from pydantic import ValidationError

from physalis.artifact import MANIFEST, untrusted
from physalis.artifact.untrusted import shown
from physalis.atlas import Atlas
from physalis.errors import BadInput
from physalis.lab.pages import Page
from physalis.lab.publishing import Checked
from physalis.web.articles.bibliography import Work
from physalis.web.articles.markdown import Lost, inline_tokens, plain
from physalis.web.articles.pictures import read_picture
from physalis.web.graphs.names import Names
from physalis.web.graphs.records import page_of
from physalis.web.graphs.stored import TENSORS, StoredGraph
from physalis.web.server.packing import pack

FIGURES = ("feature", "list", "experiment", "graph", "image")

MOST_RECORD = 64 << 20
"""Bytes of an experiment's record."""
MOST_PICTURES = 256 << 20
"""Bytes of all pictures of an article."""
LONGEST_NUMBER = 12
"""Digits of a feature's number: no atlas has that many."""


class Resolver:
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
            case "graph":
                return self._graph(said, line)
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

    def _graph(self, said: str, line: int) -> dict[str, Any]:
        try:
            for name in (MANIFEST, TENSORS):
                untrusted.open_inside(self.file.parent, f"{said}/{name}").close()
            graph = StoredGraph.open(self.file.parent / said)
            page = Names.of(graph, [(self.atlas, "")]).put_into(page_of(graph))
        except BadInput as error:
            raise Lost(
                self.file, line, f"{shown(said or 'nothing')} is no graph with a verdict ({error}). Name a folder "
                "beside the article that physalis trace wrote."
            ) from error  # fmt: skip
        record = {"kind": "graph", "graph": page.model_dump(mode="json")}
        return self._live(record, f"The circuit graph of {page.prompt!r}") | {"wide": True}

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


def _at(token: Token) -> int:
    return (token.map or [0])[0] + 1
