"""plan(): what recording and training will take in memory, disk and time, before either starts.

Rates are measured on this machine, on a few steps of the real thing; sizes are counted.
"""

import time
from dataclasses import dataclass

import torch

from physalis import recording
from physalis.adam import Adam
from physalis.device import compute_dtype, free_memory
from physalis.dictionaries import TopK, TopKConfig
from physalis.dictionaries.base import Tick
from physalis.dictionaries.rows import release_buffers
from physalis.models import Model
from physalis.site import Site
from physalis.types import Batch

PROBE_STEPS = 3


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a recording and a training run on it will take."""

    recording: recording.Plan
    train_tokens_per_s: float
    train_seconds: float
    train_memory_bytes: int
    """Weights, their bfloat16 copy, gradients' buffers and Adam's moments, and one batch."""
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
    n_features: int | None = None,
    k: int = 32,
    epochs: int = 3,
    batch_size: int = 2048,
) -> Plan:
    """Estimate recording ``tokens`` positions and training a TopK dictionary of ``n_features`` (8 times the site's
    width unless given) on them. Raises BadInput for a site the model does not have, or k >= n_features."""
    of_recording = recording.plan(model, site, tokens=tokens)
    d = model.width(site)
    config = TopKConfig(d_in=d, d_out=d, n_features=n_features or 8 * d, k=k)
    seconds = _step_seconds(config, batch_size)
    steps = of_recording.tokens * epochs // batch_size
    half = 2 if compute_dtype(torch.device("cpu")) == torch.bfloat16 else 0
    weights = 2 * d * config.n_features
    memory = weights * (4 + 4 + 4) + d * config.n_features * half
    memory += batch_size * (config.n_features * (half or 4) + d * 4 * 6 + k * 4 * 8)
    memory += 2 * 65_536 * d * 2  # the mixing buffer, and the one being read ahead
    free = free_memory(torch.device("cpu"))
    return Plan(
        recording=of_recording,
        train_tokens_per_s=batch_size / seconds,
        train_seconds=steps * seconds,
        train_memory_bytes=memory,
        dictionary_bytes=weights * 4 + (config.n_features + 2 * d) * 4,
        free_memory_bytes=free,
        fits=max(memory, of_recording.memory_bytes) < free,
    )


def _step_seconds(config: TopKConfig, batch_size: int) -> float:
    dictionary = TopK(config)
    dictionary.compute_in(compute_dtype(torch.device("cpu")))
    x = torch.randn(batch_size, config.d_in, generator=torch.Generator().manual_seed(0))
    dictionary.start(Batch(x, x), seed=0)
    adam = Adam(dictionary.named_parameters())
    nobody = torch.zeros(config.n_features, dtype=torch.bool)
    times = []
    for step in range(PROBE_STEPS + 1):  # the first one compiles the kernels
        started = time.perf_counter()
        loss = dictionary.loss(Batch(x, x), Tick(step, 0.0, nobody))
        torch.stack(list(loss.terms.values())).sum().backward()
        adam.step(1e-4)
        times.append(time.perf_counter() - started)
    release_buffers()
    return min(times[1:])
