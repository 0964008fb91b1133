"""recorder: record, from text and a model to folders of activations, one for each site, shard by shard, by one process
or several.

1. The corpus is tokenized, parted and written first (tokens.npy, documents.npy, text.json); a pilot batch decides the
   hygiene; layout.json fixes both that and which contexts each shard holds.
2. One forward pass reads every site. A position that hygiene drops at one site is dropped at all, and the rows of all
   sites are shuffled alike: row i of a shard is the same position in every folder.
3. A shard is a function of its contexts alone: the same batches, row order and sums whoever makes it. What is missing
   is made. A thread shuffles, sums, hashes and writes one span's shards while the model computes the next.
4. Mean, scale and counts are merged from the sidecars in the shards' order, and the manifests come last.
So a recording can be killed at any moment: run it again and the folders end up the same, byte for byte.
"""

import shutil
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from physalis.activations import DOCUMENTS, KIND, LAYOUT, TOKENS, Activations, Hygiene, Span, lay_out, seal
from physalis.artifact import MANIFEST, Manifest, claim, write_atomic
from physalis.corpora import Trail
from physalis.corpora.corpus import DEFAULT, Corpus
from physalis.errors import BadInput
from physalis.models import Model
from physalis.recording.contexts import (
    TEXT,
    check_text,
    difference,
    opened,
    read_text,
    told,
    write_text,
    written,
)
from physalis.recording.forward import pilot
from physalis.recording.jobs import hygienes_to_dict, read_layout, shard_jobs, write_layout
from physalis.recording.options import Reading, ReadingOptions, check_sizes
from physalis.runtime.jobs import run
from physalis.runtime.processes import in_processes
from physalis.site import Site

CHEAP = (TEXT, TOKENS, DOCUMENTS, LAYOUT)
"""What a folder without a shard may hold besides: another job takes it over."""


def record(
    model: Model,
    source: str,
    sites: Sequence[Site],
    outs: Sequence[Path | str],
    reading: Reading = Reading(),  # noqa: B008 (frozen)
    *,
    workers: int = 1,
    **options: Unpack[ReadingOptions],
) -> list[Activations]:
    """Record what ``model`` computes at each of ``sites`` on text into the folder beside it in ``outs``, all in one
    forward pass; folders that are finished are only opened.

    Sites recorded together hold the same positions in the same order, so that ``Pairs`` can join them: a position that
    hygiene leaves out at one site is left out at all. Memory grows with the number of sites: lower ``shard_rows``.
    Options are keywords, as in ``tokens=300_000``, or one ``Reading``: what the manifest says.
    ``source`` and ``field`` are as for ``documents``. ``tokens`` counts positions, BOS included; text that holds fewer
    is used whole. About a share of ``held_out`` is kept apart for judging: documents drawn at random from all over the
    text, in contexts of their own, which come last. ``batch`` contexts go through the model at once. ``seed`` decides
    which documents are drawn, and the order of rows inside a shard of up to ``shard_rows``. Several ``workers`` load
    the model anew, by name, each with its share of the processor; the result is the same, byte for byte (on one kind of
    machine). A script that asks for several needs ``if __name__ == "__main__":``.
    Raises BadInput for a site that the model does not have, lists that do not match, contexts longer than the model
    reads, text that is not there, too short or another than the folder's, activations that are no numbers, a folder
    that holds something else or is being written by another process, or a full disk.
    """
    reading, folders = replace(reading, **options), [Path(out) for out in outs]
    _check_lists(sites, folders)
    for site in sites:
        model.width(site)  # which every row has to have
    check_sizes(workers=workers)
    check_text(model, reading)
    corpus = model.corpus
    common: dict[str, Any] = {
        "model": model.name, "dtype": str(model.dtype).removeprefix("torch."), "text": corpus.named(source),
        **asdict(reading),
    }  # fmt: skip
    seed = common.pop("seed")  # has a place of its own
    if len(sites) > 1:
        common["sites"] = sorted(map(str, sites))
    if corpus.name != DEFAULT:
        common["corpus"] = corpus.name
    inputs = {"model": model.fingerprint, "tokenizer": model.tokenizer_fingerprint}
    trail = Trail()
    # What cannot be read claims no folder.
    there = all((folder / TEXT).exists() for folder in folders)
    texts = None if there else opened(corpus, source, reading.field, trail)

    def write(folder: Path) -> None:
        found = texts or opened(corpus, source, reading.field, trail)
        write_text(folder, read_text(model, found, reading, spool=folder), trail)

    with ExitStack() as stack:
        jobs = [{**common, "site": str(site)} for site in sites]
        finished = [
            stack.enter_context(claim(folder, KIND, {**job, "seed": seed, "inputs": inputs}, cheap=CHEAP))
            for folder, job in zip(folders, jobs, strict=True)
        ]
        n_held_out = _write_texts(folders, corpus, source, write)
        hygienes, spans = _laid_out(model, sites, folders, reading, held_out=n_held_out)
        shards = shard_jobs(model, hygienes, folders, spans, batch=reading.batch, seed=seed)
        title = f"Recording {sites[0]}" if len(sites) == 1 else f"Recording {len(sites)} sites"
        made = run(shards, title, "tokens", partial(in_processes, workers=workers))
        if all(finished) and not made:
            return [Activations.open(folder) for folder in folders]
        rules = {"hygienes": hygienes_to_dict(hygienes)} if len(sites) > 1 else {}
        for site, folder, job in zip(sites, folders, jobs, strict=True):
            config = {**job, **rules, "hygiene": hygienes[site].to_dict()}
            _say_broken(site, seal(folder, Manifest(kind=KIND, config=config, seed=seed, inputs=inputs), spans))
    return [Activations.open(folder) for folder in folders]


def _check_lists(sites: Sequence[Site], folders: Sequence[Path]) -> None:
    if not sites or len(sites) != len(folders):
        raise BadInput(f"Each site needs a folder of its own; received {len(sites)} sites and {len(folders)} folders.")
    for what, found in (("site", sites), ("folder", [folder.absolute() for folder in folders])):
        twice = next((each for i, each in enumerate(found) if each in found[:i]), None)
        if twice is not None:
            raise BadInput(f"The {what} {twice} was given twice. Name each site once, each with its own folder.")


def _write_texts(folders: Sequence[Path], corpus: Corpus, source: str, write: Callable[[Path], None]) -> int:
    """Have the text in each folder; returns how many of its contexts are held out."""
    for folder in folders:
        found = told(folder)
        other = None if found is None else difference(corpus, source, found)
        if other is not None:
            if (folder / MANIFEST).exists() or any(folder.glob("shard-*.json")):
                raise BadInput(
                    f"{folder} holds a recording of another text: {other}. Choose another --out, or delete the folder."
                )
            for name in (TEXT, LAYOUT):
                (folder / name).unlink(missing_ok=True)
        elif found is None:
            _forget_shards(folder)
    # What one of the folders already holds is copied: the source may be slow, or a hub that has since changed.
    said = {folder: written(folder) for folder in folders}
    whole = next((folder for folder, found in said.items() if found), None)
    if whole is None:
        whole = folders[0]
        write(whole)
        said[whole] = written(whole)
    for folder in folders:
        if not said[folder]:
            for name in (TOKENS, DOCUMENTS, TEXT):
                write_atomic(folder / name, lambda temporary, name=name: shutil.copyfile(whole / name, temporary))
    found = said[whole]
    assert found is not None
    return found["n_held_out"]


def _forget_shards(folder: Path) -> None:
    """Where nobody can tell any more which text they were made of, shards are made anew."""
    sidecars = sorted(folder.glob("shard-*.json"))
    if sidecars:
        print(f"{folder / TEXT} is missing or damaged: its shards are recorded anew.", file=sys.stderr)
    for each in sidecars:
        each.unlink()


def _laid_out(
    model: Model, sites: Sequence[Site], folders: Sequence[Path], reading: Reading, *, held_out: int
) -> tuple[dict[Site, Hygiene], list[Span]]:
    ids = np.load(folders[0] / TOKENS, mmap_mode="r")
    fixed = next(filter(None, (read_layout(folder, sites, len(ids)) for folder in folders)), None)
    if fixed is None:
        spans = lay_out(len(ids), held_out=held_out, contexts_per_shard=reading.contexts_per_shard)
        fixed = pilot(model, sites, ids, bos=reading.bos), spans
    hygienes, spans = fixed
    for site, folder in zip(sites, folders, strict=True):
        if read_layout(folder, sites, len(ids)) is None:
            write_layout(folder, site, hygienes, spans)
    return hygienes, spans


def _say_broken(site: Site, sealed: Manifest) -> None:
    if broken := sealed.facts["dropped"]["not_finite"]:
        print(
            f"{broken:,} positions were left out because their activations at {site} are not finite numbers.",
            file=sys.stderr,
        )
