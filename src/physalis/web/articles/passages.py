"""passages: the words of an article that comments hang on, and what was said of them, as parts of its HTML.

What counts as the article's words is the same here and in ``frontend/src/lib/text/passages.ts``: its body's, without
the numbers of notes and without what figures show; white space of any length is one space; the notes in its margin come
after all the rest, so that a passage goes on over them.
"""

from collections.abc import Mapping, Sequence
from html import escape, unescape
from html.parser import HTMLParser
from typing import NamedTuple

from physalis.people.comments.anchors import FigureAnchor, PassageAnchor
from physalis.people.comments.records import Comment, Thread
from physalis.people.comments.threads import thread_html
from physalis.web.articles.articles import Article

_VOID = {"br", "hr", "img"}
_SPACE = " \t\n\r\f"


class _Letter(NamedTuple):
    """A character of an article's words."""

    letter: str
    start: int
    """Where it is written in the HTML, up to ``end``."""
    end: int
    run: int
    """Which run of text between two tags it stands in."""
    linked: bool


def words_of(html: str) -> str:
    """The words of an article's HTML that comments can hang on."""
    return "".join(each.letter for each in _letters(html))


def figure_of(article: Article, anchor: FigureAnchor) -> str | None:
    """The name that a figure has in the article; None if it is no figure of it."""
    slug, _, name = anchor.figure.partition(".")
    return name if slug == article.slug and name in article.numbers else None


def has(article: Article, anchor: FigureAnchor | PassageAnchor) -> bool:
    """Whether the article has that figure, or these words."""
    if isinstance(anchor, FigureAnchor):
        return figure_of(article, anchor) is not None
    return anchor.article == article.slug and anchor.find(words_of(article.html)) is not None


def is_on(article: Article, comment: Comment) -> bool:
    """Whether a comment was written on the article or a figure of it, also on one that is there no more."""
    anchor = comment.anchor
    if isinstance(anchor, FigureAnchor):
        return anchor.figure.startswith(f"{article.slug}.")
    return isinstance(anchor, PassageAnchor) and anchor.article == article.slug


def with_comments(article: Article, threads: Sequence[Thread]) -> str:
    """The article's HTML with the threads on it at its end; where they hang is marked in the text and leads to them.
    Everything is escaped or sanitised. Threads on other things are left out."""
    here = [thread for thread in threads if is_on(article, thread.comment)]
    if not here:
        return article.html
    passages = {t.comment.id: t.comment for t in here if isinstance(t.comment.anchor, PassageAnchor)}
    html, places = _mark(article.html, passages)
    figures: dict[str, list[Comment]] = {}
    said = ""
    for thread in here:
        anchor = thread.comment.anchor
        if isinstance(anchor, PassageAnchor):
            above = _quoted(anchor.exact, places.get(thread.comment.id))
        else:
            assert isinstance(anchor, FigureAnchor)
            name = figure_of(article, anchor)
            above = "a figure that is not in the article any more"
            if name is not None:
                above = f'<a href="#{escape(name)}">Figure {article.numbers[name]}</a>'
                figures.setdefault(name, []).append(thread.comment)
            above = f'<p class="on">On {above}</p>'
        said += thread_html(thread, above=above)
    for name, comments in figures.items():
        html = _below(html, name, comments)
    said = f'<h2 id="comments">Comments</h2>{said}'
    return f'{html}<section class="remarks prose" aria-labelledby="comments">{said}</section>'


def _quoted(words: str, place: str | None) -> str:
    if place is None:
        return (
            f"<blockquote>{escape(words)}</blockquote>"
            '<p class="on">These words are not in the article any more.</p>'
        )  # fmt: skip
    return f'<blockquote><a href="#{place}">{escape(words)}</a></blockquote>'


def _below(html: str, name: str, comments: Sequence[Comment]) -> str:
    """The HTML with a link to the first of the comments on a figure, at the end of its caption."""
    end = html.index("</figcaption>", html.index(f'<figure id="{escape(name)}"'))
    count = f"{len(comments)} comments" if len(comments) > 1 else "1 comment"
    return f'{html[:end]}<span class="talk"><a href="#comment-{comments[0].id}">{count}</a></span>{html[end:]}'


def _mark(html: str, passages: Mapping[str, Comment]) -> tuple[str, dict[str, str]]:
    """The HTML in which the words of comments lead to them, and the id of the place where each one's begin. Words
    that several comments share lead to the first."""
    letters = _letters(html)
    words = "".join(each.letter for each in letters)
    owners: list[str | None] = [None] * len(letters)
    first: dict[str, int] = {}
    for id, comment in passages.items():
        assert isinstance(comment.anchor, PassageAnchor)
        found = comment.anchor.find(words)
        if found is not None:
            start, end = found
            first[id] = start
            owners[start:end] = [owner or id for owner in owners[start:end]]
    pieces: list[tuple[int, int, str]] = []
    names: list[str] = [""] * len(letters)
    counts: dict[str, int] = {}
    start = 0
    while start < len(letters):
        end, owner = start + 1, owners[start]
        while end < len(letters) and (owners[end], letters[end].run) == (owner, letters[start].run):
            end += 1
        # Between two paragraphs there is white space, which is no place for a link.
        if owner is not None and words[start:end].strip():
            counts[owner] = counts.get(owner, 0) + 1
            name = f"passage-{owner}" if counts[owner] == 1 else f"passage-{owner}-{counts[owner]}"
            names[start:end] = [name] * (end - start)
            inside = html[letters[start].start : letters[end - 1].end]
            by = escape(passages[owner].name)
            # A link can hold no other.
            tag, rest = ("mark", "") if letters[start].linked else ("a", f' href="#comment-{owner}"')
            marked = f'<{tag} class="passage" id="{name}" title="Comment by {by}"{rest}>{inside}</{tag}>'
            pieces.append((letters[start].start, letters[end - 1].end, marked))
        start = end
    for start, end, marked in sorted(pieces, reverse=True):
        html = html[:start] + marked + html[end:]
    return html, {id: next(filter(None, names[start:])) for id, start in first.items()}


def _letters(html: str) -> list[_Letter]:
    reader = _Reader(html)
    found: list[_Letter] = []
    for letter in (*reader.text, *reader.notes):
        if letter.letter in _SPACE:
            if found and found[-1].letter == " ":
                continue
            letter = letter._replace(letter=" ")
        found.append(letter)
    return found


class _Reader(HTMLParser):
    """Collects the characters of an article's HTML, which is well formed: ``read_article`` wrote it."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=False)
        self.text: list[_Letter] = []
        self.notes: list[_Letter] = []
        self._open: list[str] = []
        """What each open element is to the text: "", or one of the words below."""
        self._run = 0
        self._lines = [0]
        for line in html.split("\n"):
            self._lines.append(self._lines[-1] + len(line) + 1)
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._run += 1
        if tag in _VOID:
            return
        told = dict(attrs)
        kind = told.get("class") if told.get("class") in ("body", "note") else ""
        if tag == "sup" or "data-figure" in told:
            kind = "left out"
        self._open.append("link" if tag == "a" else kind or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._run += 1

    def handle_endtag(self, tag: str) -> None:
        self._run += 1
        if tag not in _VOID:
            self._open.pop()

    def handle_data(self, data: str) -> None:
        start = self._here()
        for at, letter in enumerate(data, start):
            self._add(letter, at, at + 1)

    def handle_entityref(self, name: str) -> None:
        start = self._here()
        self._add(unescape(f"&{name};"), start, start + len(name) + 2)

    def handle_charref(self, name: str) -> None:
        start = self._here()
        self._add(unescape(f"&#{name};"), start, start + len(name) + 3)

    def _add(self, letter: str, start: int, end: int) -> None:
        if "body" in self._open and "left out" not in self._open:
            to = self.notes if "note" in self._open else self.text
            to.append(_Letter(letter, start, end, self._run, "link" in self._open))

    def _here(self) -> int:
        line, column = self.getpos()
        return self._lines[line - 1] + column
