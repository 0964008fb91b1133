"""plan(): what recording and training will take in memory, disk and time, before either starts.

Rates and memory are measured on this machine, on a few steps of the real thing; what is on disk is counted.
"""

import contextlib
import gc
import io
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from physalis import dictionaries, recording
from physalis.activations.mixing import BUFFER, BUFFER_BYTES
from physalis.device import forget_peak_memory, free_memory, peak_memory, used_memory
from physalis.dictionaries.base import Shape
from physalis.dictionaries.rows import release_buffers
from physalis.models import Model
from physalis.site import Site
from physalis.training import train
from physalis.types import Batch, Frame

PROBE_STEPS = 25
SETTLED = 2
"""Steps of the probe after which each takes what later ones take."""


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
    tokens: int = 2_000_000,
    architecture: str = "topk",
    n_features: int | None = None,
    k: int = 32,
    skip: bool = False,
    epochs: int = 3,
    batch_size: int = 2048,
) -> Plan:
    """Estimate recording ``tokens`` positions, and training a dictionary of ``n_features`` (8 times the width of what
    it reads unless given) on them where the model is.

    It reads the sites of ``reads`` side by side, and predicts those of ``writes`` where there are some, beside a linear
    path if ``skip``. Raises BadInput for a site the model does not have, an unknown architecture, or k >= n_features.
    """
    sites, targets = ([each] if isinstance(each, Site) else list(each) for each in (reads, writes))
    for site in (*sites, *targets):
        model.check(site)
    across = dictionaries.across(architecture, *(list(map(model.width, each)) for each in (sites, targets)))
    shape = {**across, "n_features": n_features or 8 * across["d_in"], "k": k} | ({"skip": True} if skip else {})
    dictionary = dictionaries.make(architecture, shape)
    on_disk = sum(value.numel() * value.element_size() for value in dictionary.state_dict().values())
    config = dictionary.config
    del dictionary
    of_recording = recording.plan(model, [*sites, *targets], tokens=tokens)
    steps = of_recording.tokens * epochs // batch_size
    few = -(-(k + 64) // len(sites)) * len(sites)  # a multiple, for those that have some features a layer
    dead_after = min(10_000_000, steps * batch_size // 20)
    options: dict[str, Any] = {"itself": not targets, "dead_after": dead_after, "device": model.device}
    _probe(dictionaries.make(architecture, {**shape, "n_features": few}).config, batch_size, **options)  # compiles
    found = _probe(config, batch_size, **options)
    memory, free = found.memory, free_memory(model.device)
    if model.device.type == "cpu":
        # beside the dictionary, two spaces that rows are read into
        d = config.d_in + (config.d_out if targets else 0)
        memory += 2 * 2 * d * min(BUFFER, BUFFER_BYTES // (2 * d), of_recording.tokens)
    of_both = memory if model.device.type == "cuda" else max(memory, of_recording.memory_bytes)
    return Plan(
        recording=of_recording,
        epochs=epochs,
        train_tokens_per_s=batch_size / found.step,
        train_seconds=found.around + steps * found.step,
        train_memory_bytes=memory,
        dictionary_bytes=on_disk,
        free_memory_bytes=free,
        fits=of_both < free,
    )


class _Noise:
    """A source of rows that cost nothing, for a few steps."""

    origin: dict[str, Any] = {}
    inputs: dict[str, str] = {}

    def __init__(self, d_in: int, d_out: int, batch_size: int, *, itself: bool) -> None:
        self.d_in, self.d_out, self.itself = d_in, d_out, itself
        self.batch_size = batch_size
        self.seconds: list[list[float]] = []
        """For each reading the seconds between one batch and the next."""

    @property
    def train(self) -> "_Noise":
        return self

    @property
    def frame(self) -> Frame:
        sides = (self.d_in, self.d_out)
        return Frame(*(part(d) for d in sides for part in (torch.zeros, torch.ones)))

    @property
    def n_tokens(self) -> int:
        return PROBE_STEPS * self.batch_size

    def n_batches(self, size: int, *, epochs: int = 1) -> int:
        return PROBE_STEPS * epochs

    def batches(self, size: int, *, seed: int, epochs: int = 1, start: int = 0) -> Iterator[Batch]:
        generator = torch.Generator().manual_seed(seed)
        seconds: list[float] = []
        self.seconds.append(seconds)
        while True:  # as many as start asks for; training takes n_batches
            x = torch.randn(size, self.d_in, generator=generator).bfloat16()
            y = x if self.itself else torch.randn(size, self.d_out, generator=generator).bfloat16()
            began = time.perf_counter()
            yield Batch(x, y)
            seconds.append(time.perf_counter() - began)


class _Probed(NamedTuple):
    step: float
    """Seconds a step."""
    around: float
    """Seconds for what comes before the steps and after them."""
    memory: int
    """Bytes by which the process grew at most, on a card there."""


def _probe(config: Shape, batch_size: int, *, itself: bool, dead_after: int, device: torch.device) -> _Probed:
    """Train for a few steps."""
    release_buffers()
    gc.collect()
    source, before = _Noise(config.d_in, config.d_out, batch_size, itself=itself), used_memory(device)
    forget_peak_memory(device)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
        options = {"epochs": 1, "batch_size": batch_size, "dead_after": dead_after, "device": device}
        train(source, [config], [f"{folder}/probe"], **options)
    took = time.perf_counter() - began
    peak = peak_memory(device)
    release_buffers()
    _, between, *_ = source.seconds  # starting read before, finishing after
    # a step in which the machine was busy with something else is no measure of the others
    usual = statistics.median(between[SETTLED:])
    step = statistics.mean(min(seconds, 2 * usual) for seconds in between[SETTLED:])
    return _Probed(step, max(0.0, took - sum(between) - step), peak - before)
