"""graph: Graph, which features, errors and tokens of one prompt made which logits, and each other; a folder.

Rows are what is reached: features, then ends. Columns are what reaches them: features in the same order, then the error
of each layer's transcoder at each position, then tokens. An edge is what its source adds to its target: what a source
writes times what that adds, through all that is held as the prompt had it, to what the target reads. So a row, what was
left out of the graph and the target's own bias add up to its value.
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from safetensors.torch import load_file, save_file
from torch import Tensor

from physalis import artifact
from physalis.artifact import Manifest
from physalis.circuits.influence import influence
from physalis.errors import BadInput

KIND, TENSORS = "graph", "graph.safetensors"


class End(NamedTuple):
    """What a graph ends in."""

    name: str
    token: int | None
    probability: float
    weight: float


class Scores(NamedTuple):
    """Definitions of Ameisen et al. 2025, as circuit-tracer computes them."""

    replacement: float
    """The share of influence that goes from tokens to the ends, not from errors: 1 where features explain all."""
    completeness: float
    """How much of what enters the nodes comes from features and tokens, weighted by their influence."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Graph:
    """Use ``trace``, or ``Graph.open``. Tensors are float32 on the CPU."""

    model: str
    prompt: str
    tokens: Int64[Tensor, " context"]
    token_strings: tuple[str, ...]
    layers: tuple[int, ...]
    """Those that have transcoders."""
    ends: tuple[End, ...]
    layer: Int64[Tensor, " features"]
    position: Int64[Tensor, " features"]
    feature: Int64[Tensor, " features"]
    """Which feature of its layer's transcoder."""
    directions: Float[Tensor, "ends d_model"]
    """What the ends read of the stream behind the last block, before it is divided by the last norm's scale."""
    value: Float[Tensor, " rows"]
    """Codes of features, and what the ends' directions give."""
    bias: Float[Tensor, " rows"]
    """What each row has of itself: of biases, not of any source."""
    edges: Float[Tensor, "rows columns"]
    left_out: Float[Tensor, " rows"]
    """The sum of all edges that are not in the graph: from features that were not read, and what was pruned."""
    left_out_size: Float[Tensor, " rows"]
    """The sum of their sizes."""
    basis: str = "features"
    """What its features are: those of a transcoder for each layer, "cross-layer features", or "neurons"."""
    n_active: int
    """Features that fire on the prompt, counted at each position."""
    kept: Bool[Tensor, " columns"]
    """Nodes that pruning kept: all of them in a graph that was not pruned."""

    def __repr__(self) -> str:
        n = int(self.kept[: self.n_features].sum())
        edges = int((self.edges != 0).sum())
        return f"Graph({self.prompt!r}, {n:,} of {self.n_active:,} features, {edges:,} edges)"

    @property
    def n_features(self) -> int:
        return len(self.feature)

    @property
    def n_tokens(self) -> int:
        return len(self.tokens)

    @property
    def weights(self) -> Float[Tensor, " rows"]:
        """Those of the ends; 0 for features."""
        return torch.tensor([0.0] * self.n_features + [end.weight for end in self.ends])

    @property
    def errors(self) -> slice:
        """The columns of errors, layer by layer, position by position."""
        return slice(self.n_features, self.n_features + len(self.layers) * self.n_tokens)

    @property
    def embeddings(self) -> slice:
        """The columns of tokens."""
        return slice(self.errors.stop, self.errors.stop + self.n_tokens)

    @property
    def unaccounted(self) -> float:
        """How far edges, what was left out and biases are from the rows' values: the largest difference, as a share of
        what enters."""
        gap = (self.edges.sum(1) + self.left_out + self.bias - self.value).abs()
        size = self.edges.abs().sum(1) + self.left_out_size + self.bias.abs()
        return float((gap / size.clamp_min(1e-10)).max())

    @property
    def left_out_share(self) -> float:
        """How much of what enters the rows comes over edges that are not in the graph, all rows alike."""
        size = self.edges.abs().sum(1)
        return float((self.left_out_size / (size + self.left_out_size).clamp_min(1e-10)).mean())

    def influence(self) -> Float[Tensor, " columns"]:
        """Of every node on the ends, by their weights."""
        columns = torch.cat([torch.arange(self.n_features), torch.full((len(self.ends),), -1)])
        levels = torch.cat([self.layer, torch.full((len(self.ends),), int(max(self.layers)) + 1)])
        return influence(self.edges, self.weights, columns, levels)

    def scores(self) -> Scores:
        """Replacement and completeness; both 1 where there are no errors."""
        through = self.influence()
        tokens, errors = float(through[self.embeddings].sum()), float(through[self.errors].sum())
        size = self.edges.abs()
        of_errors = size[:, self.errors].sum(1) / size.sum(1).clamp_min(1e-10)
        # A node's own influence, and an end's weight; what nothing enters (errors, tokens) is explained.
        counts = self.weights.clone()
        counts[: self.n_features] += through[: self.n_features]
        every = float(counts.sum()) + errors + tokens
        return Scores(tokens / max(tokens + errors, 1e-10), 1 - float((of_errors * counts).sum()) / max(every, 1e-10))

    def node(self, column: int) -> str:
        """What a column is, in words."""
        if column < self.n_features:
            at = int(self.position[column])
            what = "neuron " if self.basis == "neurons" else "#"
            return f"L{int(self.layer[column])} {what}{int(self.feature[column])} at {self.token_strings[at]!r} ({at})"
        if column < self.errors.stop:
            layer, at = divmod(column - self.n_features, self.n_tokens)
            return f"error of L{self.layers[layer]} at {self.token_strings[at]!r} ({at})"
        at = column - self.errors.stop
        return f"token {self.token_strings[at]!r} ({at})"

    def kept_only(self, kept: Bool[Tensor, " columns"], edges: Bool[Tensor, "rows columns"]) -> "Graph":
        """The same graph in which only some nodes and edges count; what the others add is left out, and counted so. No
        node's place changes."""
        gone = self.edges * ~edges
        return replace(
            self, kept=self.kept & kept, edges=self.edges * edges, left_out=self.left_out + gone.sum(1),
            left_out_size=self.left_out_size + gone.abs().sum(1),
        )  # fmt: skip

    def save(self, out: Path | str) -> None:
        """Write it to a folder. Raises BadInput for one that holds something else."""
        h = hashlib.sha256()
        for value in self._tensors().values():
            h.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
        with artifact.claim(Path(out), KIND, {"prompt": self.prompt, "graph": h.hexdigest()}) as done:
            if done is None:
                self.finish(Path(out), inputs={}, facts={})

    def finish(self, out: Path, *, inputs: Mapping[str, str], facts: Mapping[str, Any]) -> Manifest:
        """Write it to a folder that is claimed, with the hashes of what it was made from and what was found out."""
        tensors = self._tensors()
        config = {
            "model": self.model, "prompt": self.prompt, "token_strings": list(self.token_strings),
            "layers": list(self.layers), "ends": [end._asdict() for end in self.ends], "n_active": self.n_active,
            "basis": self.basis,
        }  # fmt: skip
        artifact.write_atomic(out / TENSORS, lambda path: save_file(tensors, path))
        known = self.unaccounted
        told = {
            **facts, "scores": self.scores()._asdict(), "unaccounted": known if math.isfinite(known) else None,
        }  # fmt: skip
        made = Manifest(kind=KIND, config=config, seed=0, inputs=dict(inputs), facts=told)
        return artifact.finish(out, made, [TENSORS])

    def _tensors(self) -> dict[str, Tensor]:
        return {f.name: getattr(self, f.name).contiguous() for f in fields(self) if _is_tensor(self, f.name)}

    @classmethod
    def open(cls, folder: Path | str) -> "Graph":
        """Raises BadInput for a folder that holds no graph, or a damaged one."""
        folder = Path(folder)
        manifest = artifact.read(folder, KIND)
        artifact.check_digest(folder / TENSORS, manifest)
        said = manifest.config
        try:
            ends = tuple(End(*(end[name] for name in End._fields)) for end in said["ends"])
            found = cls(
                model=said["model"], prompt=said["prompt"], token_strings=tuple(said["token_strings"]),
                layers=tuple(said["layers"]), ends=ends, n_active=said["n_active"],
                basis=said.get("basis", "features"), **load_file(folder / TENSORS),
            )  # fmt: skip
        except (KeyError, TypeError) as error:
            raise BadInput(f"{folder} does not say what a graph does. {artifact.MISFIT}") from error
        if not found.ends or not found.layers or found.edges.shape[1] != found.embeddings.stop:
            raise BadInput(f"What {folder} holds does not fit together. {artifact.MISFIT}")
        return found


def _is_tensor(graph: Graph, name: str) -> bool:
    return isinstance(getattr(graph, name), Tensor)
