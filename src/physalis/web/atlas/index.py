"""Index: what is said of an atlas's features, to be searched by meaning. Loads torch.

It is made in a thread of its own, one at a time, and whoever asks meanwhile holds nothing up: they wait a moment
without a thread, search what was ready before, or are asked to come again.
"""

import asyncio
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from fastapi import HTTPException
from fastapi.concurrency import run_in_threadpool

from physalis.atlas import Atlas
from physalis.atlas.headlines import ARROW, MORE, SEPARATOR
from physalis.search import Embedder, Meanings

SOON_S = 2.0
"""How long a search waits for the vectors of what is said now."""
LOOK_S = 0.02
AGAIN_S = 60.0
"""How long after it failed the index is not made again."""
MEANING = "meaning.npy"
"""The vectors of headlines and labels, in the atlas's folder."""

Labels = Mapping[int, Sequence[str]]


class Index:
    """The meanings of headlines and labels. Safe to share between threads."""

    def __init__(self, atlas: Atlas, embedder: Embedder | None, labels: Callable[[], Labels]) -> None:
        """``labels`` gives what people say of features now. Without an ``embedder`` there is no search."""
        self._atlas, self._embedder, self._labels = atlas, embedder, labels
        self._lock = threading.Lock()
        self._made: tuple[Labels, Meanings] | None = None
        self._making = False
        self._failed: float | None = None
        """When it could not be made."""

    async def opened(self) -> Meanings:
        """What can be searched now. Raises HTTPException 503 where nothing can be yet, or at all."""
        embedder = self._embedder
        if embedder is None:
            raise HTTPException(503, "This server does not search by meaning: it was started without an embedder.")
        labels = await run_in_threadpool(self._said_now)
        until = time.monotonic() + SOON_S
        while (ready := self._ready(labels, embedder)) is None and time.monotonic() < until:
            await asyncio.sleep(LOOK_S)
        if ready is None and self._made is not None:
            return self._made[1]
        if ready is None:
            sentence = "The index for search by meaning is being built, once. Try again soon."
            raise HTTPException(503, sentence, {"retry-after": "5"})
        return ready

    def _said_now(self) -> Labels:
        return {id: list(texts) for id, texts in self._labels().items() if 0 <= id < len(self._atlas)}

    def _ready(self, labels: Labels, embedder: Embedder) -> Meanings | None:
        """The meanings of these labels; where there are none yet, somebody is making them from now on."""
        with self._lock:
            if self._made is not None and self._made[0] == labels:
                return self._made[1]
            left = 0.0 if self._failed is None else self._failed + AGAIN_S - time.monotonic()
            if left > 0 and self._made is None:
                sentence = "Features cannot be searched by meaning now. The owner of this server finds in its log why."
                raise HTTPException(503, sentence, {"retry-after": str(round(left) + 1)})
            if left > 0 and self._made is not None:
                return self._made[1]
            if not self._making:
                self._making = True  # a thread of its own, which does not keep the server from stopping
                threading.Thread(target=self._make, args=(labels, embedder), daemon=True, name="meanings").start()
        return None

    def _make(self, labels: Labels, embedder: Embedder) -> None:
        made = failed = None
        try:
            map = self._atlas.map()
            said = {id: [spoken(line)] for id, line in zip(map.ids, map.headline, strict=True)}
            said |= {id: [*said.get(id, []), *texts] for id, texts in labels.items()}
            made = labels, Meanings.open(self._atlas.folder / MEANING, said, embedder)
            embedder.embed(["a query"])  # which it may have to be fetched for, where all vectors were kept
        except Exception as error:  # whoever asks is told that, the owner what it was
            print(f"Features cannot be searched by meaning: {error}", file=sys.stderr)
            failed = time.monotonic()
        with self._lock:
            self._made, self._failed, self._making = made or self._made, failed, False


def spoken(headline: str) -> str:
    """A headline without its marks, as an embedder reads it best."""
    return headline.replace(ARROW, "").replace(MORE, "").replace(SEPARATOR, ", ")
