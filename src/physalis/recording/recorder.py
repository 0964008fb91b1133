"""recorder: record, from text and a model to folders of activations, one for each site, shard by shard, by one process
or several.

1. The corpus is packed and written first (tokens.npy, documents.npy); a pilot batch decides the hygiene; layout.json
   fixes both that and which contexts each shard holds.
2. One forward pass reads every site. A position that hygiene drops at one site is dropped at all, and the rows of all
   sites are shuffled alike: row i of a shard is the same position in every folder.
3. A shard is a function of its contexts alone: the same batches, row order and sums whoever makes it. What is missing
   is made. A thread shuffles, sums, hashes and writes one span's shards while the model computes the next.
4. Mean, scale and counts are merged from the sidecars in the shards' order, and the manifests come last.
So a recording can be killed at any moment: run it again and the folders end up the same, byte for byte.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from physalis.activations import DOCUMENTS, KIND, LAYOUT, TOKENS, Activations, Hygiene, Span, lay_out, seal
from physalis.artifact import Manifest, claim, write_atomic
from physalis.errors import BadInput
from physalis.models import Model, Packed
from physalis.progress import progress
from physalis.recording.forward import pilot
from physalis.recording.jobs import hygienes_to_dict, is_whole, read_layout, record_spans, write_layout
from physalis.recording.text import blocks, check_sizes, identity, write_text
from physalis.recording.workers import run_workers
from physalis.site import Site


def record(
    model: Model,
    source: str,
    sites: Sequence[Site],
    outs: Sequence[Path | str],
    *,
    tokens: int = 2_000_000,
    context: int = 128,
    bos: bool = True,
    field: str | None = None,
    held_out: float = 0.1,
    seed: int = 0,
    batch: int = 32,
    shard_rows: int = 65_536,
    workers: int = 1,
) -> list[Activations]:
    """Record what ``model`` computes at each of ``sites`` on text into the folder beside it in ``outs``, all in one
    forward pass; folders that are finished are only opened.

    Sites recorded together hold the same positions in the same order, so that ``Pairs`` can join them: a position that
    hygiene leaves out at one site is left out at all. Memory grows with the number of sites: lower ``shard_rows``.
    ``source`` and ``field`` are as for ``documents``. ``tokens`` counts positions, BOS included; text that holds fewer
    is used whole. The last ``held_out`` of the contexts is kept apart for judging. ``batch`` contexts go through the
    model at once. ``seed`` decides the order of rows inside a shard of up to ``shard_rows``. Several ``workers`` load
    the model anew, by name, each with its share of the processor; the result is the same, byte for byte (on one kind of
    machine). A script that asks for several needs ``if __name__ == "__main__":``.
    Raises BadInput for a site that the model does not have, lists that do not match, text that is too short, a folder
    that holds something else or is being written by another process, or a full disk.
    """
    folders = [Path(out) for out in outs]
    _check_lists(sites, folders)
    for site in sites:
        model.check(site)
    check_sizes(batch=batch, workers=workers, shard_rows=shard_rows)
    common: dict[str, Any] = {
        "model": model.name, "dtype": str(model.dtype).removeprefix("torch."), "text": identity(source), "field": field,
        "tokens": tokens, "context": context, "bos": bos, "held_out": held_out, "batch": batch,
        "shard_rows": shard_rows,
    }  # fmt: skip
    if len(sites) > 1:
        common["sites"] = sorted(map(str, sites))
    inputs = {"model": model.fingerprint, "tokenizer": model.tokenizer_fingerprint}
    with ExitStack() as stack:
        jobs = [{**common, "site": str(site)} for site in sites]
        finished = [
            stack.enter_context(claim(folder, KIND, {**job, "seed": seed, "inputs": inputs}))
            for folder, job in zip(folders, jobs, strict=True)
        ]
        _write_texts(
            folders, lambda: blocks(model, source, tokens=tokens, context=context, bos=bos, field=field), context
        )
        hygienes, spans = _laid_out(model, sites, folders, bos=bos, held_out=held_out, shard_rows=shard_rows)
        missing = [span for span in spans if not all(is_whole(folder, span) for folder in folders)]
        if all(finished) and not missing:
            return [Activations.open(folder) for folder in folders]
        total = sum(span.stop - span.start for span in spans) * context
        left = sum(span.stop - span.start for span in missing) * context
        title = f"Recording {sites[0]}" if len(sites) == 1 else f"Recording {len(sites)} sites"
        with progress(title, total, "tokens", done=total - left) as advance:
            if workers == 1 or len(missing) <= 1:
                record_spans(model, sites, folders, missing, batch=batch, seed=seed, advance=advance)
            else:
                for span in run_workers(model, sites, folders, missing, batch=batch, seed=seed, workers=workers):
                    advance((span.stop - span.start) * context)
        rules = {"hygienes": hygienes_to_dict(hygienes)} if len(sites) > 1 else {}
        for site, folder, job in zip(sites, folders, jobs, strict=True):
            config = {**job, **rules, "hygiene": hygienes[site].to_dict()}
            seal(folder, Manifest(kind=KIND, config=config, seed=seed, inputs=inputs), spans)
    return [Activations.open(folder) for folder in folders]


def _check_lists(sites: Sequence[Site], folders: Sequence[Path]) -> None:
    if not sites or len(sites) != len(folders):
        raise BadInput(f"Each site needs a folder of its own; received {len(sites)} sites and {len(folders)} folders.")
    for what, found in (("site", sites), ("folder", [folder.absolute() for folder in folders])):
        twice = next((each for i, each in enumerate(found) if each in found[:i]), None)
        if twice is not None:
            raise BadInput(f"The {what} {twice} was given twice. Name each site once, each with its own folder.")


def _write_texts(folders: Sequence[Path], packed: Callable[[], Iterator[Packed]], context: int) -> None:
    # Text that one of the folders already holds is copied: the source may be slow, or a hub that has since changed.
    whole = next((folder for folder in folders if (folder / DOCUMENTS).exists()), None)
    if whole is None:
        whole = folders[0]
        write_text(whole, TOKENS, DOCUMENTS, packed(), context)
    for folder in folders:
        if not (folder / DOCUMENTS).exists():
            for name in (TOKENS, DOCUMENTS):
                write_atomic(folder / name, lambda temporary, name=name: shutil.copyfile(whole / name, temporary))


def _laid_out(
    model: Model, sites: Sequence[Site], folders: Sequence[Path], *, bos: bool, held_out: float, shard_rows: int
) -> tuple[dict[Site, Hygiene], list[Span]]:
    told = next((folder for folder in folders if (folder / LAYOUT).exists()), None)
    if told is not None:
        hygienes, spans = read_layout(told, sites)
    else:
        ids, owners = (np.load(folders[0] / name, mmap_mode="r") for name in (TOKENS, DOCUMENTS))
        spans = lay_out(owners, held_out=held_out, contexts_per_shard=max(1, shard_rows // ids.shape[1]))
        hygienes = pilot(model, sites, ids, bos=bos)
    for site, folder in zip(sites, folders, strict=True):
        if not (folder / LAYOUT).exists():
            write_layout(folder, site, hygienes, spans)
    return hygienes, spans
