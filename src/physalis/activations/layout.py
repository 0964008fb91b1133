"""layout: which contexts go into which shard, and which are held out, decided before anything is recorded."""

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
