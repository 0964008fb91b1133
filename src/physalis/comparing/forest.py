"""forest: a finished tree of features read back: nodes, whole trees, and the family of a feature. No torch."""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from physalis import artifact
from physalis.comparing.columns import Columns
from physalis.comparing.reader import load_summary
from physalis.comparing.records import Family, ForestSummary, Node, Tree
from physalis.display import tables
from physalis.display.reprs import Displayed
from physalis.errors import BadInput

KIND = "lineage"
SUMMARY, ARRAYS = "summary.json", "nodes.safetensors"

Place = tuple[int, int]
"""(level, feature): level 0 is the narrowest dictionary."""


class Forest(Displayed):
    """The features of a row of dictionaries, each below one of the dictionary before it, or at the root of a tree."""

    def __init__(self, folder: Path, manifest: artifact.Manifest) -> None:
        """Use ``Forest.open``."""
        self.folder = folder
        self.manifest = manifest
        self.summary = load_summary(folder / SUMMARY, ForestSummary)
        self._columns = Columns(folder / ARRAYS, manifest)
        self._check_columns()

    @classmethod
    def open(cls, folder: Path | str) -> "Forest":
        """Open a folder that ``grow`` finished. Raises BadInput if it is none, unfinished, damaged or newer."""
        return cls(Path(folder), artifact.read(Path(folder), KIND))

    def __repr__(self) -> str:
        return f"Forest({str(self.folder)!r}, {[width.n_features for width in self.summary.widths]} features)"

    def node(self, level: int, feature: int) -> Node:
        """One feature. Raises BadInput if there is no such level or feature."""
        self._check(level, feature)
        n_fired = int(self._columns[f"{level}.n_fired"][feature])
        n_children = len(self._children(level, feature))
        parent = self._parent(level, feature)
        if parent is None:
            return Node(
                level=level, feature=feature, n_fired=n_fired, parent=None, fires=None, share=None, cosine=None,
                n_children=n_children, heir=False, absorbed=None,
            )  # fmt: skip
        fires, share, cosine, absorbed = (
            float(self._columns[f"{level}.{name}"][feature]) for name in ("fires", "share", "cosine", "absorbed")
        )
        return Node(
            level=level, feature=feature, n_fired=n_fired, parent=parent[1], fires=fires, share=share, cosine=cosine,
            n_children=n_children, heir=bool(self._columns[f"{level}.heir"][feature]),
            absorbed=None if absorbed != absorbed else absorbed,
        )  # fmt: skip

    def table(self, level: int) -> Any:
        """A pandas DataFrame with a row a feature of that level, named by its id; columns as ``Node`` has them. Raises
        BadInput if there is no such level, and without pandas."""
        self._check(level, 0)
        n, own = self.summary.widths[level].n_features, self._columns
        named: dict[str, Any] = {"feature": np.arange(n), "n_fired": own[f"{level}.n_fired"]}
        parent = own[f"{level}.parent"] if level else np.full(n, -1)
        named["parent"] = np.ma.masked_equal(parent, -1)
        for name in ("fires", "share", "cosine", "absorbed"):
            values = own[f"{level}.{name}"] if level else np.nan
            named[name] = np.where(parent >= 0, values, np.nan)
        named["n_children"] = [len(self._children(level, i)) for i in range(n)]
        named["heir"] = own[f"{level}.heir"].astype(bool) & (parent >= 0) if level else np.zeros(n, bool)
        return tables.columns(named, index="feature")

    def family(self, level: int, feature: int) -> Family:
        """A feature's ancestors, siblings and descendants. Raises BadInput if there is no such level or feature."""
        self._check(level, feature)
        parent = self._parent(level, feature)
        siblings = [] if parent is None else [place for place in self._below(parent) if place != (level, feature)]
        return Family(
            node=self.node(level, feature),
            ancestors=[self.node(*place) for place in self._above(level, feature)],
            siblings=[self.node(*place) for place in siblings],
            descendants=[self.node(*place) for place in self._descendants((level, feature))],
        )

    def tree(self, level: int, feature: int) -> Tree:
        """The whole tree that a feature belongs to. Raises BadInput if there is no such level or feature."""
        self._check(level, feature)
        root = next(reversed([(level, feature), *self._above(level, feature)]))
        places = [root, *self._descendants(root)]
        sizes = np.bincount([place[0] - root[0] for place in places]).tolist()
        nodes = [self.node(*place) for place in places]
        return Tree(root=nodes[0], nodes=nodes, split_sizes=sizes)

    def roots(self) -> list[Place]:
        """Every feature with children and no parent, the largest trees first."""
        return list(self._roots)

    @cached_property
    def _roots(self) -> list[Place]:
        sizes = self._sizes
        found = [
            (level, feature)
            for level, each in enumerate(sizes)
            for feature in np.flatnonzero(each > 1).tolist()
            if self._parent(level, feature) is None
        ]
        return sorted(found, key=lambda place: (-int(sizes[place[0]][place[1]]), place))

    @cached_property
    def _sizes(self) -> list[np.ndarray]:
        """For each level the features of the tree below each feature, itself among them."""
        sizes = [np.ones(width.n_features, np.int64) for width in self.summary.widths]
        for level in range(len(sizes) - 1, 0, -1):
            parent = self._columns[f"{level}.parent"]
            np.add.at(sizes[level - 1], parent[parent >= 0], sizes[level][parent >= 0])
        return sizes

    @cached_property
    def _by_parent(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """For each level but the last: the next level's features by parent, and where each parent's begin."""
        found = []
        for level, width in enumerate(self.summary.widths[:-1]):
            parent = self._columns[f"{level + 1}.parent"]
            order = np.argsort(parent, kind="stable")
            found.append((order, np.searchsorted(parent[order], np.arange(width.n_features + 1))))
        return found

    def _children(self, level: int, feature: int) -> list[int]:
        if level == len(self.summary.widths) - 1:
            return []
        order, starts = self._by_parent[level]
        return order[starts[feature] : starts[feature + 1]].tolist()

    def _parent(self, level: int, feature: int) -> Place | None:
        parent = int(self._columns[f"{level}.parent"][feature]) if level else -1
        return None if parent < 0 else (level - 1, parent)

    def _above(self, level: int, feature: int) -> Iterator[Place]:
        place = self._parent(level, feature)
        while place is not None:
            yield place
            place = self._parent(*place)

    def _below(self, place: Place) -> list[Place]:
        return [(place[0] + 1, child) for child in self._children(*place)]

    def _descendants(self, place: Place) -> Iterator[Place]:
        row = self._below(place)
        while row:
            yield from row
            row = [below for each in row for below in self._below(each)]

    def _check_columns(self) -> None:
        widths = [width.n_features for width in self.summary.widths]
        for level, n in enumerate(widths):
            self._columns.check_ids(f"{level}.n_fired", n, low=0)
            if level:
                self._columns.check_ids(f"{level}.parent", n, low=-1, end=widths[level - 1])
                self._columns.check_ids(f"{level}.heir", n, low=0, end=2)
                for name in ("fires", "share", "cosine", "absorbed"):
                    self._columns.check_numbers(f"{level}.{name}", n)

    def _check(self, level: int, feature: int) -> None:
        widths = self.summary.widths
        if not 0 <= level < len(widths):
            raise BadInput(f"Dictionaries count from 0, the narrowest, to {len(widths) - 1}; received {level}.")
        if not 0 <= feature < widths[level].n_features:
            raise BadInput(
                f"Features of {widths[level].name} count from 0 to {widths[level].n_features - 1}; received {feature}."
            )
