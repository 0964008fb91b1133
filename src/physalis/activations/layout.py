"""layout: which contexts go into which shard, and which are held out, decided before anything is recorded."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Int32

from physalis.errors import BadInput


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One shard's share of the corpus: contexts ``start`` up to ``stop``."""

    number: int
    start: int
    stop: int
    held_out: bool

    @property
    def name(self) -> str:
        return f"shard-{self.number:06d}.safetensors"

    @property
    def sidecar(self) -> str:
        return f"shard-{self.number:06d}.json"

    def to_dict(self) -> dict[str, Any]:
        """As it is stored."""
        return asdict(self)


def lay_out(
    documents: Int32[np.ndarray, "contexts context"], *, held_out: float, contexts_per_shard: int
) -> list[Span]:
    """Cut a corpus into spans: first the part to train on, then about a share of ``held_out`` at the end.

    The parts share no document: the cut goes where a document starts, and if that is inside a context, this one context
    is in neither part. Only where no document starts near the wanted place does the cut go through one.
    """
    if not 0 <= held_out < 1:
        raise BadInput(f"held_out is a share of the text, from 0 up to but not including 1; received {held_out}.")
    n = len(documents)
    train_stop, held_start = _cut(documents, held_out)
    spans: list[Span] = []
    for first, last, part in ((0, train_stop, False), (held_start, n, True)):
        for start in range(first, last, contexts_per_shard):
            stop = min(start + contexts_per_shard, last)
            spans.append(Span(number=len(spans), start=start, stop=stop, held_out=part))
    return spans


def _cut(documents: Int32[np.ndarray, "contexts context"], held_out: float) -> tuple[int, int]:
    # (where training contexts stop, where held-out ones start)
    n = len(documents)
    if held_out == 0 or n == 1:
        return n, n
    target = min(max(round(n * (1 - held_out)), 1), n - 1)
    reach = max(1, int(n * held_out / 2))
    best = None
    for c in range(max(1, target - reach), min(n, target + reach + 1)):
        at_start = documents[c, 0] != documents[c - 1, -1]
        inside = documents[c, 0] != documents[c, -1] and c + 1 < n
        if at_start or inside:
            cut = (c, c if at_start else c + 1)
            if best is None or abs(c - target) < abs(best[0] - target):
                best = cut
    return best or (target, target)
