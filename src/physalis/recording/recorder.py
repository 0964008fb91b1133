"""recorder: record, from text and a model to a folder of activations, shard by shard, by one process or several.

1. The corpus is packed and written first (tokens.npy, documents.npy); a pilot batch decides the hygiene; layout.json
   fixes both that and which contexts each shard holds.
2. A shard is a function of its contexts alone: the same batches, row order and sums whoever makes it. What is missing
   is made. A thread shuffles, sums, hashes and writes one shard while the model computes the next.
3. Mean, scale and counts are merged from the sidecars in the shards' order, and the manifest comes last.
So a recording can be killed at any moment: run it again and the folder ends up the same, byte for byte.
"""

from pathlib import Path
from typing import Any

import numpy as np

from physalis.activations import DOCUMENTS, KIND, LAYOUT, TOKENS, Activations, lay_out, seal
from physalis.artifact import Manifest, claim, write_json
from physalis.models import Model
from physalis.progress import progress
from physalis.recording.forward import pilot
from physalis.recording.jobs import is_whole, read_layout, record_spans
from physalis.recording.text import blocks, check_sizes, identity, write_text
from physalis.recording.workers import run_workers
from physalis.site import Site


def record(
    model: Model,
    source: str,
    site: Site,
    out: Path | str,
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
) -> Activations:
    """Record what ``model`` computes at ``site`` on text into the folder ``out``; a folder that is finished is only
    opened.

    ``source`` and ``field`` are as for ``documents``. ``tokens`` counts positions, BOS included; text that holds fewer
    is used whole. The last ``held_out`` of the contexts is kept apart for judging. ``batch`` contexts go through the
    model at once. ``seed`` decides the order of rows inside a shard of up to ``shard_rows``. Several ``workers`` load
    the model anew, by name, each with its share of the processor; the result is the same, byte for byte (on one kind of
    machine). A script that asks for several needs ``if __name__ == "__main__":``.
    Raises BadInput for a site that the model does not have, text that is too short, a folder that holds something else
    or is being written by another process, or a full disk.
    """
    out = Path(out)
    model.check(site)
    check_sizes(batch=batch, workers=workers, shard_rows=shard_rows)
    job: dict[str, Any] = {
        "model": model.name, "dtype": str(model.dtype).removeprefix("torch."), "site": str(site),
        "text": identity(source), "field": field, "tokens": tokens, "context": context, "bos": bos,
        "held_out": held_out, "batch": batch, "shard_rows": shard_rows,
    }  # fmt: skip
    inputs = {"model": model.fingerprint, "tokenizer": model.tokenizer_fingerprint}
    with claim(out, KIND, {**job, "seed": seed, "inputs": inputs}) as finished:
        if not (out / DOCUMENTS).exists():
            packed = blocks(model, source, tokens=tokens, context=context, bos=bos, field=field)
            write_text(out, TOKENS, DOCUMENTS, packed, context)
        ids = np.load(out / TOKENS, mmap_mode="r")
        if not (out / LAYOUT).exists():
            owners = np.load(out / DOCUMENTS, mmap_mode="r")
            spans = lay_out(owners, held_out=held_out, contexts_per_shard=max(1, shard_rows // context))
            hygiene = pilot(model, site, ids, bos=bos)
            write_json(out / LAYOUT, {"hygiene": hygiene.to_dict(), "spans": [span.to_dict() for span in spans]})
        hygiene, spans = read_layout(out)
        missing = [span for span in spans if not is_whole(out, span)]
        if finished is not None and not missing:
            return Activations.open(out)
        total = sum(span.stop - span.start for span in spans) * context
        left = sum(span.stop - span.start for span in missing) * context
        with progress(f"Recording {site}", total, "tokens", done=total - left) as advance:
            if workers == 1 or len(missing) <= 1:
                record_spans(model, site, out, missing, batch=batch, seed=seed, advance=advance)
            else:
                for span in run_workers(model, site, out, missing, batch=batch, seed=seed, workers=workers):
                    advance((span.stop - span.start) * context)
        manifest = Manifest(kind=KIND, config={**job, "hygiene": hygiene.to_dict()}, seed=seed, inputs=inputs)
        seal(out, manifest, spans)
    return Activations.open(out)
