"""What a table of contents tells of each artefact, and a small picture of it. No torch here."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from physalis import artifact
from physalis.atlas import Atlas
from physalis.atlas.records import Record
from physalis.comparing import Comparison, Forest
from physalis.comparing.records import Fate
from physalis.web.contents.finding import Found, Kind
from physalis.web.contents.others import Line
from physalis.web.graphs.records import GraphPage

DOTS = 700
"""Features of an atlas that its picture shows at most."""
FEW = 150
"""Nodes of a graph that its picture shows at most, those of most influence."""
HEIGHTS = 100
"""Of a map or a curve, from its lowest place to its highest."""
FATES: tuple[Fate, ...] = ("shared", "split", "merged", "unique")


class Picture(Record):
    """What an entry looks like, in numbers."""

    kind: Literal["dots", "curve", "bars"]
    """Features on their map; a loss over training; a bar for each dictionary, in parts."""
    x: list[int]
    """Places from 0 to HEIGHTS; of bars, per mille of the widest that each part begins at."""
    y: list[int]
    """Places from 0 to HEIGHTS, upwards; of bars, how wide each part is."""
    group: list[int]
    """Of each dot, its region; of each part, its dictionary."""
    part: list[int]
    """Of each part, which of its dictionary's it is: empty for others than bars."""


class Entry(Record):
    """An artefact. What is not known of it is empty."""

    kind: Kind
    name: str
    path: str
    """Its room; empty where it could not be opened."""
    model: str
    site: str
    dictionaries: str
    """Their architecture, or what tells them apart."""
    sizes: list[int]
    """Features of each dictionary in it, or of a graph; of a lab, its experiments."""
    fvu: list[float]
    """Of each dictionary, where it was evaluated."""
    state: str
    """Of a run; of a graph, its verdict in short."""
    made: float | None
    """Seconds since 1970, by the file that was written last."""
    picture: Picture | None
    lack: str
    """Why it could not be opened, as a sentence."""


class Contents(Record):
    """What a server shows."""

    name: str
    entries: list[Entry]
    others: list[Line]
    """What has no pages, as it lay there at the start."""


def of_atlas(found: Found, atlas: Atlas) -> Entry:
    """An atlas, with some of its map."""
    told, map = atlas.summary(), atlas.map()
    few = np.unique(np.linspace(0, len(map.ids) - 1, min(len(map.ids), DOTS)).round().astype(int))
    x, y = (heights(np.asarray(each, float)[few]) for each in (map.x, map.y))
    picture = Picture(kind="dots", x=x, y=y, group=[map.region[i] for i in few], part=[]) if x else None
    fvu = told.metrics.get("fvu")
    return entry_of(
        found, model=told.model, site=told.site, dictionaries=told.architecture,
        sizes=[told.n_features], fvu=[] if fvu is None else [fvu.value], picture=picture,
    )  # fmt: skip


def of_graph(found: Found, graph: GraphPage) -> Entry:
    """A graph, with some of its nodes by token and layer."""
    nodes = graph.nodes
    known = np.flatnonzero([kind != "error" for kind in nodes.kind])
    some = known[np.argsort(-np.asarray(nodes.influence)[known], kind="stable")[:FEW]]
    at, layer = np.asarray(nodes.position, float)[some], np.asarray(nodes.layer, float)[some]
    beside = np.linspace(-0.3, 0.3, 7)[np.arange(len(some)) % 7]  # several of a token and a layer
    group = [("feature", "token", "end").index(nodes.kind[i]) for i in some]
    picture = Picture(kind="dots", x=heights(at + beside), y=heights(layer), group=group, part=[])
    says = "survives its trial" if graph.verdict.survives else "not established"
    return entry_of(
        found, model=graph.model, site=f"{graph.prompt} → {graph.ends[0].name.strip()}",
        sizes=[sum(kind == "feature" for kind in nodes.kind)], state=says, picture=picture,
    )  # fmt: skip


def of_comparison(found: Found, comparison: Comparison) -> Entry:
    """A comparison, with what is shared, split, merged and unique on both sides."""
    told = comparison.summary
    sides = (told.a, told.b)
    shares = [[side.fates[fate].value if fate in side.fates else 0.0 for fate in FATES] for side in sides]
    return entry_of(
        found, model=told.model or "", site=told.site or "", dictionaries=f"{told.a.name} and {told.b.name}",
        sizes=[side.n_features for side in sides], fvu=[side.fvu.value for side in sides if side.fvu is not None],
        picture=_bars(shares),
    )  # fmt: skip


def of_tree(found: Found, forest: Forest) -> Entry:
    """A tree of features, with how wide its dictionaries are, as their square roots: each is a few times the last."""
    told = forest.summary
    widest = max(width.n_features for width in told.widths)
    return entry_of(
        found, model=told.model or "", site=told.site or "",
        dictionaries=" and ".join(dict.fromkeys(width.architecture for width in told.widths)),
        sizes=[width.n_features for width in told.widths],
        picture=_bars([[(width.n_features / widest) ** 0.5] for width in told.widths]),
    )  # fmt: skip


def of_lab(found: Found) -> Entry:
    """A published lab."""
    n = sum(1 for file in found.folder.glob("*.html") if file.name != "index.html")
    return entry_of(found, sizes=[n])


def of_unread(found: Found, why: str) -> Entry:
    """What could not be opened, and why."""
    return entry_of(found, lack=why).model_copy(update={"path": ""})


def entry_of(
    found: Found, *, model: str = "", site: str = "", dictionaries: str = "", sizes: Sequence[int] = (),
    fvu: Sequence[float] = (), state: str = "", picture: Picture | None = None, lack: str = "",
) -> Entry:  # fmt: skip
    """What all have."""
    return Entry(
        kind=found.kind, name=found.name, path=f"{found.prefix}/", model=model, site=site, dictionaries=dictionaries,
        sizes=[*sizes], fvu=[*fvu], state=state, made=_made(found.folder), picture=picture, lack=lack,
    )  # fmt: skip


def _made(folder: Path) -> float | None:
    """Manifests carry no times; files do."""
    for name in (artifact.MANIFEST, artifact.JOB):
        try:
            return (folder / name).stat().st_mtime
        except OSError:
            continue
    return None


def heights(values: np.ndarray) -> list[int]:
    """Numbers as places between their least and their largest."""
    if not len(values):
        return []
    low, high = values.min(), values.max()
    return ((values - low) / (high - low or 1.0) * HEIGHTS).round().astype(int).tolist()


def _bars(shares: list[list[float]]) -> Picture:
    """A bar each, in parts of its shares of the widest."""
    ends = [np.concatenate([[0], np.cumsum(row)]) for row in shares]
    x = [round(1000 * float(at)) for row in ends for at in row[:-1]]
    y = [round(1000 * share) for row in shares for share in row]
    group = [bar for bar, row in enumerate(shares) for _ in row]
    part = [which for row in shares for which in range(len(row))]
    return Picture(kind="bars", x=x, y=y, group=group, part=part)
