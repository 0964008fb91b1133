"""read_article: Markdown with figures of an atlas and of the lab becomes the text of a page, and the records that its
figures draw themselves from.

| written | is |
| --- | --- |
| ``::: feature 12`` | a feature: how strongly it fires, on which text |
| ``::: list 3, 17, 99`` | features, a line each |
| ``::: experiment lab/TMS-1.json`` | an experiment with its sliders; the file is one that publish_lab wrote |
| ``::: graph mary`` | a circuit graph, its verdict first; the folder is one that physalis trace wrote |
| ``::: image plot.png`` | a picture |
| ``::: note`` | a note in the margin, as is ``^[...]`` |

Text inside a block is its caption, and ends with a line of ``:::``. A name after ``#``, as in
``::: feature 12 #commas``, is what ``[](#commas)`` refers to as "Figure 1". ``[text](feature:12)``
leads to a feature's page.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt

from physalis.artifact import untrusted
from physalis.atlas import Atlas
from physalis.errors import BadInput
from physalis.web.articles.bibliography import Work, read_bibliography
from physalis.web.articles.heads import read_head
from physalis.web.articles.markdown import Lost, plain, read_markdown
from physalis.web.articles.rendering import Writer, contents, references
from physalis.web.articles.resolving import Resolver


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
    resolved = Resolver(file, atlas, _works(file, head.bibliography), feature, picture)
    resolved.read(tokens)
    writer = Writer(resolved)
    body = writer.render(tokens, MarkdownIt("commonmark").options, {})
    slug = re.sub(r"[^a-z0-9]+", "-", file.stem.lower()).strip("-") or "article"
    return Article(
        slug=slug,
        title=head.title,
        description=head.description,
        html=head.html() + contents(resolved) + f'<div class="body">{body}</div>' + references(resolved),
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
