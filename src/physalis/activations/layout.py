"""layout: which contexts go into which shard, and which are held out, decided before anything is recorded."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

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


def lay_out(contexts: int, *, held_out: int, contexts_per_shard: int) -> list[Span]:
    """Cut a corpus into spans: first the contexts to train on, then the last ``held_out`` of them. No span has both."""
    if not 0 <= held_out <= contexts or contexts_per_shard < 1:
        raise BadInput(
            f"{held_out} of {contexts} contexts cannot be held out, in shards of {contexts_per_shard}: give a number "
            "from 0 up to that of all, and shards of at least one."
        )
    spans: list[Span] = []
    for first, last, part in ((0, contexts - held_out, False), (contexts - held_out, contexts, True)):
        for start in range(first, last, contexts_per_shard):
            stop = min(start + contexts_per_shard, last)
            spans.append(Span(number=len(spans), start=start, stop=stop, held_out=part))
    return spans


def check_spans(spans: Sequence[Span], contexts: int | None = None) -> None:
    """Raise BadInput unless these are spans as ``lay_out`` makes them: numbered from 0 on, one after another, those to
    train on first, and of all ``contexts`` where that is known."""
    stop = 0
    for i, span in enumerate(spans):
        late = i > 0 and spans[i - 1].held_out and not span.held_out
        if span.number != i or span.start != stop or span.stop <= span.start or late:
            raise BadInput(f"Shards follow one another, and number {i} is said to hold {span.start} to {span.stop}.")
        stop = span.stop
    if contexts is not None and stop != contexts:
        raise BadInput(f"Shards are said to hold {stop} contexts, and the text has {contexts}.")
