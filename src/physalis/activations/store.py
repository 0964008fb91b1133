"""store: Activations, a folder of shards with the corpus they came from, and views of its train and held-out parts."""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int32, Int64
from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor

from physalis.activations.arrays import AT_ONCE, Placed, Sorted, check_room, places
from physalis.activations.hygiene import Hygiene
from physalis.activations.layout import Span, check_spans
from physalis.activations.mixing import Round, Rows, ahead, between, mixed
from physalis.activations.parts import Part, frame_of, inputs_of, origin_of
from physalis.activations.positions import DOCUMENTS, TOKENS, Positions, mapped
from physalis.activations.rounding import all_read_back, read_back
from physalis.activations.shards import Shard, Sums, merge_sums, moments, read_sidecar
from physalis.artifact import (
    AGAIN,
    MANIFEST,
    Manifest,
    check_digest,
    finish,
    plain,
    read,
    read_bytes,
    write_atomic,
)
from physalis.errors import BadInput
from physalis.site import Site
from physalis.types import Batch, Frame

KIND = "activations"
LAYOUT, STATISTICS = "layout.json", "statistics.safetensors"


@runtime_checkable
class Fingerprinted(Protocol):
    """What ``require`` compares: a Model has these."""

    fingerprint: Any
    tokenizer_fingerprint: Any
    vocab_size: Any


class Activations:
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
        shards: list[Shard],
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
    def n_tokens(self) -> int:
        """Rows: positions that hygiene kept."""
        return sum(shard.rows for shard in self.shards)

    @property
    def scale(self) -> float:
        """Makes the mean squared norm of the centred train rows d."""
        return self.manifest.facts["scale"]

    @property
    def frame(self) -> Frame:
        """Mean and scale as ``train`` applies them, the same to what is read and to what is predicted."""
        return frame_of([self.part], [])

    @property
    def d_in(self) -> int:
        return self.d

    @property
    def d_out(self) -> int:
        return self.d

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
        """What is read, and nothing else that is written: as Pairs have it."""
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
    def origin(self) -> dict[str, Any]:
        """What a dictionary trained on this says of where it belongs: site, model and hygiene."""
        return origin_of([self.part], [])

    @property
    def inputs(self) -> dict[str, str]:
        """Hashes of what a dictionary trained on this is made from: model, tokenizer and activations."""
        return inputs_of([self.part], [])

    @property
    def hygiene(self) -> Hygiene:
        """The rule of this site alone. Positions that were left out because of another site recorded with it are known
        to ``kept`` only."""
        return Hygiene.from_dict(self.manifest.config["hygiene"])

    @cached_property
    def offset(self) -> Float32[Tensor, " d"] | None:
        """What stored rows lack of their values; None where that is nothing."""
        return self.hygiene.offset(self.d)

    @property
    def context(self) -> int:
        """Tokens a context."""
        return self.manifest.config["context"]

    @property
    def tokens(self) -> Int32[np.ndarray, "contexts context"]:
        """Token ids of the whole corpus, mapped from the file; ``at`` counts in it whichever part is read."""
        return self.positions.tokens

    @property
    def documents(self) -> Int32[np.ndarray, "contexts context"]:
        """For each token of the whole corpus the number of its document, mapped from the file."""
        return self.positions.documents

    @property
    def contexts(self) -> Int64[np.ndarray, " n"]:
        """The contexts that this part holds: indices into ``tokens``."""
        spans = [np.arange(span.start, span.stop) for span in self.spans]
        return np.concatenate(spans) if spans else np.empty(0, np.int64)

    @property
    def train(self) -> "Activations":
        """The part to train on: all contexts but the last."""
        return self._part(held_out=False)

    @property
    def held_out(self) -> "Activations":
        """The part to judge by: a random sample of documents, which the last contexts hold. It shares no document with
        ``train`` but those that are too long to be held out whole (``facts["n_shared_documents"]``)."""
        return self._part(held_out=True)

    def _part(self, *, held_out: bool) -> "Activations":
        chosen = [i for i, span in enumerate(self.spans) if span.held_out == held_out]
        spans, shards = [self.spans[i] for i in chosen], [self.shards[i] for i in chosen]
        return Activations(self.folder, self.manifest, self.positions, self.mean, spans, shards)

    def n_batches(self, size: int, *, epochs: int = 1) -> int:
        """How many batches ``batches`` yields."""
        return self.n_tokens * epochs // size

    def batches(self, size: int, *, seed: int, epochs: int = 1, start: int = 0) -> Iterator[Batch]:
        """Batches of exactly ``size`` rows, shuffled anew each epoch over the whole set; ``y is x``.

        A batch may span two epochs; the rows left at the very end are dropped. ``start`` batches are passed over
        without being read: what follows is what an unbroken iteration would give.
        """
        rounds = (Round(self.shards, [seed, epoch]) for epoch in range(epochs))
        stored = mixed(rounds, self.d, size, skip=start * size)
        return (Batch(x, x) for x in all_read_back(stored, self.offset))

    def ordered(self, size: int, *, start: int = 0, stop: int | None = None) -> Iterator[Rows]:
        """Every row once with its place, shard after shard, at most ``size`` at a time: the fastest way through.

        Shards follow the corpus; rows inside a shard are shuffled as they were written. Only what holds rows ``start``
        up to ``stop`` is read and given.
        """
        if size < 1:
            raise BadInput(f"Rows are read at least 1 at a time; received size={size}.")
        pieces = ((shard, i, min(size, shard.rows - i)) for shard in self.shards for i in range(0, shard.rows, size))

        def load(piece: tuple[Shard, int, int]) -> Rows:
            shard, start, rows = piece
            x = torch.empty(rows, self.d, dtype=torch.bfloat16)
            at = torch.empty(rows, dtype=torch.int64)
            shard.read_x(start, x.view(torch.uint16).numpy())
            shard.read_at(start, at.numpy())
            return Rows(read_back(x, self.offset), at)

        return ahead(load, between(pieces, start, stop))

    @property
    def at(self) -> Int64[np.ndarray, " tokens"]:
        """The place of each row that ``numpy`` gives: ``tokens.reshape(-1)[at]`` are their token ids, and ``at %
        context`` their positions."""
        return np.sort(places(self.shards))

    def numpy(self) -> Float32[np.ndarray, "tokens d"]:
        """All rows at once, in the order of the text (``at`` says which tokens they are of). Raises BadInput where they
        do not fit into memory."""
        check_room(self.n_tokens, self.d)
        found = Sorted(places(self.shards), self.d)
        for rows in self.ordered(AT_ONCE):
            found.put(rows.x)
        return found.rows

    def kept(self, contexts: Int64[np.ndarray, " n"]) -> Bool[Tensor, "n context"]:
        """True at the positions of these contexts (indices into ``tokens``) that have a row here: what hygiene kept at
        every site of the recording. Reads only the places stored in the shards that hold the contexts."""
        keep = np.zeros((len(contexts), self.context), bool)
        for span, shard in zip(self.spans, self.shards, strict=True):
            mark_kept(keep, contexts, span, shard)
        return torch.from_numpy(keep)

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


def mark_kept(
    keep: Bool[np.ndarray, "n context"], contexts: Int64[np.ndarray, " n"], span: Span, shard: Placed
) -> None:
    """Set ``keep`` where ``shard``, which holds the contexts of ``span``, has a row."""
    inside = (contexts >= span.start) & (contexts < span.stop)
    if not inside.any():
        return
    at = np.empty(shard.rows, np.int64)
    shard.read_at(0, at)
    here = np.zeros((span.stop - span.start, keep.shape[1]), bool)
    here.reshape(-1)[at - span.start * keep.shape[1]] = True
    keep[inside] = here[contexts[inside] - span.start]


def seal(folder: Path, manifest: Manifest, spans: list[Span]) -> Manifest:
    """Turn a folder whose shards are all there into a finished artefact: merge the sidecars into mean, scale and
    counts.

    ``manifest.files`` holds the sidecars, and each of these the sha256 of its shard, so the manifest's hash covers
    every byte without reading them again. Raises BadInput for a sidecar or a text that is damaged.
    """
    said = [read_sidecar(folder, span) for span in spans]
    documents = mapped(folder / DOCUMENTS, (spans[-1].stop, manifest.config["context"]))
    parts = [
        (span, Sums(s["rows"], np.array(s["sum"]), np.array(s["sum_squares"])))
        for span, s in zip(spans, said, strict=True)
    ]
    summed = merge_sums([sums for span, sums in parts if not span.held_out])
    offset = Hygiene.from_dict(manifest.config["hygiene"]).offset(len(summed.total))
    mean, scale = moments(summed, None if offset is None else offset.numpy())
    write_atomic(folder / STATISTICS, lambda temporary: save_file({"mean": torch.from_numpy(mean)}, temporary))
    facts = {
        "scale": scale,
        "n_train": sum(sums.rows for span, sums in parts if not span.held_out),
        "n_held_out": sum(sums.rows for span, sums in parts if span.held_out),
        **_count_documents(documents, spans),
        "dropped": {reason: sum(s["dropped"][reason] for s in said) for reason in said[0]["dropped"]},
        "shards": [
            {"span": span.to_dict(), "rows": s["rows"], "bytes": s["bytes"], "at": s["at"]}
            for span, s in zip(spans, said, strict=True)
        ],
    }
    files = [DOCUMENTS, TOKENS, LAYOUT, STATISTICS, *(span.sidecar for span in spans)]
    return finish(folder, manifest.model_copy(update={"facts": facts}), files)


def _count_documents(documents: Int32[np.ndarray, "contexts context"], spans: list[Span]) -> dict[str, int]:
    train, held = (
        np.unique(np.concatenate([documents[s.start : s.stop].reshape(-1) for s in spans if s.held_out == out] or [[]]))
        for out in (False, True)
    )
    shared = np.intersect1d(train, held, assume_unique=True)
    return {
        "n_documents": len(train) + len(held) - len(shared), "n_held_out_documents": len(held),
        "n_shared_documents": len(shared),
    }  # fmt: skip
