"""rounding: stored rows as they were: bfloat16, or float32 with their offsets where dimensions have one."""

from collections.abc import Iterable, Iterator

import torch
from jaxtyping import BFloat16, Float, Float32
from torch import Tensor

from physalis.activations.mixing import ahead
from physalis.runtime.device import default_device


def read_back(rows: BFloat16[Tensor, "*n d"], offset: Float32[Tensor, " d"] | None) -> Float[Tensor, "*n d"]:
    """Stored rows with what they lack of their values: in bfloat16 as they are, or in float32 where that is something.
    Adding costs nothing beside what follows: whoever reads rows makes them float32 anyway."""
    return rows if offset is None else rows.float().add_(offset.to(rows.device))


def all_read_back(
    batches: Iterable[BFloat16[Tensor, "n d"]], offset: Float32[Tensor, " d"] | None
) -> Iterator[Float[Tensor, "n d"]]:
    """``read_back`` of batch after batch. Where there is a card, a thread does it while the card computes, into memory
    that it can copy from."""
    if offset is None or default_device().type != "cuda":
        return (read_back(rows, offset) for rows in batches)

    def pinned(rows: BFloat16[Tensor, "n d"]) -> Float32[Tensor, "n d"]:
        return torch.empty(rows.shape, pin_memory=True).copy_(rows).add_(offset)

    return ahead(pinned, batches)
