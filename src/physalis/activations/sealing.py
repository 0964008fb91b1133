"""sealing: the folder of a recording whose shards are all there, turned into a finished artefact."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int32
from safetensors.torch import save_file

from physalis.activations.hygiene import Hygiene
from physalis.activations.layout import Span
from physalis.activations.positions import DOCUMENTS, TOKENS, mapped
from physalis.activations.shards import Sums, merge_sums, moments, read_sidecar
from physalis.activations.store import LAYOUT, STATISTICS
from physalis.artifact import Manifest, finish, write_atomic


def seal(folder: Path, manifest: Manifest, spans: list[Span]) -> Manifest:
    """Turn a folder whose shards are all there into a finished artefact: merge the sidecars into mean, scale and
    counts.

    ``manifest.files`` holds the sidecars, and each of these the sha256 of its shard, so the manifest's hash covers
    every byte without reading them again. Raises BadInput for a sidecar or a text that is damaged.
    """
    said = [read_sidecar(folder, span) for span in spans]
    documents = mapped(folder / DOCUMENTS, (spans[-1].stop, manifest.config["context"]))
    parts = [
        (span, Sums(s["rows"], np.array(s["sum"]), np.array(s["sum_squares"])))
        for span, s in zip(spans, said, strict=True)
    ]
    summed = merge_sums([sums for span, sums in parts if not span.held_out])
    offset = Hygiene.from_dict(manifest.config["hygiene"]).offset(len(summed.total))
    mean, scale = moments(summed, None if offset is None else offset.numpy())
    write_atomic(folder / STATISTICS, lambda temporary: save_file({"mean": torch.from_numpy(mean)}, temporary))
    facts = {
        "scale": scale,
        "n_train": sum(sums.rows for span, sums in parts if not span.held_out),
        "n_held_out": sum(sums.rows for span, sums in parts if span.held_out),
        **_count_documents(documents, spans),
        "dropped": {reason: sum(s["dropped"][reason] for s in said) for reason in said[0]["dropped"]},
        "shards": [
            {"span": span.to_dict(), "rows": s["rows"], "bytes": s["bytes"], "at": s["at"]}
            for span, s in zip(spans, said, strict=True)
        ],
    }
    files = [DOCUMENTS, TOKENS, LAYOUT, STATISTICS, *(span.sidecar for span in spans)]
    return finish(folder, manifest.model_copy(update={"facts": facts}), files)


def _count_documents(documents: Int32[np.ndarray, "contexts context"], spans: list[Span]) -> dict[str, int]:
    train, held = (
        np.unique(np.concatenate([documents[s.start : s.stop].reshape(-1) for s in spans if s.held_out == out] or [[]]))
        for out in (False, True)
    )
    shared = np.intersect1d(train, held, assume_unique=True)
    return {
        "n_documents": len(train) + len(held) - len(shared), "n_held_out_documents": len(held),
        "n_shared_documents": len(shared),
    }  # fmt: skip
