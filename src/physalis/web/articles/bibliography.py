"""bibliography: works to cite, from a .bib file or a CSL-JSON list, and how each reads in a list of references."""

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePath
from typing import Any

from physalis.artifact import untrusted
from physalis.artifact.untrusted import shown
from physalis.errors import BadInput

_WRAPPER = re.compile(r"\\(?:emph|textit|textbf|texttt|textsc|url|mathrm|mbox|href\s*\{[^{}]*\})\s*(?=\{)")
"""Macros that only say how their text looks, or where it leads."""
_SKIPPED = ("comment", "preamble", "string")
_VENUES = ("journal", "booktitle", "container-title", "publisher", "institution", "howpublished", "school")
_READ = {*_VENUES, "author", "title", "url", "doi", "archiveprefix", "eprint", "year", "date"}
_NAME = re.compile(r"(?<![\w-])([\w-]++)\s*=\s*")
"""From the beginning of a word: from each of its letters, a word of a million would be read a million times."""
MOST = 16 << 20
"""Bytes of a bibliography."""
LONGEST = 100_000
"""Characters of a field: @string may double what another one says."""


@dataclass(frozen=True, slots=True)
class Work:
    """One work that can be cited."""

    key: str
    authors: tuple[str, ...]
    title: str
    venue: str
    year: str
    url: str
    """Empty, or an address that begins with http:// or https://."""

    def words(self) -> str:
        """The reference as text."""
        return " ".join(part for part in (_named(self.authors), self.title + ".", self._when()) if part.strip(". "))

    def html(self) -> str:
        """The reference as HTML, its title a link where it has an address."""
        title = html.escape(self.title)
        if self.url:
            title = f'<a href="{html.escape(self.url)}" rel="noreferrer noopener">{title}</a>'
        return " ".join(
            part for part in (html.escape(_named(self.authors)), f"{title}.", html.escape(self._when())) if part
        )

    def _when(self) -> str:
        said = ", ".join(part for part in (self.venue, self.year) if part)
        return f"{said}." if said else ""


def _named(authors: tuple[str, ...]) -> str:
    if len(authors) > 6:
        authors = (*authors[:5], "et al")
    return f"{', '.join(authors)}." if authors else ""


def read_bibliography(folder: Path, name: str) -> dict[str, Work]:
    """The works, by key, of the file that an article in ``folder`` calls ``name``: BibTeX, or a list as CSL-JSON where
    the name ends in .json.

    Raises BadInput if it does not lie there, cannot be read, or says a key twice.
    """
    text = untrusted.decoded(untrusted.contents(untrusted.open_inside(folder, name), name, most=MOST), name)
    try:
        works = [_of_csl(each) for each in _listed(text, name)] if PurePath(name).suffix == ".json" else _of_bib(text)
    except (ValueError, TypeError, AttributeError, LookupError, RecursionError) as error:
        raise BadInput(
            f"The bibliography {name} cannot be read ({shown(str(error))[1:-1]}). Give BibTeX, or a list in CSL-JSON "
            "with .json at the end of its name."
        ) from error
    found: dict[str, Work] = {}
    for work in works:
        if work.key in found:
            raise BadInput(f"The bibliography {name} has {shown(work.key)} twice. Give each work a key of its own.")
        found[work.key] = work
    return found


def _listed(text: str, name: str) -> list[Any]:
    found = untrusted.parse_json(text, name)
    if not isinstance(found, list):
        raise TypeError("it holds no list")
    return found


def _work(key: str, authors: list[str], fields: Mapping[str, str]) -> Work:
    def first(*names: str) -> str:
        return next((fields[name] for name in names if fields.get(name)), "")

    url = first("url", "URL")
    doi = first("doi", "DOI").removeprefix("https://doi.org/")
    url = url or (f"https://doi.org/{doi}" if doi else "")
    if not url and first("archiveprefix").lower() == "arxiv" and first("eprint"):
        url = f"https://arxiv.org/abs/{first('eprint')}"
    venue = first(*_VENUES)
    year = first("year") or first("date")[:4]
    if not re.match(r"https?://[^\s]+$", url):
        url = ""
    return Work(key, tuple(authors), first("title") or key, venue, year, url)


def _of_csl(entry: dict[str, Any]) -> Work:
    authors = [
        who if isinstance(who, str) else who.get("literal") or f"{who.get('given', '')} {who.get('family', '')}".strip()
        for who in entry.get("author", [])
    ]
    issued = (entry.get("issued") or {}).get("date-parts") or [[entry.get("year", "")]]
    fields = {name: str(value) for name, value in entry.items() if isinstance(value, str | int)}
    return _work(str(entry["id"]), authors, fields | {"year": str(issued[0][0])})


def _of_bib(text: str) -> list[Work]:
    works, macros, at = [], {}, 0
    while (found := re.compile(r"@(\w+)\s*([{(])").search(text, at)) is not None:
        kind, at = found[1].lower(), found.end()
        inside, at = _balanced(text, at - 1)
        if kind == "string":
            macros |= {name.lower(): value for name, value in _fields(inside, macros)}
        if kind in _SKIPPED:
            continue
        key, _, rest = inside.partition(",")
        fields = {name.lower(): value for name, value in _fields(rest, macros)}
        fields = {name: _unlatex(value) for name, value in fields.items() if name in _READ}
        authors = [_person(who) for who in re.split(r"\s+and\s+", fields.get("author", "")) if who.strip()]
        works.append(_work(key.strip(), authors, fields))
    return works


def _balanced(text: str, at: int) -> tuple[str, int]:
    """What stands between the brace at ``at`` and the one that closes it, and the place after that."""
    opening, closing = text[at], {"{": "}", "(": ")"}[text[at]]
    depth = 0
    for place in range(at, len(text)):
        if place > at and text[place - 1] == "\\":
            continue
        depth += (text[place] == opening) - (text[place] == closing)
        if depth == 0:
            return text[at + 1 : place], place + 1
    line = text.count("\n", 0, at) + 1
    raise ValueError(f"line {line}: a {opening} is never closed")


def _fields(text: str, macros: Mapping[str, str]) -> list[tuple[str, str]]:
    fields, at = [], 0
    while (found := _NAME.search(text, at)) is not None:
        at, value = found.end(), ""
        while at < len(text):
            if text[at] == "{":
                part, at = _balanced(text, at)
            elif text[at] == '"':
                end = at + 1
                while end < len(text) and text[end] != '"':
                    end = _balanced(text, end)[1] if text[end] == "{" else end + 1
                part, at = text[at + 1 : end], end + 1
            else:
                word = re.compile(r"[^,#\s]*").match(text, at)
                assert word is not None
                part, at = macros.get(word[0].lower(), word[0]), word.end()
            value += part
            if len(value) > LONGEST:
                raise ValueError(f"{shown(found[1])} has more than {LONGEST:,} characters")
            joined = re.compile(r"\s*#\s*").match(text, at)
            if joined is None:
                break
            at = joined.end()
        fields.append((found[1], value))
        after = text.find(",", at)
        at = len(text) if after < 0 else after + 1
    return fields


def _unlatex(text: str) -> str:
    """Plain text of a BibTeX value: accents as letters, dashes, no braces. In a value "%" begins no comment, and "&"
    no column."""
    if re.search(r"[\\{}~`'-]", text):
        text = _WRAPPER.sub("", text)
        try:
            text = _latex().latex_to_text(re.sub(r"(?<!\\)([%&])", r"\\\1", text))
        except (LookupError, AttributeError):  # pylatexenc's own, where a macro lacks what it takes
            text = text.replace("{", "").replace("}", "")
    return " ".join(text.split())


@cache
def _latex() -> Any:
    from pylatexenc.latex2text import LatexNodes2Text  # takes as long to import as a bibliography to read

    return LatexNodes2Text(math_mode="verbatim", keep_comments=True)


def _person(name: str) -> str:
    """ "Family, Given" as "Given Family"; "others" as "et al"."""
    if name.strip() == "others":
        return "et al"
    parts = [part.strip() for part in name.split(",")]
    return " ".join([*parts[1:][::-1], parts[0]]).strip() if len(parts) > 1 else name.strip()
