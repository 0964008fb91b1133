"""plan(): what recording and training will take in memory, disk and time, before either starts.

Rates and memory are measured on this machine, on a few steps of the real thing; what is on disk is counted.
"""

import contextlib
import io
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from physalis import dictionaries, recording
from physalis.dictionaries.base import Shape
from physalis.dictionaries.kernels.rows import release_buffers
from physalis.models import Model
from physalis.recording.options import Reading
from physalis.runtime.device import forget_peak_memory, free_memory, peak_memory, release_unused_memory, used_memory
from physalis.runtime.progress import progress
from physalis.site import Site
from physalis.training.options import Training
from physalis.training.training import Source, train
from physalis.types import Batch

TEXT_TOKENS = 16_384
"""What is trained on to see what it takes. Noise will not do: more features fire on text while a dictionary finds its
levels, and steps take up to twice as long."""
FEW, MANY, WITHIN_S = 5, 60, 40.0
"""Steps that show how long a step takes; steps after which they take what all later ones take; what these may take."""
ENDLESS = 1_000_000
"""Times that the text is read, at most."""
SETTLED = 2
"""Steps of a run after which nothing is set up any more."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a recording and a training run on it will take."""

    recording: recording.Plan
    epochs: int
    """How often the training goes through it."""
    train_tokens_per_s: float
    train_seconds: float
    """Starting and saving included."""
    train_memory_bytes: int
    """By how much the process grows, on a card there: weights, moments, codes, batches, what starting and saving
    copy."""
    dictionary_bytes: int
    """On disk, once trained."""
    free_memory_bytes: int
    """Where it is trained."""
    fits: bool
    """Whether the larger of the two peaks fits into the memory that is free now."""


def plan(
    model: Model,
    reads: Site | Sequence[Site],
    *,
    writes: Site | Sequence[Site] = (),
    tokens: int = Reading.tokens,
    architecture: str = "topk",
    n_features: int | None = None,
    k: int = dictionaries.TopKConfig.k,
    skip: bool = False,
    epochs: int = Training.epochs,
    batch_size: int = Training.batch_size,
) -> Plan:
    """Estimate recording ``tokens`` positions, and training a dictionary of ``n_features`` (8 times the width of what
    it reads unless given) on them where the model is.

    It reads the sites of ``reads`` side by side, and predicts those of ``writes`` where there are some, beside a linear
    path if ``skip``. Raises BadInput for a site the model does not have, an unknown architecture, or k >= n_features.
    """
    sites, targets = ([each] if isinstance(each, Site) else list(each) for each in (reads, writes))
    for site in (*sites, *targets):
        model.width(site)  # which every row has to have
    across = dictionaries.across(architecture, *(list(map(model.width, each)) for each in (sites, targets)))
    shape = {**across, "n_features": n_features or 8 * across["d_in"], "k": k} | ({"skip": True} if skip else {})
    dictionary = dictionaries.make(architecture, shape)
    on_disk = sum(value.numel() * value.element_size() for value in dictionary.state_dict().values())
    config = dictionary.config
    del dictionary
    source = model.corpus.at_hand
    few = -(-(k + 64) // len(sites)) * len(sites)  # a multiple, for those that have some features a layer
    options: dict[str, Any] = {"batch_size": batch_size, "device": model.device}
    with progress("plan", 4, "parts") as advance:
        advance(0, note="record a little")
        of_recording = recording.plan(model, [*sites, *targets], tokens=tokens)
        steps = of_recording.tokens * epochs // batch_size
        text = _text(model, source, sites, targets, max(TEXT_TOKENS, 2 * batch_size))
        advance(1)
        advance(0, note="compile what training needs")
        _probe(text, dictionaries.make(architecture, {**shape, "n_features": few}).config, steps=FEW, **options)
        advance(1)
        advance(0, note="train a little")
        first = _probe(text, config, steps=FEW, **options).settled
        enough = min(MANY, max(3 * FEW, int(WITHIN_S / (2 * first))))
        advance(1)
        advance(0, note="train a little longer")
        found = _probe(text, config, steps=enough, **options)
        advance(1)
    memory, free = found.memory, free_memory(model.device)
    of_both = memory if model.device.type == "cuda" else max(memory, of_recording.memory_bytes)
    return Plan(
        recording=of_recording,
        epochs=epochs,
        train_tokens_per_s=batch_size / found.settled,
        train_seconds=found.around + found.take(steps),
        train_memory_bytes=memory,
        dictionary_bytes=on_disk,
        free_memory_bytes=free,
        fits=of_both < free,
    )


def _text(model: Model, source: str, reads: Sequence[Site], writes: Sequence[Site], tokens: int) -> recording.Stream:
    """What the model computes on some text."""
    context = min(128, model.longest or 128)
    options: dict[str, Any] = {"context": context, "bos": model.bos_id is not None, "held_out": 0.0}
    return recording.stream(model, source, reads, writes=writes, tokens=tokens, **options)


class _Timed:
    """A source that is read for so many steps, over and over, and tells what its reader took for each."""

    def __init__(self, source: Source, steps: int) -> None:
        self._source, self._steps = source, steps
        self.frame, self.d_in, self.d_out = source.frame, source.d_in, source.d_out
        self.origin, self.inputs, self.n_tokens = source.origin, source.inputs, source.train.n_tokens
        self.seconds: list[list[float]] = []
        """For each reading the seconds between one batch and the next."""

    @property
    def train(self) -> "_Timed":
        return self

    def n_batches(self, size: int, *, epochs: int = 1) -> int:
        return self._steps

    def batches(self, size: int, *, seed: int, epochs: int = 1, start: int = 0) -> Iterator[Batch]:
        seconds: list[float] = []
        self.seconds.append(seconds)
        # as many as a start asks for, which a large dictionary makes of more rows than there are
        for batch in self._source.train.batches(size, seed=seed, epochs=ENDLESS, start=start):
            began = time.perf_counter()
            yield batch
            seconds.append(time.perf_counter() - began)


class _Probed(NamedTuple):
    steps: list[float]
    """Seconds of each of a run's first steps, those aside in which things are set up."""
    around: float
    """Seconds for what comes before the steps and after them."""
    memory: int
    """Bytes by which the process grew at most, on a card there."""

    @property
    def settled(self) -> float:
        """Seconds of a step once all that there is to find has been found: of the last third."""
        return statistics.mean(self.steps[-max(1, len(self.steps) // 3) :])

    def take(self, steps: int) -> float:
        """Seconds that so many steps take."""
        seen = self.steps[:steps]
        return sum(seen) + (steps - len(seen)) * self.settled


def _probe(source: Source, config: Shape, *, steps: int, batch_size: int, device: torch.device) -> _Probed:
    """Train for a few steps."""
    timed = _Timed(source, steps)
    next(iter(source.train.batches(batch_size, seed=0)))  # computed where it is not counted
    release_buffers()
    release_unused_memory()
    before = used_memory(device)
    forget_peak_memory(device)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
        options = {"epochs": 1, "batch_size": batch_size, "dead_after": steps * batch_size // 20, "device": device}
        train(timed, [config], [f"{folder}/probe"], **options)
    took = time.perf_counter() - began
    peak = peak_memory(device)
    release_buffers()
    _, between, *_ = timed.seconds  # starting read before, finishing after
    # a step in which the machine was busy with something else is no measure of the others
    usual = statistics.median(between[SETTLED:])
    each = [min(seconds, 2 * usual) for seconds in between[SETTLED:]]
    return _Probed(each, max(0.0, took - sum(between) - each[-1]), peak - before)
