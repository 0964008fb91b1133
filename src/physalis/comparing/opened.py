"""opened: finished comparisons read back: the summary, each feature's fate and partner, and the groups. No torch."""

from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import numpy as np
from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file

from physalis import artifact
from physalis.comparing.records import Compared, ComparedList, Fate, Group, Member, Pairs, Summary
from physalis.errors import BadInput

KIND = "comparison"
SUMMARY, ARRAYS = "summary.json", "features.safetensors"
FATES: tuple[Fate, ...] = get_args(Fate)

S = TypeVar("S", bound=BaseModel)
SideName = Literal["a", "b"]
Sort = Literal["id", "n_fired", "cosine", "correlation", "by_code_correlation", "p_value"]


def load_arrays(path: Path, manifest: artifact.Manifest) -> dict[str, np.ndarray]:
    """Raises BadInput if the file is missing or damaged."""
    artifact.plain(path)
    try:
        found = load_file(path)
    except (OSError, SafetensorError) as error:
        raise BadInput(
            f"{path} cannot be read ({error}). The folder is damaged: delete it and make it again."
        ) from error
    artifact.check_digest(path, manifest)
    return found


def check_columns(path: Path, columns: dict[str, np.ndarray], n: int, *names: str) -> None:
    """Raise BadInput unless there is a number for each of ``n`` features in every column named."""
    for name in names:
        if name not in columns or columns[name].shape != (n,):
            held = "nothing" if name not in columns else list(columns[name].shape)
            raise BadInput(f"{path}: {name} holds {held}, and should hold [{n}]. {artifact.AGAIN}")


def load_summary(path: Path, kind: type[S]) -> S:
    """The summary in a file of JSON. Raises BadInput if the file is missing or damaged."""
    try:
        return kind.model_validate(artifact.read_json(path))
    except ValidationError as error:
        raise BadInput(f"{path}: {artifact.wrong(error)}. {artifact.AGAIN}") from error


class Comparison:
    """Two dictionaries side by side. Columns are read once, some 60 bytes a feature."""

    def __init__(self, folder: Path, manifest: artifact.Manifest) -> None:
        """Use ``Comparison.open``."""
        self.folder = folder
        self.manifest = manifest
        self.summary = load_summary(folder / SUMMARY, Summary)
        self._columns = load_arrays(folder / ARRAYS, manifest)
        for name, side in (("a", self.summary.a), ("b", self.summary.b)):
            check_columns(folder / ARRAYS, self._columns, side.n_features, *(f"{name}.{each}" for each in _COLUMNS))
            if not (self._columns[f"{name}.fate"] < len(FATES)).all():
                raise BadInput(f"{folder / ARRAYS}: a feature of {name} has no fate that is known. {artifact.AGAIN}")

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
