"""plan(): what recording and training will take in memory, disk and time, before either starts.

Rates and memory are measured on this machine, on a few steps of the real thing; what is on disk is counted.
"""

import contextlib
import gc
import io
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

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


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a recording and a training run on it will take."""

    recording: recording.Plan
    train_tokens_per_s: float
    train_seconds: float
    train_memory_bytes: int
    """By how much the process grows: weights, moments, codes, batches, what starting and saving copy."""
    dictionary_bytes: int
    """On disk, once trained."""
    free_memory_bytes: int
    fits: bool
    """Whether the larger of the two peaks fits into the memory that is free now."""


def plan(
    model: Model,
    site: Site,
    *,
    tokens: int = 2_000_000,
    architecture: str = "topk",
    n_features: int | None = None,
    k: int = 32,
    epochs: int = 3,
    batch_size: int = 2048,
) -> Plan:
    """Estimate recording ``tokens`` positions and training a dictionary of ``n_features`` (8 times the site's width
    unless given) on them. Raises BadInput for a site the model does not have, an unknown architecture, or k >=
    n_features."""
    of_recording = recording.plan(model, site, tokens=tokens)
    d = model.width(site)
    shape = {"d_in": d, "d_out": d, "n_features": n_features or 8 * d, "k": k}
    dictionary = dictionaries.make(architecture, shape)
    on_disk = sum(value.numel() * value.element_size() for value in dictionary.state_dict().values())
    config = dictionary.config
    del dictionary
    small = dictionaries.make(architecture, {**shape, "n_features": k + 64}).config
    _probe(small, batch_size)  # compiles the kernels
    seconds, memory = _probe(config, batch_size)
    # beside the dictionary, two spaces that rows are read into
    memory += 2 * 2 * d * min(BUFFER, BUFFER_BYTES // (2 * d), of_recording.tokens)
    free = free_memory(torch.device("cpu"))
    return Plan(
        recording=of_recording,
        train_tokens_per_s=batch_size / seconds,
        train_seconds=of_recording.tokens * epochs // batch_size * seconds,
        train_memory_bytes=memory,
        dictionary_bytes=on_disk,
        free_memory_bytes=free,
        fits=max(memory, of_recording.memory_bytes) < free,
    )


class _Noise:
    """A source of rows that cost nothing, for a few steps."""

    origin: dict[str, Any] = {}
    inputs: dict[str, str] = {}

    def __init__(self, d: int, batch_size: int) -> None:
        self.d_in = self.d_out = d
        self.batch_size = batch_size
        self.seconds: list[float] = []

    @property
    def train(self) -> "_Noise":
        return self

    @property
    def frame(self) -> Frame:
        return Frame(*(part(self.d_in) for part in (torch.zeros, torch.ones, torch.zeros, torch.ones)))

    @property
    def n_tokens(self) -> int:
        return PROBE_STEPS * self.batch_size

    def n_batches(self, size: int, *, epochs: int = 1) -> int:
        return PROBE_STEPS * epochs

    def batches(self, size: int, *, seed: int, epochs: int = 1, start: int = 0) -> Iterator[Batch]:
        generator = torch.Generator().manual_seed(seed)
        while True:  # as many as start asks for; training takes n_batches
            x = torch.randn(size, self.d_in, generator=generator).bfloat16()
            began = time.perf_counter()
            yield Batch(x, x)
            self.seconds.append(time.perf_counter() - began)


def _probe(config: Shape, batch_size: int) -> tuple[float, int]:
    """Train for a few steps: (seconds a step, bytes by which the process grew at most)."""
    release_buffers()
    gc.collect()
    source, before = _Noise(config.d_in, batch_size), used_memory()
    forget_peak_memory()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
        train(source, [config], [f"{folder}/probe"], epochs=1, batch_size=batch_size)
    peak = peak_memory()
    release_buffers()
    # starting and finishing read batches too; those between which a step was taken are the longest
    return sorted(source.seconds)[-PROBE_STEPS], peak - before
