"""ServedArticles: articles beside a served atlas: what its pages tell of them, and what comments can hang on."""

from collections.abc import Callable, Sequence
from pathlib import Path, PurePath
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException
from fastapi import Path as Given
from fastapi.responses import HTMLResponse, Response
from pydantic import BaseModel, ConfigDict

from physalis.atlas import Atlas
from physalis.people.comments.anchors import FigureAnchor, PassageAnchor
from physalis.web.articles import passages
from physalis.web.articles.articles import Article, read_articles
from physalis.web.articles.pictures import TYPES

Name = Annotated[str, Given(max_length=200)]
"""Of an article or a picture, in an address."""


class Told(BaseModel):
    """What an atlas's other pages tell of an article."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    title: str
    description: str


class Written(BaseModel):
    """An article as its page shows it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    slug: str
    title: str
    html: str
    figures: list[dict[str, Any]]
    """Records of those that a script draws, in the order of their places in ``html``."""


class ServedArticles:
    """The articles of some Markdown files."""

    def __init__(self, files: Sequence[Path | str], atlas: Atlas, *, prefix: str = "") -> None:
        """Read them as ``read_articles`` does, and with its refusals. ``prefix`` is where the atlas's pages begin."""

        at = {"feature": prefix + "/features/{}", "picture": prefix + "/articles/pictures/{}"}

        def read() -> dict[str, Article]:
            found = read_articles(files, atlas, **at)
            return {article.slug: article for article in found}

        self._read = atlas.kept(read)  # their figures show what stands in the atlas
        self._read()

    @property
    def _articles(self) -> dict[str, Article]:
        return self._read()

    @property
    def pictures(self) -> dict[str, bytes]:
        return {name: content for article in self._articles.values() for name, content in article.pictures.items()}

    @property
    def told(self) -> list[Told]:
        return [
            Told(path=f"/articles/{each.slug}", title=each.title, description=each.description)
            for each in self._articles.values()
        ]

    def has(self, anchor: FigureAnchor | PassageAnchor) -> bool:
        """Whether one of the articles has that figure, or these words."""
        return any(passages.has(article, anchor) for article in self._articles.values())

    def written(self, slug: str) -> Written:
        """Raises HTTPException (404) if there is no such article."""
        article = self._articles.get(slug)
        if article is None:
            there = ", ".join(f"/articles/{each}" for each in self._articles) or "none"
            raise HTTPException(404, f"There is no article {ascii(slug[:60])} here. There are: {there}.")
        return _written(article)


def articles_router(shelf: ServedArticles, page: Callable[..., HTMLResponse]) -> APIRouter:
    """The routes of a shelf. ``page`` takes a title, records and text, and puts them into the shell."""
    router = APIRouter(tags=["articles"])

    @router.get("/api/articles")
    async def articles() -> list[Told]:
        """The articles about this atlas."""
        return shelf.told

    @router.get("/api/articles/{slug}")
    @router.get("/articles/{slug}.json", include_in_schema=False)
    async def article(slug: Name) -> Written:
        """An article: its text as HTML, and the records of its figures."""
        return shelf.written(slug)

    @router.get("/articles/pictures/{name}", include_in_schema=False)
    async def picture(name: Name) -> Response:
        if name not in shelf.pictures:
            raise HTTPException(404, f"There is no picture {ascii(name[:60])} here.")
        return Response(shelf.pictures[name], media_type=TYPES[PurePath(name).suffix])

    @router.get("/articles/{slug}", include_in_schema=False)
    async def article_page(slug: Name) -> HTMLResponse:
        found = shelf.written(slug)
        # The page's text is the article's: there is no need to send it twice.
        record = found.model_dump_json(exclude={"html"})
        return page(f"{found.title} – physalis", text=found.html, article=record)

    return router


def _written(article: Article) -> Written:
    return Written(slug=article.slug, title=article.title, html=article.html, figures=article.figures)
