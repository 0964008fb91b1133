"""options: how a text is read, as one record: what ``record`` and ``stream`` take, and what their jobs and manifests
say under the same names."""

from dataclasses import dataclass
from typing import TypedDict

from physalis.errors import BadInput


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How a text is read; ``record`` says what each field does. Raises BadInput for what no text can meet."""

    tokens: int = 2_000_000
    context: int = 128
    bos: bool = True
    field: str | None = None
    held_out: float = 0.1
    seed: int = 0
    batch: int = 32
    shard_rows: int = 65_536

    def __post_init__(self) -> None:
        check_sizes(context=self.context, batch=self.batch, shard_rows=self.shard_rows)
        n_contexts(self.tokens, self.context)
        if not 0 <= self.held_out < 1:
            raise BadInput(
                f"held_out is a share of the text, from 0 up to but not including 1; received {self.held_out}."
            )

    @property
    def contexts_per_shard(self) -> int:
        return max(1, self.shard_rows // self.context)


class ReadingOptions(TypedDict, total=False):
    """The fields of ``Reading`` as keywords, which change those of the record that is given."""

    tokens: int
    context: int
    bos: bool
    field: str | None
    held_out: float
    seed: int
    batch: int
    shard_rows: int


def check_sizes(**sizes: int) -> None:
    """Raise BadInput for a size below 1."""
    for name, value in sizes.items():
        if value < 1:
            raise BadInput(f"{name} must be at least 1; received {value}.")


def n_contexts(tokens: int, context: int) -> int:
    """Whole contexts in ``tokens``. Raises BadInput if there is not one."""
    if tokens < context:
        raise BadInput(
            f"{tokens} tokens are less than one context of {context}. Ask for more tokens or a smaller context."
        )
    return tokens // context
