"""stored: StoredCodes, what ``encode`` wrote: read by token, by feature, or beside the activations that it is of."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64

from physalis import artifact
from physalis.activations import Stored
from physalis.artifact import MISFIT, Manifest
from physalis.codes.segments import BLOCK, Block, Segments, TokenFeatures, name_of
from physalis.codes.tokens import ByToken
from physalis.display import tables
from physalis.errors import BadInput
from physalis.placement.encoding import CHUNK, Encoded, Ordered
from physalis.runtime.device import CPU
from physalis.types import Codes

KIND = "codes"


class Firings(NamedTuple):
    """Where one feature fires, in the order of the text, and how much."""

    at: Int64[np.ndarray, " n"]
    """context_index * context + position, as in the recording."""
    values: Float32[np.ndarray, " n"]


class StoredCodes:
    """Every code that one dictionary gives on one recording, on disk. Tokens stand in the order of the text, as in
    ``Activations.numpy()``."""

    def __init__(self, folder: Path, manifest: Manifest, segments: Segments) -> None:
        """Use ``StoredCodes.open``."""
        self.folder, self.manifest, self.segments = folder, manifest, segments
        self._ends = [each["last"] for each in manifest.facts["segments"]]
        self._token_codes: tuple[int, ByToken] | None = None

    @classmethod
    def open(cls, folder: Path | str) -> "StoredCodes":
        """Open a finished folder; a segment of it is checked when it is first read. Raises BadInput if it holds no
        codes, or if a file is missing or not what the manifest says."""
        folder = Path(folder)
        manifest = artifact.read(folder, KIND)
        facts = manifest.facts
        sizes, ends = ([each[name] for each in facts["segments"]] for name in ("tokens", "last"))
        named = [name_of(i) for i in range(len(sizes))]
        if sum(sizes) != facts["n_tokens"] or sorted(manifest.files) != named or sorted(set(ends)) != ends:
            raise BadInput(f"{folder / artifact.MANIFEST} tells of other segments than it names. {MISFIT}")
        for name in named:
            artifact.plain(folder / name)
        return cls(folder, manifest, Segments(folder, facts["n_features"], sizes))

    def __repr__(self) -> str:
        a_token = self.n_codes / self.n_tokens
        return (
            f"StoredCodes({str(self.folder)!r}, {self.n_features:,} features, {self.n_tokens:,} tokens, "
            f"{a_token:.3g} features a token)"
        )

    @property
    def n_features(self) -> int:
        return self.segments.n_features

    @property
    def n_tokens(self) -> int:
        """Rows of the recording, training and held-out ones."""
        return self.segments.n_tokens

    @property
    def n_codes(self) -> int:
        """Codes that are not 0, of all tokens together."""
        return self.manifest.facts["n_codes"]

    @property
    def n_fired(self) -> Int64[np.ndarray, " features"]:
        """Tokens on which each feature fires."""
        return self.segments.n_fired

    @property
    def density(self) -> Float[np.ndarray, " features"]:
        """Share of the tokens on which each feature fires."""
        return self.n_fired / self.n_tokens

    @property
    def at(self) -> Int64[np.ndarray, " tokens"]:
        """The place of each token, context_index * context + position: 8 bytes each."""
        return np.concatenate([segment["at"] for segment in self.segments])

    def rows(self, start: int, stop: int) -> Codes:
        """Codes of the tokens ``start`` to ``stop``, the latter not among them, [tokens, the most features that fire on
        one of them], on the CPU. Raises BadInput for tokens that are not there."""
        if not 0 <= start < stop <= self.n_tokens:
            raise BadInput(f"There are tokens 0 to {self.n_tokens:,}; received {start:,} to {stop:,}.")
        found = []
        for i, (first, last) in enumerate(pairwise(np.cumsum([0, *self.segments.sizes]).tolist())):
            if first < stop and start < last:
                found.append(self._by_token(i).codes(np.arange(max(start, first), min(stop, last)) - first))
        width = max(each.values.shape[1] for each in found)
        pad = [(0, width - each.values.shape[1]) for each in found]
        parts = ([torch.nn.functional.pad(each[i], by) for each, by in zip(found, pad, strict=True)] for i in (0, 1))
        return Codes(*map(torch.cat, parts)).of(self.n_features)

    def firings(self, feature: int) -> Firings:
        """Every firing of one feature. Raises BadInput for a feature that is not there."""
        if not 0 <= feature < self.n_features:
            raise BadInput(f"There are features 0 to {self.n_features - 1:,}; received {feature}.")
        block = self.segments.block(feature, feature + 1)
        return Firings(block.at.astype(np.int64), block.values)

    def blocks(self, sample: TokenFeatures | None = None, *, budget: int = BLOCK) -> Iterator[Block]:
        """Every firing of all features in order, as many features at a time as ``budget`` firings allow, 12 bytes each.
        With a ``sample`` of tokens each firing says which of them it is on."""
        return self.segments.blocks(sample, budget)

    def tokens(self, budget: int) -> TokenFeatures:
        """Which features fire on each of a sample of tokens, with about ``budget`` firings at most: whole segments,
        spread evenly over the text."""
        return self.segments.tokens(budget)

    def encoded(self, part: Ordered, *, size: int = CHUNK, device: torch.device = CPU) -> Iterator[Encoded]:
        """Every row of ``part``, the recording or a part of it, with its codes on ``device``: what encoding again would
        give, in the same order. Raises BadInput where ``part`` has a row that was not encoded."""
        for rows in part.ordered(size):
            at = rows.at.numpy()
            index = int(np.searchsorted(self._ends, at[0]))
            x = rows.x.to(device, non_blocking=True).float()
            y = x if rows.y is rows.x else rows.y.to(device, non_blocking=True).float()
            there = self._by_token(index) if index < len(self._ends) else None
            numbers = np.searchsorted(there.at, at) if there else np.zeros(0, np.int64)
            if there is None or at.max() > there.at[-1] or not np.array_equal(there.at[numbers], at):
                raise BadInput(f"{self.folder} has no codes of some rows of these activations. Encode these.")
            codes = there.codes(numbers)
            yield Encoded(x, y, rows.at, Codes(*(each.to(device) for each in codes)).of(self.n_features))

    def table(self) -> Any:
        """A pandas DataFrame, a row a feature: ``n_fired``, ``density``, and ``mean_code`` and ``max_code`` where it
        fires, 0 where it never does. Of the codes of some tokens: ``codes.rows(0, 1000).table()``. Raises BadInput
        without pandas."""
        mean, largest = np.zeros(self.n_features), np.zeros(self.n_features, np.float32)
        for block in self.blocks():
            starts, n = block.offsets[:-1], np.diff(block.offsets)
            fires = np.flatnonzero(n)
            if len(fires):
                here = block.first + fires
                mean[here] = np.add.reduceat(block.values, starts[fires], dtype=np.float64) / n[fires]
                largest[here] = np.maximum.reduceat(block.values, starts[fires])
        columns = {"n_fired": self.n_fired, "density": self.density, "mean_code": mean, "max_code": largest}
        return tables.columns({"feature": np.arange(self.n_features), **columns}, index="feature")

    def require(self, dictionary: Manifest, source: Stored) -> None:
        """Raise BadInput unless these are the codes of this very dictionary on this very recording."""
        for role, wanted, made in (
            ("dictionary", dictionary.hash, "the dictionary"),
            ("activations", source.inputs["activations"], "the recording"),
        ):
            if self.manifest.inputs.get(role) != wanted:
                raise BadInput(
                    f"{self.folder} holds codes of another {made.removeprefix('the ')}. Give those that "
                    f"`physalis encode` wrote of {made} in use, or leave them out."
                )
        n_features = dictionary.config["dictionary"]["n_features"]
        if (self.n_features, self.n_tokens) != (n_features, source.n_tokens):
            raise BadInput(
                f"{self.folder} has codes of {self.n_features:,} features on {self.n_tokens:,} tokens, and should have "
                f"{n_features:,} on {source.n_tokens:,}. {MISFIT}"
            )
        check_places(self.segments, source)

    def _by_token(self, index: int) -> ByToken:
        """The codes of a segment by token; the last one is kept, for what is read in order asks for it again."""
        if self._token_codes is None or self._token_codes[0] != index:
            self._token_codes = index, ByToken.of(self.segments[index])
        return self._token_codes[1]


def check_places(segments: Segments, source: Stored) -> None:
    """Raise BadInput if some codes are of places that the text has not: compiled code follows them."""
    measured = segments.measured
    places = measured[:, 0] if measured.shape[1] == 3 else np.array([-1])
    if segments.last >= source.tokens.size or not ((places >= 0) & (places < source.tokens.size)).all():
        raise BadInput(
            f"{segments.folder} is damaged: it has codes of places that the text has not. Delete it and run again."
        )
