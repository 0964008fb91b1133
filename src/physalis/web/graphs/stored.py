"""stored: StoredGraph, a graph that `physalis trace` wrote, read back for its page, without torch.

What is read is checked: anybody may have written it, and a page is made of what stands there.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
from jaxtyping import Bool, Float, Int64
from pydantic import ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file

from physalis import artifact
from physalis.artifact.manifest import wrong
from physalis.atlas.records import Record
from physalis.errors import BadInput

KIND, TENSORS = "graph", "graph.safetensors"
LEAST = 1e-10
"""What the sum of a row is held above."""
Layer = Annotated[int, Field(ge=0, le=10_000)]


class Said(Record):
    """What is read of a graph's manifest; it may hold more."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)


S = TypeVar("S", bound=Said)


class Verdict(Said):
    """What came of its trial, as ``circuits.Verdict`` tells it."""

    sources: int
    edge_r: float | None
    path_r: float | None
    end_r: float | None
    answer: float
    kept_only: float
    stochastic: float
    adversarial: float
    none_kept: float
    dropped: int
    kept: int
    beats_the_model: bool
    survives: bool


class Scores(Said):
    """Shares from 0 to 1, as ``circuits.Scores`` has them."""

    replacement: float
    completeness: float


class End(Said):
    """What the graph ends in."""

    name: str
    token: int | None
    probability: float
    weight: float


class _Config(Said):
    model: str
    prompt: str
    token_strings: list[str] = Field(min_length=1)
    layers: list[Layer] = Field(min_length=1)
    ends: list[End] = Field(min_length=1)
    n_active: int
    basis: str = "features"
    """What its features are: those of transcoders, "cross-layer features", or "neurons"."""


class _Facts(Said):
    verdict: Verdict
    scores: Scores


@dataclass(frozen=True, eq=False, kw_only=True)
class StoredGraph:
    """Use ``StoredGraph.open``. Rows are features, then ends; columns are features, errors layer by layer, tokens."""

    folder: Path
    manifest: artifact.Manifest
    said: _Config
    verdict: Verdict
    scores: Scores
    tokens: Int64[np.ndarray, " context"]
    layer: Int64[np.ndarray, " features"]
    position: Int64[np.ndarray, " features"]
    feature: Int64[np.ndarray, " features"]
    value: Float[np.ndarray, " rows"]
    edges: Float[np.ndarray, "rows columns"]
    left_out_size: Float[np.ndarray, " rows"]
    kept: Bool[np.ndarray, " columns"]

    @classmethod
    def open(cls, folder: Path | str) -> "StoredGraph":
        """Raises BadInput for a folder that holds no graph or a damaged one, and for a graph without a verdict: nobody
        tried it on the model, so nothing is said about the model by showing it."""
        folder = Path(folder)
        manifest = artifact.read(folder, KIND)
        path = folder / artifact.MANIFEST
        said = _read(_Config, manifest.config, path)
        if "verdict" not in manifest.facts:
            raise BadInput(
                f"{folder} is a graph without a verdict, since nobody tried it on its model, and there is no page "
                f"without one. `physalis trace SET {_quoted(said.prompt)} --out OUT` traces it again and tries it."
            )
        facts = _read(_Facts, manifest.facts, path)
        artifact.check_digest(folder / TENSORS, manifest)
        try:
            found = load_file(folder / TENSORS)
            held = {name: found[name] for name in _SHAPES}
        except (SafetensorError, KeyError, ValueError, OSError) as error:
            raise _misfit(folder, f"does not hold what a graph does ({error})") from error
        _check(held, said, folder)
        return cls(
            folder=folder, manifest=manifest, said=said, verdict=facts.verdict, scores=facts.scores, **held
        )  # fmt: skip

    @property
    def n_features(self) -> int:
        return len(self.feature)

    @property
    def weights(self) -> Float[np.ndarray, " rows"]:
        """Those of the ends; 0 for features."""
        return np.array([0.0] * self.n_features + [end.weight for end in self.said.ends])

    @cached_property
    def influence(self) -> Float[np.ndarray, " columns"]:
        """Of every kept node on the ends, as ``circuits.influence`` defines it."""
        n, total, weights = self.n_features, np.zeros(self.edges.shape[1]), self.weights
        levels = np.concatenate([self.layer, np.full(len(self.said.ends), max(self.said.layers) + 1)])
        for level in np.unique(levels)[::-1]:
            rows = np.flatnonzero(levels == level)
            size = np.abs(self.edges[rows])
            arriving = weights[rows] + np.where(rows < n, total[np.minimum(rows, len(total) - 1)], 0)
            total += (arriving / np.maximum(size.sum(1), LEAST)) @ size
        return total * self.kept

    @cached_property
    def enters(self) -> Float[np.ndarray, " rows"]:
        """The size of all edges into each row."""
        return np.abs(self.edges).sum(1)


_SHAPES: dict[str, tuple[type, tuple[str, ...]]] = {
    "tokens": (np.int64, ("context",)), "layer": (np.int64, ("features",)), "position": (np.int64, ("features",)),
    "feature": (np.int64, ("features",)), "value": (np.float32, ("rows",)), "edges": (np.float32, ("rows", "columns")),
    "left_out_size": (np.float32, ("rows",)), "kept": (np.bool_, ("columns",)),
}  # fmt: skip
"""What is read of the file. It holds more, which ``circuits.Graph`` needs."""


def _read(kind: type[S], value: Mapping[str, Any], path: Path) -> S:
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        raise BadInput(f"{path}: {wrong(error)}. {artifact.MISFIT}") from error


def _check(held: Mapping[str, np.ndarray], said: _Config, folder: Path) -> None:
    """Raise BadInput for tensors that do not fit each other, or what is said of them."""
    n, context = len(held["feature"]), len(said.token_strings)
    sizes = {
        "features": n, "context": context, "rows": n + len(said.ends),
        "columns": n + (len(said.layers) + 1) * context,
    }  # fmt: skip
    for name, (kind, shape) in _SHAPES.items():
        values, wanted = held[name], tuple(sizes[axis] for axis in shape)
        if values.dtype != kind or values.shape != wanted:
            has, should = (f"{list(s)} {np.dtype(k)}" for s, k in ((values.shape, values.dtype), (wanted, kind)))
            raise _misfit(folder, f"has {name} as {has}, and should as {should}")
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise _misfit(folder, f"has {name} with numbers that are not finite")
    there = (held["position"] >= 0) & (held["position"] < context) & np.isin(held["layer"], said.layers)
    if not there.all() or (held["feature"] < 0).any():
        raise _misfit(folder, "has features of layers, tokens or numbers that there are not")


def _misfit(folder: Path, why: str) -> BadInput:
    return BadInput(f"{folder / TENSORS} {why}. {artifact.MISFIT}")


def _quoted(prompt: str) -> str:
    return repr(prompt if len(prompt) <= 60 else f"{prompt[:57]}...")
