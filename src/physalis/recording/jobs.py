"""jobs: the shards of a recording as jobs that anyone can do, in any order, again and again."""

import json
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np

from physalis.activations import LAYOUT, TOKENS, Hygiene, Span, permuted, write_shard
from physalis.artifact import write_json
from physalis.models import Model
from physalis.progress import Advance
from physalis.recording.forward import Collected, collect
from physalis.site import Site


def write_layout(folder: Path, site: Site, hygienes: dict[Site, Hygiene], spans: Sequence[Span]) -> None:
    """Fix in layout.json which contexts each shard holds and the rules by which positions are left out: that of
    ``site``, and where it is recorded beside others those of all."""
    said = {"hygiene": hygienes[site].to_dict(), "spans": [span.to_dict() for span in spans]}
    if len(hygienes) > 1:
        said["hygienes"] = hygienes_to_dict(hygienes)
    write_json(folder / LAYOUT, said)


def read_layout(folder: Path, sites: Sequence[Site]) -> tuple[dict[Site, Hygiene], list[Span]] | None:
    """The rule of each of ``sites``, those recorded together, and the spans that layout.json fixes; None if it is not
    there, or damaged."""
    try:
        said = json.loads((folder / LAYOUT).read_text())
        rules = said.get("hygienes") or {str(site): said["hygiene"] for site in sites}
        return {site: Hygiene.from_dict(rules[str(site)]) for site in sites}, [Span(**span) for span in said["spans"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def hygienes_to_dict(hygienes: dict[Site, Hygiene]) -> dict[str, dict]:
    """The rules of several sites as they are stored."""
    return {str(site): hygiene.to_dict() for site, hygiene in hygienes.items()}


def is_whole(folder: Path, span: Span) -> bool:
    """Whether a shard is done: its sidecar is there and readable, and the file has the size that it says."""
    path, sidecar = folder / span.name, folder / span.sidecar
    try:
        return path.exists() and json.loads(sidecar.read_text())["bytes"] == path.stat().st_size
    except (OSError, ValueError, KeyError, TypeError):
        return False


def record_spans(
    model: Model, sites: Sequence[Site], folders: Sequence[Path], spans: Sequence[Span], *,
    batch: int, seed: int, advance: Advance,
) -> None:  # fmt: skip
    """Make the shards of ``spans`` one after another, in each site's folder that lacks them. The folders' corpus and
    layout are written."""
    ids = np.load(folders[0] / TOKENS, mmap_mode="r")
    layout = read_layout(folders[0], sites)
    assert layout is not None, "the recorder writes it first"
    hygienes, _ = layout
    with ThreadPoolExecutor(1, thread_name_prefix="writer") as writer:
        pending: Future | None = None
        for span in spans:
            found = collect(model, hygienes, ids, span, batch=batch, advance=advance)
            if pending is not None:
                pending.result()  # one span in flight bounds the memory, and a full disk is noticed soon
            pending = writer.submit(_write, folders, span, found, seed)
        if pending is not None:
            pending.result()


def _write(folders: Sequence[Path], span: Span, found: list[Collected], seed: int) -> None:
    # numpy throughout: torch here would start threads that fight those of the forward pass.
    for folder, one in zip(folders, found, strict=True):
        if not is_whole(folder, span):
            shuffled = permuted(one.shard.x, one.shard.at, seed=seed, number=span.number)
            write_shard(folder / span.name, folder / span.sidecar, shuffled, dropped=one.dropped)
