"""planning: what a recording will take, before it starts: disk, memory and time."""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from physalis.activations import Span
from physalis.models import Model
from physalis.recording.forward import collect, pilot
from physalis.recording.options import Reading, n_contexts
from physalis.runtime.device import forget_peak_memory, peak_memory
from physalis.site import Site

PASSES = 4
"""Forward passes that are timed, after one that pays for allocations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What ``record`` will take."""

    tokens: int
    """Positions that go through the model."""
    tokens_per_s: float
    """Measured on this machine just now."""
    seconds: float
    disk_bytes: int
    """At most, all sites together: hygiene leaves some positions out."""
    memory_bytes: int
    """Peak of this process, the model included."""


def plan(
    model: Model,
    sites: Site | Sequence[Site],
    *,
    tokens: int = Reading.tokens,
    context: int = Reading.context,
    batch: int = Reading.batch,
    shard_rows: int = Reading.shard_rows,
) -> Plan:
    """Estimate a recording of ``sites`` from a few forward passes over random tokens, and the sizes of what it holds
    and writes.

    Raises BadInput for a site that the model does not have.
    """
    every = [sites] if isinstance(sites, Site) else list(sites)
    for site in every:
        model.width(site)  # which every row has to have
    Reading(tokens=tokens, context=context, batch=batch, shard_rows=shard_rows)  # refuses what is none
    tokens = n_contexts(tokens, context) * context
    batch = min(batch, tokens // context)
    ids = np.random.default_rng(0).integers(model.vocab_size, size=(batch, context), dtype=np.int32)
    forget_peak_memory()
    hygienes = pilot(model, every, ids, bos=model.bos_id is not None)
    span = Span(number=0, held_out=False, start=0, stop=batch)
    seconds = []
    for _ in range(1 + PASSES):
        started = time.perf_counter()
        collect(model, hygienes, ids, span, batch=batch, advance=lambda *_: None)
        seconds.append(time.perf_counter() - started)
    rate = batch * context / statistics.median(seconds[1:])
    row = sum(2 * model.width(site) + 8 for site in every)
    rows = min(shard_rows, tokens)
    return Plan(
        tokens=tokens,
        tokens_per_s=rate,
        seconds=tokens / rate,
        disk_bytes=tokens * (row + 8 * len(every)),
        # a shard is collected while the one before it is shuffled
        memory_bytes=peak_memory() + 3 * rows * row,
    )
