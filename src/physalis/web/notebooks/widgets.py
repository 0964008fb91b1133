"""show: an atlas, a comparison, a record of them or an experiment in a notebook (Jupyter, marimo, VS Code, Colab), as
the pages do.

Needs ``pip install physalis[notebook]``. What is asked inside an atlas widget comes back as a path, such as
"/features/12", and is answered by the kernel: nothing needs a server.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar
from urllib.parse import parse_qs, parse_qsl, urlsplit

import anywidget
import traitlets
from pydantic import BaseModel, ValidationError

from physalis.atlas import Atlas
from physalis.atlas.records import Feature, Map, Summary
from physalis.comparing import Comparison, Forest
from physalis.comparing import records as comparing
from physalis.errors import BadInput
from physalis.lab.checks import Check, Experiment
from physalis.lab.pages import Cells, Dots, Lines, Page, Stacks, Vectors, Words
from physalis.runtime.progress import progress
from physalis.web.atlas.histograms import spreads
from physalis.web.atlas.query import Question
from physalis.web.comparison.records import Asked, Paged, Place, group_rows, kin, names_of, rows, tree_rows
from physalis.web.graphs.names import Names
from physalis.web.graphs.records import page_of
from physalis.web.graphs.stored import StoredGraph

STATIC = Path(__file__).parents[2] / "static" / "widgets"
PANELS = (Cells, Dots, Lines, Stacks, Vectors, Words)
FOUND = 500
"""Features that a search marks on a map at most."""
GROUPS = 4
"""Splits on a page."""

Asks = TypeVar("Asks", bound=BaseModel)


class View(anywidget.AnyWidget):
    """One view and its records."""

    view = traitlets.Unicode().tag(sync=True)
    records = traitlets.Dict().tag(sync=True)
    map = traitlets.Dict(allow_none=True, default_value=None).tag(sync=True)
    path = traitlets.Unicode().tag(sync=True)
    """What the reader asked for last."""
    opens = traitlets.Bool(False).tag(sync=True)
    """Whether anyone answers."""

    def __init__(self, module: str, **traits: object) -> None:
        file = STATIC / f"{module}.js"
        if not file.exists():
            raise BadInput(f"The widgets are not built: there is no {file}. Install physalis again.")
        self._esm = file.read_text()
        super().__init__(**traits)


class AtlasView(View):
    """A whole atlas to walk through."""

    def __init__(self, atlas: Atlas) -> None:
        self._atlas = atlas
        self._metrics = [_plain(metric) for metric in spreads(atlas)]
        super().__init__("atlas", map=_plain(atlas.map()), opens=True)
        self.observe(lambda change: self.answer(change["new"]), "path")
        self.answer("/")

    def answer(self, path: str) -> None:
        """Show the view of a path. Raises BadInput if there is none."""
        place = urlsplit(path)
        given = parse_qs(place.query)
        asked = {name: values[0] for name, values in given.items()}
        atlas = self._atlas
        match [part for part in place.path.split("/") if part]:
            case []:
                summary = atlas.summary()
                rows = [_plain(row) for row in atlas.rows(summary.striking)]
                self._set("summary", summary=_plain(summary), striking=rows)
            case ["features"]:
                found = Question.model_validate(asked | {"filter": given.get("filter", [])}).put_to(atlas)
                self._set("list", list=_plain(found), metrics=self._metrics, query=f"?{place.query}")
            case ["features", id] if id == "random" or id.isdigit():
                self._set("feature", feature=_plain(atlas[atlas.random() if id == "random" else int(id)]))
            case ["map"] if "query" in asked:
                found = atlas.list(query=asked["query"], limit=FOUND)
                self._set("map", found={"ids": [row.id for row in found.rows], "total": found.total})
            case ["map"]:
                self._set("map", feature=int(asked["feature"]) if "feature" in asked else None)
            case _:
                raise BadInput(f"There is no view {path!r}. There are /, /features, /features/12 and /map.")

    def _set(self, view: str, **records: object) -> None:
        with self.hold_sync():
            self.view, self.records = view, records


class ComparisonView(View):
    """Two dictionaries side by side, with all their features to page through."""

    def __init__(self, found: Comparison, atlases: Sequence[Atlas]) -> None:
        self._found, self._names = found, names_of(found, atlases)
        self._asked, self._groups = "", Paged(limit=GROUPS)
        super().__init__("comparison", view="comparison", opens=True)
        self.observe(lambda change: self.answer(change["new"]), "path")
        self.answer("/")

    def answer(self, path: str) -> None:
        """Show what a path asks for: "/?side=b&fate=split" or "/groups?offset=4". Raises BadInput for any other."""
        place = urlsplit(path)
        if place.path == "/":
            self._asked = place.query
        elif place.path == "/groups":
            self._groups = _validated(Paged, f"{place.query}&limit={GROUPS}")
        else:
            raise BadInput(f"There is no view {path!r}. There are /?side=b&fate=split and /groups?offset=4.")
        self.records = {
            "comparison": _plain(self._found.summary),
            "pairs": _plain(self._found.pairs),
            "list": _plain(rows(self._found, self._names, _validated(Asked, self._asked))),
            "groups": _plain(group_rows(self._found, self._names, self._groups)),
            "query": f"?{self._asked}",
        }


class ForestView(View):
    """A tree of features to walk through."""

    def __init__(self, grown: Forest, atlases: Sequence[Atlas]) -> None:
        self._forest, self._names = grown, names_of(grown, atlases)
        self._trees, self._place = Paged(), next(iter(grown.roots()), (0, 0))
        super().__init__("forest", view="forest", opens=True)
        self.observe(lambda change: self.answer(change["new"]), "path")
        self.answer("/")

    def answer(self, path: str) -> None:
        """Show what a path asks for: "/?level=1&feature=12" or "/trees?offset=10". Raises BadInput for any other."""
        place = urlsplit(path)
        if place.path == "/":
            if place.query:
                asked = _validated(Place, place.query)
                self._place = asked.level, asked.feature
        elif place.path == "/trees":
            self._trees = _validated(Paged, place.query)
        else:
            raise BadInput(f"There is no view {path!r}. There are /?level=1&feature=12 and /trees?offset=10.")
        self.records = {
            "forest": _plain(self._forest.summary),
            "trees": _plain(tree_rows(self._forest, self._names, self._trees)),
            "kin": _plain(kin(self._forest, self._names, *self._place)),
        }


def show(x: object, check: Check | None = None, *, atlases: Sequence[Atlas] = ()) -> View:
    """A widget that shows an Atlas, a Feature, a Summary or a Map; a Comparison, a Forest or the summary of either; a
    circuit graph with its verdict (StoredGraph); or, of the lab, a Page with its ``check`` below if that is given, a
    Check, a panel such as ``Lines`` or ``Vectors``, or a list of panels side by side. An Experiment is run first.

    With ``atlases`` of its dictionaries, the features of a Comparison, a Forest or a graph have headlines; without,
    numbers. Raises BadInput for anything else, and for an atlas of another dictionary than a Comparison or a Forest
    has."""
    if atlases and not isinstance(x, Comparison | Forest | StoredGraph):
        kind = type(x).__name__
        raise BadInput(f"Atlases name the features of a Comparison, a Forest or a graph; received a {kind}.")
    match x:
        case Atlas():
            return AtlasView(x)
        case Feature():
            return View("feature", view="feature", records={"feature": _plain(x)})
        case Summary():
            return View("summary", view="summary", records={"summary": _plain(x)})
        case Map():
            return View("map", view="map", map=_plain(x))
        case Comparison():
            return ComparisonView(x, atlases)
        case Forest():
            return ForestView(x, atlases)
        case comparing.Summary():
            return View("comparison", view="comparison", records={"comparison": _plain(x)})
        case comparing.ForestSummary():
            return View("forest", view="forest", records={"forest": _plain(x)})
        case StoredGraph():
            named = Names.of(x, [(atlas, "") for atlas in atlases]).put_into(page_of(x))
            return View("graph", view="graph", records={"graph": _plain(named)})
        case Page():
            judged = None if check is None else check.to_dict()
            return View("lab", view="experiment", records={"page": x.model_dump(mode="json"), "check": judged})
        case Check():
            return View("lab", view="check", records={"check": x.to_dict()})
        case Cells() | Dots() | Lines() | Stacks() | Vectors() | Words():
            return show([x])
        case [*panels] if panels and all(isinstance(each, PANELS) for each in panels):
            return View("lab", view="panels", records={"panels": [each.model_dump(mode="json") for each in panels]})
        case Experiment():
            with progress(f"Experiment {x.id}", 2, "parts") as advance:
                advance(0, note="exploring its model")
                page = x.explore()
                advance(1)
                advance(0, note="holding it against its paper")
                checked = x.run()
                advance(1)
            return show(page, checked)
    raise BadInput(
        f"There is no view of {type(x).__name__!r}. Show an Atlas, a Feature, a Summary, a Map, a Comparison, a "
        "Forest, a StoredGraph, a Page, a Check, an Experiment, a panel of the lab such as Lines or Vectors, or a list "
        "of panels."
    )


def _plain(record: BaseModel) -> dict:
    return record.model_dump(mode="json")


def _validated(model: type[Asks], query: str) -> Asks:
    """What a query asks. Raises BadInput if it cannot be read."""
    try:
        return model.model_validate(dict(parse_qsl(query)))
    except ValidationError as error:
        raise BadInput(f"{query!r} cannot be asked: {error.errors()[0]['msg']}.") from error
