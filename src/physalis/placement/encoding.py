"""encoding: the codes of one dictionary on stored rows, chunk by chunk, where the dictionary is."""

from collections.abc import Iterator
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from physalis.dictionaries import Dictionary
from physalis.errors import BadInput
from physalis.types import Codes

CHUNK = 4096
"""Rows encoded at a time."""


class Encoded(NamedTuple):
    """Some rows, on the dictionary's device, and what it makes of them."""

    x: Float[Tensor, "n d_in"]
    y: Float[Tensor, "n d_out"]
    """What it is to predict; ``x`` itself for an autoencoder."""
    at: Int64[Tensor, " n"]
    """context_index * context + position; on the CPU."""
    codes: Codes


@runtime_checkable
class Ordered(Protocol):
    """Rows that can be read in order with their places: Activations or Pairs."""

    def ordered(self, size: int, *, start: int = 0, stop: int | None = None) -> Iterator: ...


@torch.no_grad()
def encoded(
    dictionary: Dictionary, part: Ordered, *, size: int = CHUNK, start: int = 0, stop: int | None = None
) -> Iterator[Encoded]:
    """Every row of ``part`` once, in the order of its shards, at most ``size`` at a time, raw and in float32; only the
    chunks that hold rows ``start`` up to ``stop``. Raises BadInput where codes are not finite."""
    device = next(dictionary.parameters()).device
    for rows in part.ordered(size, start=start, stop=stop):
        x = rows.x.to(device, non_blocking=True).float()
        y = x if rows.y is rows.x else rows.y.to(device, non_blocking=True).float()
        codes = dictionary.encode(x)
        if not bool(codes.values.isfinite().all()):
            wrong = int((~codes.values.isfinite()).any(1).nonzero()[0])
            raise BadInput(
                f"At place {int(rows.at[wrong]):,} of the text the dictionary's codes are no finite numbers: the "
                "activations there are too large for float32. `physalis verify` says whether the recording is whole."
            )
        yield Encoded(x, y, rows.at, codes)
