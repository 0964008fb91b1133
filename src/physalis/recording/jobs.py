"""jobs: the shards of a recording as jobs that anyone can do, in any order, again and again."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np

from physalis.activations import (
    LAYOUT,
    TOKENS,
    Hygiene,
    Shard,
    Span,
    check_spans,
    permuted,
    read_sidecar,
    write_shard,
)
from physalis.artifact import read_json, write_json
from physalis.artifact.kinds import Layout
from physalis.errors import BadInput
from physalis.models import Model
from physalis.recording.forward import Collected, collect
from physalis.runtime.progress import Advance
from physalis.site import Site


def write_layout(folder: Path, site: Site, hygienes: dict[Site, Hygiene], spans: Sequence[Span]) -> None:
    """Fix in layout.json which contexts each shard holds and the rules by which positions are left out: that of
    ``site``, and where it is recorded beside others those of all."""
    said = {"hygiene": hygienes[site].to_dict(), "spans": [span.to_dict() for span in spans]}
    if len(hygienes) > 1:
        said["hygienes"] = hygienes_to_dict(hygienes)
    write_json(folder / LAYOUT, said)


def read_layout(folder: Path, sites: Sequence[Site], contexts: int) -> tuple[dict[Site, Hygiene], list[Span]] | None:
    """The rule of each of ``sites``, those recorded together, and the spans of all ``contexts`` that layout.json fixes;
    None if it is not there, or damaged."""
    try:
        said = read_json(folder / LAYOUT)
        Layout.model_validate(said)
        rules = said.get("hygienes") or {str(site): said["hygiene"] for site in sites}
        spans = [Span(**span) for span in said["spans"]]
        check_spans(spans, contexts)
        return {site: Hygiene.from_dict(rules[str(site)]) for site in sites}, spans
    except (ValueError, KeyError):
        return None


def hygienes_to_dict(hygienes: dict[Site, Hygiene]) -> dict[str, dict]:
    """The rules of several sites as they are stored."""
    return {str(site): hygiene.to_dict() for site, hygiene in hygienes.items()}


def is_whole(folder: Path, span: Span) -> bool:
    """Whether a shard is done: its sidecar is there and readable, and the file has the size and the header that it
    says."""
    try:
        said = read_sidecar(folder, span)
        shard = Shard.open(folder / span.name, size=said["bytes"])
    except BadInput:
        return False
    return (shard.rows, shard.d) == (said["rows"], len(said["sum"])) and len(said["sum"]) == len(said["sum_squares"])


def record_spans(
    model: Model, sites: Sequence[Site], folders: Sequence[Path], spans: Sequence[Span], *,
    batch: int, seed: int, advance: Advance,
) -> None:  # fmt: skip
    """Make the shards of ``spans`` one after another, in each site's folder that lacks them. The folders' corpus and
    layout are written."""
    ids = np.load(folders[0] / TOKENS, mmap_mode="r")
    layout = read_layout(folders[0], sites, len(ids))
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
