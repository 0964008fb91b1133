"""publish: an atlas as a folder of pages that any file host, or none, can show. They ask for nothing from elsewhere,
and for nothing by a request that a browser refuses to a page opened as a file.

| file | |
| --- | --- |
| index.html | the summary, and the articles |
| list.html | the published features, searched, sorted and filtered in the page |
| map.html | the map of all living features |
| features/12.html | one feature, its record inside, and the published comments on it |
| articles/commas.html | one article, its text, the comments on it and the records of its figures inside |
| assets/ | the script, the style and the faces of every page; map.js, the map; pictures of articles |
"""

import hashlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path

import numpy as np

from physalis import artifact
from physalis.artifact.folder import is_file
from physalis.atlas import Atlas
from physalis.atlas.records import Feature, FeatureRow, Histogram
from physalis.atlas.schema import METRICS
from physalis.errors import BadInput
from physalis.people.comments.anchors import FeatureAnchor
from physalis.people.comments.records import Thread
from physalis.people.comments.threads import thread_html
from physalis.people.notes.records import Labelled
from physalis.runtime.progress import progress
from physalis.web.articles.articles import Article, read_articles
from physalis.web.articles.passages import with_comments
from physalis.web.atlas.histograms import BINS, LONG, Metric
from physalis.web.publish.written import Written, forget
from physalis.web.server.packing import pack, script_json
from physalis.web.server.shell import STATIC, fill, read_shell

FRONT = STATIC.parent / "site"
ASSETS, FEATURES, ARTICLES = "assets", "features", "articles"


def publish(
    atlas: Atlas,
    out: Path | str,
    *,
    features: Sequence[int] | None = None,
    articles: Sequence[Path | str] = (),
    most: int = 300,
    comments: Sequence[Thread] = (),
    labels: Mapping[int, Sequence[Labelled]] = {},
) -> artifact.Manifest:
    """Write the site of an atlas into ``out``.

    ``features`` get a page each; those that ``articles`` (Markdown files, see ``read_article``) show or link to are
    added. If none are given, up to ``most`` are taken: the striking ones, then the neighbours of those taken, in turn.
    ``comments`` on features and articles stand at the end of their pages, and where no features are given, those
    features are taken first. ``labels`` are the names that people gave features. Links to other features are text. Run
    again, it writes only the files that are missing or have changed and removes pages that are published no more;
    killed and run again, it ends the same. A file that it did not write, or that was changed since, is never removed,
    and nothing is written or removed through a link.

    Raises BadInput for an unknown feature, an article that does not resolve, a folder that holds something else or
    another's file where a page would be, and if the front end was not built.
    """
    folder = Path(out)
    shell = read_shell(FRONT)
    written = [replace(each, html=with_comments(each, comments)) for each in read_articles(articles, atlas)]
    remarks = remarks_of(comments, len(atlas))
    chosen = [*remarks, *near_striking(atlas, most)] if features is None else features
    ids = list(dict.fromkeys(chosen))
    if features is not None and not ids:
        raise BadInput("There is no feature to publish: the list is empty. Name some, or leave the list out.")
    atlas.rows(ids)  # refuses those that do not exist
    ids = list(dict.fromkeys([*ids, *(id for article in written for id in article.features)]))
    if not ids:
        raise BadInput("There is no feature to publish. Name some, or leave the list out.")
    assets = {file.name: file.read_bytes() for file in sorted(FRONT.iterdir()) if file.name != "index.html"}
    assets |= {name: content for article in written for name, content in article.pictures.items()}
    config = {
        "features": ids,
        "articles": {article.slug: artifact.digest([article.html, article.figures]) for article in written},
        "comments": {str(id): artifact.digest(remarks[id]) for id in ids if id in remarks},
        "labels": {
            str(id): artifact.digest([each.model_dump() for each in labels[id]]) for id in ids if labels.get(id)
        },
        "assets": {name: hashlib.sha256(content).hexdigest() for name, content in assets.items()},
        "shell": artifact.digest(shell),
    }
    manifest = artifact.Manifest(kind="site", config=config, inputs={"atlas": atlas.manifest.hash})
    # No job: an article that was rewritten, or a feature more, is published into the same folder.
    with artifact.claim(folder, "site", {}) as done:
        if done is not None and _is(done, manifest, folder):
            forget(folder)
            return done
        made = Written.go_on(folder, done)
        made.check_free(_names(ids, written, assets))
        made.begin()
        (folder / artifact.MANIFEST).unlink(missing_ok=True)
        files = _Site(atlas, made, shell, ids, remarks, labels).write(written, assets)
        for name in made.prune(files):
            print(f"{folder / name} was changed since it was published, and stays.", file=sys.stderr)
        facts = {"n_features": len(ids), "bytes": sum((folder / name).stat().st_size for name in files)}
        finished = artifact.finish(folder, manifest.model_copy(update={"facts": facts}), files)
        forget(folder)
        return finished


def _names(ids: Sequence[int], articles: Sequence[Article], assets: Mapping[str, bytes]) -> list[str]:
    """Every file of a site."""
    return [
        *(f"{ASSETS}/{name}" for name in assets), f"{ASSETS}/map.js", *(f"{FEATURES}/{id}.html" for id in ids),
        *(f"{ARTICLES}/{article.slug}.html" for article in articles), "index.html", "list.html", "map.html",
    ]  # fmt: skip


def remarks_of(threads: Sequence[Thread], n_features: int) -> dict[int, str]:
    """The comments on each feature as HTML, in the order in which they were written. Others are left out."""
    found: dict[int, str] = {}
    for thread in threads:
        anchor = thread.comment.anchor
        if isinstance(anchor, FeatureAnchor) and anchor.feature < n_features:
            found[anchor.feature] = found.get(anchor.feature, "<h2>Comments</h2>") + thread_html(thread)
    return found


def _is(done: artifact.Manifest, wanted: artifact.Manifest, folder: Path) -> bool:
    """Whether the folder holds just that, undamaged."""
    same = (done.config, done.inputs, done.version) == (wanted.config, wanted.inputs, wanted.version)
    return same and all(
        is_file(folder, name) and artifact.file_digest(folder / name) == sha for name, sha in done.files.items()
    )


def near_striking(atlas: Atlas, most: int) -> list[int]:
    """Up to ``most`` features: the striking ones, then the neighbours of each one taken, nearest and co-firing in turn.
    Where no feature is striking, the densest."""
    taken = dict.fromkeys(atlas.summary().striking[:most])
    if not taken:
        return [row.id for row in atlas.list(limit=most).rows]
    queue = list(taken)
    while queue and len(taken) < most:
        feature = atlas[queue.pop(0)]
        beside = [n.id for pair in zip_longest(feature.nearest, feature.cofiring) for n in pair if n]
        new = [id for id in dict.fromkeys(beside) if id not in taken][: most - len(taken)]
        taken |= dict.fromkeys(new)
        queue += new
    return list(taken)


class _Site:
    """What all pages of one site share."""

    def __init__(
        self, atlas: Atlas, made: Written, shell: str, ids: list[int], remarks: Mapping[int, str],
        labels: Mapping[int, Sequence[Labelled]],
    ) -> None:  # fmt: skip
        self._atlas, self._made, self._shell, self._ids = atlas, made, shell, ids
        self._remarks, self._labels = remarks, labels
        self._published = set(ids)
        self._summary = atlas.summary()

    def write(self, articles: list[Article], assets: dict[str, bytes]) -> list[str]:
        """Every file; returns their names."""
        rows = self._atlas.rows(self._ids)
        words: list[str] = []
        names = [self._write(f"{ASSETS}/{name}", content) for name, content in assets.items()]
        names.append(self._write(f"{ASSETS}/map.js", f"physalisMap={script_json(self._map())};".encode()))
        with progress("Pages", len(self._ids), "features") as advance:
            for name, text, feature in self._features():
                names.append(self._write(name, text.encode()))
                words.append(_words(feature))
                advance(1)
        for article in articles:
            names.append(self._write(f"{ARTICLES}/{article.slug}.html", self._article(article).encode()))
        listed = [row.model_dump(mode="json") | {"words": w} for row, w in zip(rows, words, strict=True)]
        metrics = [metric.model_dump(mode="json") for metric in spreads_of(rows)]
        told = [
            {"path": f"{ARTICLES}/{each.slug}.html", "title": each.title, "description": each.description}
            for each in articles
        ]
        striking = [row.model_dump(mode="json") for row in self._atlas.rows(self._summary.striking)]
        summary = self._summary.model_dump(mode="json")
        pages = {
            "index.html": self._page(
                "", self._summary.name, "summary", self._summary.striking,
                summary=summary, striking=striking, articles=told,
            ),
            "list.html": self._page("", "Features", "list", self._ids, rows=listed, metrics=metrics),
            "map.html": self._page("", "Map", "map", []),
        }  # fmt: skip
        return [*names, *(self._write(name, page.encode()) for name, page in pages.items())]

    def _features(self) -> Iterator[tuple[str, str, Feature]]:
        for place, id in enumerate(self._ids):
            feature = self._atlas[id]
            beside = [self._ids[(place + step) % len(self._ids)] for step in (-1, 1)]
            near = [neighbour.id for neighbour in (*feature.nearest, *feature.cofiring)]
            remarks = self._remarks.get(id, "")
            page = self._page(
                "../", f"{feature.headline} ({id})", "feature", [*near, *beside],
                text=remarks, feature=pack(feature), before=beside[0], after=beside[1], comments=bool(remarks),
                labels=[each.model_dump(mode="json") for each in self._labels.get(id, ())],
            )  # fmt: skip
            yield f"{FEATURES}/{id}.html", page, feature

    def _article(self, article: Article) -> str:
        return self._page(
            "../", article.title, "article", article.features, text=article.html, figures=article.figures
        )  # fmt: skip

    def _page(self, root: str, title: str, view: str, linked: Sequence[int], text: str = "", **records: object) -> str:
        """A page whose links may lead to ``linked``, as far as they are published."""
        held = {
            "view": view, "root": root, "published": len(self._ids), "total": len(self._atlas),
            "linked": sorted(self._published.intersection(linked)), **records,
        }  # fmt: skip
        shell = self._shell.replace("./assets/", f"{root}{ASSETS}/")
        told = {name: script_json(value) for name, value in held.items()}
        return fill(shell, title=f"{title} – physalis", records=told, text=text)

    def _map(self) -> dict[str, object]:
        map = self._atlas.map()
        # Four digits are more than a colour shows, and a third of the bytes.
        density = [float(f"{value:.4g}") for value in map.density]
        return {"map": map.model_copy(update={"density": density}).model_dump(mode="json"), "published": self._ids}

    def _write(self, name: str, content: bytes) -> str:
        """Write a file unless it holds that already."""
        self._made.write(name, content)
        return name


def _words(feature: Feature) -> str:
    """What a search in the list finds a feature by beside its row."""
    tokens = (token.token.strip().lower() for token in (*feature.top_tokens, *feature.promoted))
    return " ".join(dict.fromkeys(token for token in tokens if token))


def spreads_of(rows: Sequence[FeatureRow]) -> list[Metric]:
    """How each metric is spread over these features, as ``physalis.web.atlas.histograms.spreads`` says it of all."""
    fired = [row for row in rows if row.n_fired]
    return [_spread(name, means, np.array([getattr(row, name) for row in fired])) for name, means in METRICS.items()]


def _spread(name: str, means: str, values: np.ndarray) -> Metric:
    if not len(values):
        return Metric(name=name, description=means, log=False, histogram=Histogram(edges=[], counts=[]))
    low, high = float(values.min()), float(values.max())
    log = low > 0 and high / low > LONG
    edges = (np.geomspace if log else np.linspace)(low, high, BINS + 1) if high > low else np.array([low, high])
    edges[0], edges[-1] = low, high
    counts = np.histogram(values, edges)[0] if high > low else np.array([len(values)])
    return Metric(
        name=name, description=means, log=log, histogram=Histogram(edges=edges.tolist(), counts=counts.tolist())
    )
