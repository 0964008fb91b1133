"""planning: what a recording will take, before it starts: disk, memory and time."""

import resource
import sys
import time
from dataclasses import dataclass

import numpy as np

from physalis.models import Model
from physalis.recording.forward import run
from physalis.recording.text import check_sizes, n_contexts
from physalis.site import Site


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What ``record`` will take."""

    tokens: int
    """Positions that go through the model."""
    tokens_per_s: float
    """Measured on this machine just now."""
    seconds: float
    disk_bytes: int
    """At most: hygiene leaves some positions out."""
    memory_bytes: int
    """Peak of this process, the model included."""


def plan(
    model: Model, site: Site, *, tokens: int = 2_000_000, context: int = 128, batch: int = 32, shard_rows: int = 65_536
) -> Plan:
    """Estimate a recording from two forward passes over random tokens, and the sizes of what it holds and writes.

    Raises BadInput for a site that the model does not have.
    """
    model.check(site)
    check_sizes(batch=batch, shard_rows=shard_rows)
    tokens = n_contexts(tokens, context) * context
    batch = min(batch, tokens // context)
    ids = np.random.default_rng(0).integers(model.vocab_size, size=(batch, context), dtype=np.int32)
    seconds = []
    for _ in range(2):  # the first one pays for allocations
        started = time.perf_counter()
        run(model, [site], ids)[site].sum().item()  # .item() waits for the device
        seconds.append(time.perf_counter() - started)
    rate = batch * context / seconds[-1]
    row = 2 * model.width(site) + 8
    # ru_maxrss is in kilobytes, but in bytes on macOS.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return Plan(
        tokens=tokens,
        tokens_per_s=rate,
        seconds=tokens / rate,
        disk_bytes=tokens * (row + 8),
        memory_bytes=peak + 3 * min(shard_rows, tokens) * row,
    )
