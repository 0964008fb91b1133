"""streaming: Stream, the batches that a recording would give, computed while they are read and never written.

The spans, hygiene and row order of each shard are those of ``record`` with the same options. A recording shuffles over
the whole set; a stream shuffles over a window of shards that it holds in memory. So a set that fits in one window gives
the same batches, bit for bit, and a larger one the same rows in another order.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from itertools import chain, count, islice
from typing import Any, Unpack

import numpy as np
import torch
from jaxtyping import Int32

from physalis.activations import (
    Hygiene,
    MemoryShard,
    Part,
    Recorded,
    Round,
    Span,
    all_read_back,
    inputs_of,
    lay_out,
    merge_sums,
    mixed,
    moments,
    offset_of,
    permuted,
    sums,
)
from physalis.artifact import digest
from physalis.corpora import Trail
from physalis.errors import BadInput
from physalis.models import Model, Packed
from physalis.recording.contexts import check_text, in_memory, opened, read_text
from physalis.recording.forward import collect, pilot
from physalis.recording.options import Reading, ReadingOptions, check_sizes
from physalis.site import Site
from physalis.types import Batch


class Stream(Recorded):
    """The train part of a recording that is never written. Made by ``stream``; ``train`` reads it as it reads
    Activations, or Pairs where it has several sites."""

    def __init__(
        self, model: Model, reads: Sequence[Site], writes: Sequence[Site], ids: Int32[np.ndarray, "contexts context"],
        spans: list[Span], hygienes: dict[Site, Hygiene], reading: Reading, *, window: int, job: dict[str, Any],
        held_out_text: Packed,
    ) -> None:  # fmt: skip
        """Use ``stream``."""
        self.held_out_text = held_out_text
        """The contexts that are held out of it: their tokens alone, which a model can be run on."""
        self.model, self.reads, self.writes = model, reads, writes
        self.tokens, self.hygienes = ids, hygienes
        self._spans, self._reading, self._window, self._job = spans, reading, window, job
        self._held: tuple[int, list[MemoryShard]] | None = None
        self._rows: dict[int, int] = {}

    def __repr__(self) -> str:
        reads, writes = (", ".join(map(str, sites)) for sites in (self.reads, self.writes))
        return f"Stream({reads}{f' to {writes}' if writes else ''} of {self.model.name}, {self.tokens.size:,} tokens)"

    @property
    def train(self) -> "Stream":
        """Itself: of held-out text no rows are streamed."""
        return self

    @property
    def parts(self) -> tuple[list[Part], list[Part]]:
        """What is known of each site: those that are read, and those that are written. Mean and scale are those of the
        first window, which this computes."""
        return self._parts

    @cached_property
    def _parts(self) -> tuple[list[Part], list[Part]]:
        # Summed shard by shard and site by site, as a recording sums: the same bits where the window holds all of it.
        start, found = 0, []
        for site in self.hygienes:
            stop = start + self.model.width(site)
            offset = self.hygienes[site].offset(stop - start)
            summed = merge_sums([sums(shard.x[:, start:stop]) for shard in self._shards(0)])
            mean, scale = moments(summed, None if offset is None else offset.numpy())
            part = Part(
                site=site, model=self.model.name, model_hash=self.model.fingerprint,
                tokenizer_hash=self.model.tokenizer_fingerprint, activations_hash=self.job_hash,
                hygiene=self.hygienes[site], mean=torch.from_numpy(mean), scale=scale,
            )  # fmt: skip
            found.append(part)
            start = stop
        return found[: len(self.reads)], found[len(self.reads) :]

    @property
    def inputs(self) -> dict[str, str]:
        """Hashes of what a dictionary trained on this is made from: model, tokenizer, and the stream's options."""
        return {**inputs_of(*self.parts), "activations": self.job_hash}

    @property
    def job_hash(self) -> str:
        """sha256 of the text, the sites and the options: the same rows come where it is the same."""
        return digest(self._job)

    @property
    def n_tokens(self) -> int:
        """Rows of an epoch: exact where one window holds all, else reckoned from what hygiene keeps of the first
        window."""
        first, stop = self._spans[: self._window], self._spans[-1].stop
        kept, seen = self._count(0), first[-1].stop - first[0].start
        return kept * (stop - self._spans[0].start) // seen

    def batches(self, size: int, *, seed: int, epochs: int = 1, start: int = 0) -> Iterator[Batch]:
        """Exactly ``n_batches`` batches of exactly ``size`` rows, less the ``start`` that are passed over.

        What an epoch holds less than ``n_tokens`` reckoned comes from the beginning of the next; what it holds more is
        left. What is passed over is computed once: how many rows a context keeps is known only then.
        """
        left = max(0, self.n_batches(size, epochs=epochs) - start)
        parts = [part for side in self.parts for part in side]
        width = sum(len(part.mean) for part in parts)
        rounds, skip = self._rounds(seed, start * size) if left else (iter(()), 0)
        for rows in islice(all_read_back(mixed(rounds, width, size, skip=skip), offset_of(parts)), left):
            yield Batch(*self._split(rows))

    def _rounds(self, seed: int, skip: int) -> tuple[Iterator[Round], int]:
        # The rounds from the one in which row ``skip`` is on, and how many of its rows come before that one.
        numbers = range(-(-len(self._spans) // self._window))
        order = ((epoch, number) for epoch in count() for number in numbers)
        epoch, number = next(order)
        while skip >= (n := self._count(number)):
            skip -= n
            epoch, number = next(order)
        return (self._round(seed, *each) for each in chain([(epoch, number)], order)), skip

    def _round(self, seed: int, epoch: int, number: int) -> Round:
        # The key of a recording's epoch is (seed, epoch); windows after the first extend it.
        return Round(self._shards(number), [seed, epoch] if number == 0 else [seed, number, epoch])

    def _count(self, number: int) -> int:
        if number not in self._rows:
            self._shards(number)
        return self._rows[number]

    def _shards(self, number: int) -> list[MemoryShard]:
        # Kept until another window is asked for.
        if self._held is None or self._held[0] != number:
            self._held = None  # the old window's memory goes before the new one's comes
            first = number * self._window
            self._held = number, [self._shard(span) for span in self._spans[first : first + self._window]]
            self._rows[number] = sum(shard.rows for shard in self._held[1])
        return self._held[1]

    def _shard(self, span: Span) -> MemoryShard:
        batch = self._reading.batch
        found = collect(self.model, self.hygienes, self.tokens, span, batch=batch, advance=lambda *_: None)
        each = [one.shard.x for one in found]
        x = each[0] if len(each) == 1 else np.concatenate(each, axis=1)
        return permuted(x, found[0].shard.at, seed=self._reading.seed, number=span.number)


def stream(
    model: Model,
    source: str,
    reads: Sequence[Site],
    reading: Reading = Reading(),  # noqa: B008 (frozen)
    *,
    writes: Sequence[Site] = (),
    window: int = 4,
    **options: Unpack[ReadingOptions],
) -> Stream:
    """The train part of what ``record`` would write with these options, computed as it is read: ``x`` is what the sites
    of ``reads`` hold, side by side, and ``y`` what those of ``writes`` hold, or ``x`` itself where there are none.

    One forward pass reads them all. ``window`` shards are held in memory at a time and shuffled together. Raises
    BadInput as ``record`` does.
    """
    reading, sites = replace(reading, **options), [*reads, *writes]
    if not reads or len(set(sites)) < len(sites):
        raise BadInput(
            f"A stream reads at least one site, and names each once; received {', '.join(map(str, sites)) or 'none'}."
        )
    for site in sites:
        model.width(site)  # which every row has to have
    check_sizes(window=window)
    check_text(model, reading)
    named, texts = model.corpus.named(source), opened(model.corpus, source, reading.field, Trail())
    text = read_text(model, texts, reading)
    every = in_memory(text)
    ids = every.ids
    spans = lay_out(len(ids), held_out=text.n_held_out, contexts_per_shard=reading.contexts_per_shard)
    hygienes = pilot(model, sites, ids, bos=reading.bos)
    train = [span for span in spans if not span.held_out]
    named["digest"] = hashlib.sha256(ids.tobytes()).hexdigest()
    job = {
        "model": model.fingerprint, "text": named, "reads": [str(site) for site in reads],
        "writes": [str(site) for site in writes], "window": window, **asdict(reading),
    }  # fmt: skip
    held = Packed(ids=ids[text.n_train :], documents=every.documents[text.n_train :])
    return Stream(model, reads, writes, ids, train, hygienes, reading, window=window, job=job, held_out_text=held)
