"""flattening: whatever dimensions come before the last become one, as inside a dictionary, and are given back after."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor

from physalis.errors import BadInput
from physalis.types import Codes


def tensor_of(x: Any, like: Tensor) -> Tensor:
    """A tensor as it is; a numpy array as a tensor where ``like`` is, float32 unless it holds whole numbers."""
    if isinstance(x, Tensor):
        return x
    x = np.asarray(x)
    copy = np.array(x, np.int64 if x.dtype.kind in "iu" else np.float32, order="C")  # torch wants to own what it reads
    return torch.from_numpy(copy).to(like.device)


def flat_rows(x: Tensor) -> Shaped[Tensor, "tokens d"]:
    """[..., d] as [tokens, d]; what has two dimensions already is what it was."""
    return x if x.ndim == 2 and x.is_contiguous() else x.reshape(-1, x.shape[-1]).contiguous()


def flat_codes(codes: Any, like: Tensor) -> tuple[Codes, torch.Size]:
    """Codes of [..., k] as [tokens, k], and the dimensions that were before the last. Raises BadInput for what is not
    codes."""
    if not isinstance(codes, Codes):
        shape = f" of shape {list(codes.shape)}" if hasattr(codes, "shape") else ""
        raise BadInput(
            f"Codes are what encode gives, or physalis.types.Codes(values, ids); received a {type(codes).__name__}"
            f"{shape}. To change some, change their values: codes._replace(values=codes.values * (codes.ids != 12))."
        )
    values, ids = (tensor_of(part, like) for part in codes)
    if values.shape != ids.shape or not values.ndim:
        raise BadInput(
            f"Codes have a value for every feature id, both of shape [..., k]; received values {list(values.shape)} "
            f"and ids {list(ids.shape)}."
        )
    return Codes(flat_rows(values.float()), flat_rows(ids)), values.shape[:-1]


def unflat(rows: Tensor, leading: torch.Size) -> Tensor:
    """[tokens, d] with its leading dimensions given back."""
    return rows if len(leading) == 1 else rows.reshape(*leading, rows.shape[1])
