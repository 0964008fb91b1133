"""jobs: the shards of a recording as jobs that anyone can do, in any order, again and again."""

import json
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np

from physalis.activations import LAYOUT, TOKENS, Hygiene, MemoryShard, Span, permuted, write_shard
from physalis.models import Model
from physalis.progress import Advance
from physalis.recording.forward import collect
from physalis.site import Site


def read_layout(folder: Path) -> tuple[Hygiene, list[Span]]:
    """The hygiene and the spans that layout.json fixes."""
    said = json.loads((folder / LAYOUT).read_text())
    return Hygiene.from_dict(said["hygiene"]), [Span(**span) for span in said["spans"]]


def is_whole(folder: Path, span: Span) -> bool:
    """Whether a shard is done: its sidecar is there, and the file has the size that it says."""
    path, sidecar = folder / span.name, folder / span.sidecar
    return path.exists() and sidecar.exists() and json.loads(sidecar.read_text())["bytes"] == path.stat().st_size


def record_spans(
    model: Model, site: Site, folder: Path, spans: Sequence[Span], *, batch: int, seed: int, advance: Advance
) -> None:
    """Make the shards of ``spans`` one after another in a folder whose corpus and layout are written."""
    ids = np.load(folder / TOKENS, mmap_mode="r")
    hygiene, _ = read_layout(folder)
    with ThreadPoolExecutor(1, thread_name_prefix="writer") as writer:
        pending: Future | None = None
        for span in spans:
            shard, dropped = collect(model, site, ids, span, hygiene, batch=batch, advance=advance)
            if pending is not None:
                pending.result()  # one shard in flight bounds the memory, and a full disk is noticed soon
            pending = writer.submit(_write, folder, span, shard, dropped, seed)
        if pending is not None:
            pending.result()


def _write(folder: Path, span: Span, shard: MemoryShard, dropped: dict[str, int], seed: int) -> None:
    # numpy throughout: torch here would start threads that fight those of the forward pass.
    shuffled = permuted(shard.x, shard.at, seed=seed, number=span.number)
    write_shard(folder / span.name, folder / span.sidecar, shuffled, dropped=dropped)
