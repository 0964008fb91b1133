"""store: Activations, a folder of shards with the corpus they came from, and views of its train and held-out parts."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from physalis.activations.arrays import AT_ONCE, Sorted, check_room, places
from physalis.activations.hygiene import Hygiene
from physalis.activations.layout import Span, check_spans
from physalis.activations.mixing import Rows
from physalis.activations.parts import Part
from physalis.activations.positions import Positions
from physalis.activations.recorded import Fingerprinted, Stored, Stretch
from physalis.activations.shards import Shard
from physalis.artifact import AGAIN, MANIFEST, Manifest, check_digest, plain, read, read_bytes
from physalis.errors import BadInput
from physalis.site import Site

KIND = "activations"
LAYOUT, STATISTICS = "layout.json", "statistics.safetensors"


class Activations(Stored):
    """Recorded activations of one site: all of them, or with ``train`` and ``held_out`` a part.

    Reads are raw: ``(x - mean) * scale`` is what has mean 0 and a mean squared norm of d. Mean and scale come from the
    train part, whichever part is read, so that nothing held out is known to a dictionary. Rows are bfloat16, or float32
    where a dimension varies about a mean so far from 0 that it has an offset (``Hygiene.offsets``).
    """

    def __init__(
        self,
        folder: Path,
        manifest: Manifest,
        positions: Positions,
        mean: Float32[Tensor, " d"],
        spans: list[Span],
        shards: Sequence[Stretch],
    ) -> None:
        """Use ``Activations.open``."""
        self.folder = folder
        self.manifest = manifest
        self.positions = positions
        self.mean = mean
        self.spans = spans
        self.shards = shards

    @classmethod
    def open(cls, folder: Path | str) -> "Activations":
        """Open a finished folder. Everything but what shards and text hold is checked now, and these as they are read.
        Raises BadInput if it is none, or if a file is missing, truncated or not what the manifest says."""
        folder = Path(folder)
        manifest = read(folder, KIND)
        Site.parse(manifest.config["site"])
        said, context = manifest.facts["shards"], manifest.config["context"]
        spans = [Span(**s["span"]) for s in said]
        try:
            check_spans(spans)
        except BadInput as error:
            raise BadInput(f"{folder / MANIFEST}: {error} {AGAIN}") from error
        mean = _read_mean(folder, manifest)
        positions = Positions(folder, manifest, (spans[-1].stop, context))
        shards = []
        for span, s in zip(spans, said, strict=True):
            places = range(span.start * context, span.stop * context)
            shard = Shard.open(folder / span.name, size=s["bytes"], places=places)
            if (shard.rows, shard.d) != (s["rows"], len(mean)) or shard.rows > len(places):
                raise BadInput(
                    f"{span.name} in {folder} holds {shard.rows:,} rows of width {shard.d:,}, and should hold "
                    f"{s['rows']:,} of width {len(mean):,}. {AGAIN}"
                )
            shards.append(shard)
        if (largest := max((i for i, _ in manifest.config["hygiene"].get("offsets", ())), default=0)) >= len(mean):
            raise BadInput(f"{folder / MANIFEST} has an offset of dimension {largest}; rows have {len(mean)}. {AGAIN}")
        return cls(folder, manifest, positions, mean, spans, shards)

    def __repr__(self) -> str:
        of = self.manifest.config["model"]
        return f"Activations({str(self.folder)!r}, {self.site} of {of}, {self.n_tokens:,} tokens, d {self.d})"

    @property
    def site(self) -> Site:
        return Site.parse(self.manifest.config["site"])

    @property
    def d(self) -> int:
        return len(self.mean)

    @property
    def scale(self) -> float:
        """Makes the mean squared norm of the centred train rows d."""
        return self.manifest.facts["scale"]

    @property
    def part(self) -> Part:
        """What a joined set, or a dictionary, has to know of this one."""
        config, inputs = self.manifest.config, self.manifest.inputs
        return Part(
            site=self.site, model=config["model"], model_hash=inputs["model"], tokenizer_hash=inputs["tokenizer"],
            activations_hash=self.manifest.hash, hygiene=self.hygiene, mean=self.mean, scale=self.scale,
        )  # fmt: skip

    @property
    def parts(self) -> tuple[list[Part], list[Part]]:
        """What is read, and nothing beside it that is written."""
        return self._parts

    @cached_property
    def _parts(self) -> tuple[list[Part], list[Part]]:
        return [self.part], []

    @property
    def reads(self) -> "list[Activations]":
        """Itself, as Pairs have it."""
        return [self]

    @property
    def writes(self) -> "list[Activations]":
        """Nothing beside what is read, as Pairs have it."""
        return []

    @property
    def hygiene(self) -> Hygiene:
        """The rule of this site alone. Positions that were left out because of another site recorded with it are known
        to ``kept`` only."""
        return Hygiene.from_dict(self.manifest.config["hygiene"])

    def ordered(self, size: int, *, start: int = 0, stop: int | None = None) -> Iterator[Rows]:
        """Every row once with its place, shard after shard, at most ``size`` at a time: the fastest way through.

        Shards follow the corpus; rows inside a shard are shuffled as they were written. Only what holds rows ``start``
        up to ``stop`` is read and given.
        """
        return (Rows(x, at) for x, at in self._in_order(size, start, stop))

    def numpy(self) -> Float32[np.ndarray, "tokens d"]:
        """All rows at once, in the order of the text (``at`` says which tokens they are of). Raises BadInput where they
        do not fit into memory."""
        check_room(self.n_tokens, self.d)
        found = Sorted(places(self.shards), self.d)
        for rows in self.ordered(AT_ONCE):
            found.put(rows.x)
        return found.rows

    def _of(self, chosen: list[int]) -> "Activations":
        spans, shards = [self.spans[i] for i in chosen], [self.shards[i] for i in chosen]
        return Activations(self.folder, self.manifest, self.positions, self.mean, spans, shards)

    def require(self, model: Fingerprinted) -> None:
        """Raise BadInput unless these are activations of this very model with this very tokenizer, which has all of the
        text's tokens."""
        name = self.manifest.config["model"]
        for role, found in (("model", model.fingerprint), ("tokenizer", model.tokenizer_fingerprint)):
            if self.manifest.inputs[role] != found:
                raise BadInput(
                    f"{self.folder} holds activations of another {role}: it was recorded from {name!r} ({role} "
                    f"{self.manifest.inputs[role][:12]}), and this one is {found[:12]}. Load {name!r}, or record again."
                )
        self.positions.check_vocabulary(model.vocab_size)


def _read_mean(folder: Path, manifest: Manifest) -> Float32[Tensor, " d"]:
    path = folder / STATISTICS
    plain(path)
    check_digest(path, manifest)
    try:
        mean = load(read_bytes(path)).get("mean")
    except SafetensorError as error:
        raise BadInput(f"{path} cannot be read ({error}). {AGAIN}") from error
    if mean is None or mean.dtype != torch.float32 or mean.ndim != 1 or not len(mean) or not mean.isfinite().all():
        raise BadInput(f"{path} does not hold a mean of finite numbers. {AGAIN}")
    return mean
