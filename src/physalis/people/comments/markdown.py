"""markdown: what a stranger wrote, as HTML that is safe to put into a page.

Two walls, either of which would do: markdown-it (CommonMark) with raw HTML off never passes a tag on, and nh3 (ammonia)
parses what it made as a browser would and keeps the elements listed here. Links lead to absolute http, https and mailto
addresses only, and say so to search engines and to the page they open. No images, which would tell a third party who
reads; no styles; no headings, which belong to the page around.
"""

import re
from functools import lru_cache

import nh3
from markdown_it import MarkdownIt

TAGS = {"a", "blockquote", "br", "code", "em", "hr", "li", "ol", "p", "pre", "strong", "ul"}
SCHEMES = {"http", "https", "mailto"}
REL = "nofollow noopener noreferrer"

_ABSOLUTE = re.compile(r"https?://[^\s/?#\\]|mailto:[^\s@]+@", re.IGNORECASE)
_ATTRIBUTES = {"a": {"href"}, "ol": {"start"}, "*": set()}


class _Parser(MarkdownIt):
    def validateLink(self, url: str) -> bool:
        """A link that is not allowed stays as the text that was typed."""
        return _ABSOLUTE.match(url) is not None


_parser = _Parser("commonmark", {"html": False}).disable(
    ["html_block", "html_inline", "image", "heading", "lheading", "reference"]
)


@lru_cache(256)
def to_html(text: str) -> str:
    """The Markdown as safe HTML. Never raises: any text means something."""
    return _clean(_parser.render(text))


def _clean(html: str) -> str:
    return nh3.clean(
        html,
        tags=TAGS,
        attributes=_ATTRIBUTES,
        attribute_filter=_absolute_only,
        url_schemes=SCHEMES,
        link_rel=REL,
    )


def _absolute_only(tag: str, attribute: str, value: str) -> str | None:
    """The second wall's own look at links: the first one's is not relied on."""
    return None if attribute == "href" and _ABSOLUTE.match(value) is None else value
