"""live: Stream, the batches that a recording would give, computed while they are read and never written.

The spans, hygiene and row order of each shard are those of ``record`` with the same options. A recording shuffles over
the whole set; a stream shuffles over a window of shards that it holds in memory. So a set that fits in one window gives
the same batches, bit for bit, and a larger one the same rows in another order.
"""

from collections.abc import Iterator
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float32, Int32
from torch import Tensor

from physalis.activations import Hygiene, MemoryShard, Span, lay_out, merge_sums, mixed, moments, permuted, sums
from physalis.models import Model
from physalis.recording.forward import collect, pilot
from physalis.recording.text import blocks, check_sizes, read_text
from physalis.site import Site
from physalis.types import Batch


class Stream:
    """The train part of a recording that is never written. Made by ``stream``; read like Activations."""

    def __init__(
        self, model: Model, site: Site, ids: Int32[np.ndarray, "contexts context"], spans: list[Span],
        hygiene: Hygiene, *, seed: int, batch: int, window: int,
    ) -> None:  # fmt: skip
        """Use ``stream``."""
        self.model, self.site, self.tokens, self.hygiene = model, site, ids, hygiene
        self._spans, self._seed, self._batch, self._window = spans, seed, batch, window

    @property
    def d(self) -> int:
        return self.model.width(self.site)

    @cached_property
    def _first(self) -> list[MemoryShard]:
        return self._shards(0)

    @cached_property
    def _moments(self) -> tuple[Float32[Tensor, " d"], float]:
        mean, scale = moments(merge_sums([sums(shard.x) for shard in self._first]))
        return torch.from_numpy(mean), scale

    @property
    def mean(self) -> Float32[Tensor, " d"]:
        """The mean over the first window, which this computes if it has not been read yet."""
        return self._moments[0]

    @property
    def scale(self) -> float:
        """Makes the mean squared norm of the first window's centred rows d."""
        return self._moments[1]

    def batches(self, size: int, *, seed: int, epochs: int = 1, start: int = 0) -> Iterator[Batch]:
        """Batches of exactly ``size`` rows, bf16; ``y is x``. Rows that do not fill a window's last batch are dropped.

        The ``start`` batches passed over are computed: how many rows a context keeps is known only then.
        """
        windows = range(0, len(self._spans), self._window)
        for epoch in range(epochs):
            for number, first in enumerate(windows):
                shards = self._first if first == 0 else self._shards(first)
                n = sum(shard.rows for shard in shards) // size
                # The key of a recording's only epoch is (seed, epoch); further windows extend it.
                key = [seed] if number == 0 else [seed, number]
                if start < n:
                    yield from mixed(shards, self.d, size, seed=key, epochs=[epoch], skip=start * size)
                start = max(0, start - n)

    def _shards(self, first: int) -> list[MemoryShard]:
        return [self._shard(span) for span in self._spans[first : first + self._window]]

    def _shard(self, span: Span) -> MemoryShard:
        rows, _ = collect(
            self.model, self.site, self.tokens, span, self.hygiene, batch=self._batch, advance=lambda *_: None
        )
        return permuted(rows.x, rows.at, seed=self._seed, number=span.number)


def stream(
    model: Model,
    source: str,
    site: Site,
    *,
    tokens: int = 2_000_000,
    context: int = 128,
    bos: bool = True,
    field: str | None = None,
    held_out: float = 0.1,
    seed: int = 0,
    batch: int = 32,
    shard_rows: int = 65_536,
    window: int = 4,
) -> Stream:
    """The train part of what ``record`` would write with these options, computed as it is read.

    ``window`` shards are held in memory at a time and shuffled together. Raises BadInput as ``record`` does.
    """
    model.check(site)
    check_sizes(batch=batch, shard_rows=shard_rows, window=window)
    text = read_text(blocks(model, source, tokens=tokens, context=context, bos=bos, field=field))
    spans = lay_out(text.documents, held_out=held_out, contexts_per_shard=max(1, shard_rows // context))
    hygiene = pilot(model, site, text.ids, bos=bos)
    train = [span for span in spans if not span.held_out]
    return Stream(model, site, text.ids, train, hygiene, seed=seed, batch=batch, window=window)
