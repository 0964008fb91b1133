"""meaning: Meanings, features found by what their words mean, on this machine and without a key.

What is said of each feature (its headline, its labels) becomes a vector once, by an Embedder; a query becomes another,
and the nearest features by cosine are the answer. Vectors are kept in one .npy file, each row under the hash of the
embedder and of the text it came from: a label that changes costs one vector, and vectors of another embedder are never
taken for its own.
"""

import hashlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float16, Float32, Int64

from physalis import artifact
from physalis.errors import BadInput
from physalis.runtime.progress import progress
from physalis.search.records import Found, Meant

KEPT_EVERY = 4096
"""Texts after which what is done is written: a stopped run goes on from there."""

HASH = 16
"""Bytes of a row's hash."""


@runtime_checkable
class Embedder(Protocol):
    """Turns texts into vectors whose cosine says how alike their meanings are. ``MiniLM`` is one."""

    @property
    def name(self) -> str:
        """Which weights these are: vectors under another name are never mixed with its own."""
        ...

    def embed(self, texts: Sequence[str]) -> Float32[np.ndarray, "texts d"]:
        """A vector for each text; its length does not matter."""
        ...


class Meanings:
    """What is said of some features, as vectors."""

    def __init__(
        self, ids: Int64[np.ndarray, " entries"], texts: Sequence[str], vectors: Float32[np.ndarray, "entries d"],
        embedder: Embedder,
    ) -> None:  # fmt: skip
        """Use ``Meanings.open``. ``ids[i]`` is the feature that ``texts[i]`` is said of; vectors have length 1."""
        self.ids = ids
        self.texts = texts
        self.vectors = vectors
        self.embedder = embedder

    @classmethod
    def open(cls, cache: Path | str, said: Mapping[int, Sequence[str]], embedder: Embedder) -> "Meanings":
        """The meanings of what is ``said`` of each feature, with the vectors kept in the file ``cache``; those that it
        lacks are made and added.

        A file that cannot be written, as on a read-only disk, is done without, and said so. Raises BadInput if nothing
        is said of any feature, or whatever the embedder raises.
        """
        ids, texts = [], []
        for id, each in said.items():
            for text in dict.fromkeys(each):
                ids.append(id)
                texts.append(text)
        if not texts:
            raise BadInput("No feature has a headline or a label, so there is nothing to search by meaning.")
        known = _complete(Path(cache), texts, embedder)
        vectors = np.stack([known[key] for key in _keys(texts, embedder)]).astype(np.float32)
        return cls(np.array(ids, np.int64), texts, vectors, embedder)

    def __len__(self) -> int:
        return len(self.texts)

    def search(self, query: str, *, top: int = 50) -> Found:
        """The ``top`` features nearest to a query; a feature counts by the nearest of its texts.

        ``typical`` is the median over all features: what means nothing has about that. Raises BadInput for an empty
        query.
        """
        if not query.strip():
            raise BadInput("The query is empty. Write a few words, such as: names of cities.")
        cosines = self.vectors @ _unit(self.embedder.embed([query]))[0]
        order = np.lexsort((np.arange(len(cosines)), -cosines, self.ids))  # by feature, its nearest text first
        features, first = np.unique(self.ids[order], return_index=True)
        best = order[first]
        nearest = np.lexsort((features, -cosines[best]))[:top]
        return Found(
            typical=float(np.median(cosines[best])),
            features=[
                Meant(id=int(features[j]), cosine=float(cosines[best[j]]), text=self.texts[int(best[j])])
                for j in nearest
            ],
        )


def _complete(cache: Path, texts: Sequence[str], embedder: Embedder) -> dict[bytes, Float16[np.ndarray, " d"]]:
    """Vectors by key: those of the file, and those of ``texts`` that it lacks, which are added to it."""
    known = _read(cache)
    missing = {key: text for key, text in zip(_keys(texts, embedder), texts, strict=True) if key not in known}
    if not missing:
        return known
    writable = True
    keys, left = list(missing), list(missing.values())
    with progress("embed", len(left), "texts") as advance:
        for start in range(0, len(left), KEPT_EVERY):
            vectors = _unit(embedder.embed(left[start : start + KEPT_EVERY])).astype(np.float16)
            known = {key: vector for key, vector in known.items() if len(vector) == vectors.shape[1]}
            known |= dict(zip(keys[start : start + KEPT_EVERY], vectors, strict=True))
            writable = writable and _write(cache, known)
            advance(len(vectors))
    return known


def _keys(texts: Sequence[str], embedder: Embedder) -> list[bytes]:
    start = hashlib.sha256(embedder.name.encode() + b"\0")
    keys = []
    for text in texts:
        each = start.copy()
        each.update(text.encode("utf-8", "surrogatepass"))
        keys.append(each.digest()[:HASH])
    return keys


def _read(cache: Path) -> dict[bytes, Float16[np.ndarray, " d"]]:
    if not cache.exists():
        return {}
    try:
        rows = np.load(cache, allow_pickle=False)
        return dict(zip((key.tobytes() for key in rows["key"]), rows["vector"], strict=True))
    except (ValueError, EOFError, OSError, IndexError, TypeError) as error:
        print(f"{cache} cannot be read ({error}); what it held is made again.", file=sys.stderr)
        return {}


def _write(cache: Path, known: Mapping[bytes, Float16[np.ndarray, " d"]]) -> bool:
    d = len(next(iter(known.values())))
    rows = np.empty(len(known), np.dtype([("key", "u1", (HASH,)), ("vector", "<f2", (d,))]))
    order = sorted(known)  # the same bytes whatever was added when
    rows["key"] = np.frombuffer(b"".join(order), np.uint8).reshape(-1, HASH)
    rows["vector"] = np.stack([known[key] for key in order])

    def save(path: Path) -> None:
        with open(path, "wb") as f:  # np.save would add its own ending to the temporary name
            np.save(f, rows, allow_pickle=False)

    try:
        with artifact.holding(cache.parent):  # two servers of one atlas may both be at it
            artifact.tidy(cache.parent, lambda name: name == cache.name)
            artifact.write_atomic(cache, save)
    except (OSError, BadInput) as error:  # no permission, a disk that is full or read-only: kept in memory alone
        print(f"{cache} cannot be written ({error}): vectors are made again next time.", file=sys.stderr)
        return False
    return True


def _unit(vectors: Float32[np.ndarray, "texts d"]) -> Float32[np.ndarray, "texts d"]:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12).astype(np.float32)
