"""reader: finished comparisons read back: the summary, each feature's fate and partner, and the groups. No torch."""

from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import numpy as np
from pydantic import ValidationError

from physalis import artifact
from physalis.comparing.columns import Columns
from physalis.comparing.records import Compared, ComparedList, Fate, Group, Member, Pairs, Record, Summary
from physalis.display import tables
from physalis.display.reprs import Displayed
from physalis.errors import BadInput

KIND = "comparison"
SUMMARY, ARRAYS = "summary.json", "features.safetensors"
FATES: tuple[Fate, ...] = get_args(Fate)

SideName = Literal["a", "b"]
Sort = Literal["id", "n_fired", "cosine", "correlation", "by_code_correlation", "p_value"]


R = TypeVar("R", bound=Record)


def load_summary(path: Path, kind: type[R]) -> R:
    """The summary in a file of JSON. Raises BadInput if the file is missing or damaged."""
    try:
        return kind.model_validate(artifact.read_json(path))
    except ValidationError as error:
        raise BadInput(f"{path}: {artifact.wrong(error)}. {artifact.MISFIT}") from error


class Comparison(Displayed):
    """Two dictionaries side by side. Columns are read once, some 60 bytes a feature."""

    def __init__(self, folder: Path, manifest: artifact.Manifest) -> None:
        """Use ``Comparison.open``."""
        self.folder = folder
        self.manifest = manifest
        self.summary = load_summary(folder / SUMMARY, Summary)
        self._columns = Columns(folder / ARRAYS, manifest)
        self._check()

    @classmethod
    def open(cls, folder: Path | str) -> "Comparison":
        """Open a folder that ``compare`` finished. Raises BadInput if it is none, unfinished, damaged or newer."""
        return cls(Path(folder), artifact.read(Path(folder), KIND))

    def __repr__(self) -> str:
        return f"Comparison({str(self.folder)!r}, {self.summary.a.name} and {self.summary.b.name})"

    def size(self, side: SideName) -> int:
        """Features of the dictionary."""
        return len(self._columns[f"{side}.fate"])

    def feature(self, side: SideName, id: int) -> Compared:
        """One feature. Raises BadInput if there is none with that id."""
        if not 0 <= id < self.size(side):
            raise BadInput(f"Features of {side} count from 0 to {self.size(side) - 1}; received {id}.")
        return self._row(side, id)

    def features(
        self,
        side: SideName,
        *,
        fate: Fate | None = None,
        sort: Sort = "id",
        descending: bool = False,
        offset: int = 0,
        limit: int = 50,
    ) -> ComparedList:
        """One page of a side's features, or of those with one fate. What has no value to sort by comes last."""
        if offset < 0 or limit < 0:
            raise BadInput(f"offset and limit count from 0; received offset {offset} and limit {limit}.")
        ids = np.arange(self.size(side))
        if fate is not None:
            ids = ids[self._columns[f"{side}.fate"] == FATES.index(fate)]
        if sort != "id":
            values = self._columns[f"{side}.{sort}"][ids].astype(np.float64)
            ids = ids[np.argsort(-values if descending else values, kind="stable")]
        elif descending:
            ids = ids[::-1]
        shown = ids[offset : offset + limit].tolist()
        return ComparedList(total=len(ids), offset=offset, rows=[self._row(side, id) for id in shown])

    def table(self, side: SideName) -> Any:
        """A pandas DataFrame with a row a feature of that side, named by its id; columns as ``Compared`` has them.
        Raises BadInput without pandas."""
        named = {"id": np.arange(self.size(side))} | {name: self._columns[f"{side}.{name}"] for name in _COLUMNS}
        named["fate"] = np.array(FATES)[named["fate"]]
        for name in ("found", "found_by_code"):
            named[name] = named[name].astype(bool)
        for name in ("n_fired", "partner", "by_code", "group"):
            named[name] = np.ma.masked_equal(named[name], -1)
        return tables.columns(named, index="id")

    @cached_property
    def pairs(self) -> Pairs:
        """The pairs found by direction of which both fire; none without activations."""
        a = np.flatnonzero(self._columns["a.found"])
        b = self._columns["a.partner"][a]
        fired_a, fired_b = self._columns["a.n_fired"][a], self._columns["b.n_fired"][b]
        both = (fired_a > 0) & (fired_b > 0)
        columns = (a, b, fired_a, fired_b, self._columns["a.cosine"][a])
        return Pairs(**{name: each[both].tolist() for name, each in zip(Pairs.model_fields, columns, strict=True)})

    @cached_property
    def groups(self) -> list[Group]:
        """Every split, those of A first. ``Compared.group`` is an index into this."""
        c = self._columns
        found = []
        for i, feature in enumerate(c["group.feature"].tolist()):
            at = slice(int(c["group.offsets"][i]), int(c["group.offsets"][i + 1]))
            columns = (c[f"member.{name}"][at].tolist() for name in Member.model_fields)
            members = [
                Member(feature=f, purity=purity, coverage=coverage, cosine=cosine)
                for f, purity, coverage, cosine in zip(*columns, strict=True)
            ]
            found.append(
                Group(
                    side="b" if c["group.side"][i] else "a",
                    feature=feature,
                    members=members,
                    coverage=float(c["group.coverage"][i]),
                    purity=float(c["group.purity"][i]),
                    alone=max(member.coverage for member in members),
                )
            )
        return found

    def _check(self) -> None:
        c, n = self._columns, {"a": self.summary.a.n_features, "b": self.summary.b.n_features}
        c.check_ids("group.side", None, low=0, end=2)
        n_groups = len(c["group.side"])
        for own, other in (("a", "b"), ("b", "a")):
            for name, low, end in (
                ("fate", 0, len(FATES)), ("group", -1, n_groups), ("n_fired", -1, None), ("partner", -1, n[other]),
                ("by_code", -1, n[other]), ("found", 0, 2), ("found_by_code", 0, 2),
            ):  # fmt: skip
                c.check_ids(f"{own}.{name}", n[own], low=low, end=end)
            for name in ("cosine", "correlation", "p_value", "by_code_correlation"):
                c.check_numbers(f"{own}.{name}", n[own])
        c.check_ids("group.feature", n_groups, low=0, end=max(n.values()))
        c.check_ids("member.feature", None, low=0, end=max(n.values()))
        n_members = len(c["member.feature"])
        c.check_ends("group.offsets", n_groups, n_members)
        for name in ("group.coverage", "group.purity"):
            c.check_numbers(name, n_groups)
        for name in ("member.purity", "member.coverage", "member.cosine"):
            c.check_numbers(name, n_members)
        for own, other, side in (("a", "b", 0), ("b", "a", 1)):
            groups = c["group.side"] == side
            members = np.repeat(groups, np.diff(c["group.offsets"].astype(np.int64)))
            wholes, parts = c["group.feature"][groups], c["member.feature"][members]
            if wholes.max(initial=-1) >= n[own] or parts.max(initial=-1) >= n[other]:
                raise BadInput(f"{c.path} names features that do not exist. Delete the folder and make it again.")

    def _row(self, side: str, id: int) -> Compared:
        c = {name: self._columns[f"{side}.{name}"][id].item() for name in _COLUMNS}
        return Compared(
            id=id,
            fate=FATES[c["fate"]],
            found=bool(c["found"]),
            found_by_code=bool(c["found_by_code"]),
            **{name: _known(c[name]) for name in _MEASURED},
        )


_COLUMNS = tuple(name for name in Compared.model_fields if name != "id")
_MEASURED = tuple(name for name in _COLUMNS if name not in ("fate", "found", "found_by_code"))


def _known(value: Any) -> Any:
    """None for what was not measured: an id of -1, or no number."""
    return None if value != value or value == -1 and isinstance(value, int) else value
