"""Nested prefixes: what the first features rebuild alone, the first and the next, and so on, in one decoding.

The first features of a Matryoshka dictionary must rebuild as much as they can without the later ones, which keeps a
general feature from being absorbed into the special ones below it (Bussmann et al. 2025, arXiv 2503.17547).
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from physalis.dictionaries import rows
from physalis.dictionaries.rows import Rows
from physalis.errors import BadInput
from physalis.types import Codes


def widths(asked: tuple[int, ...], shares: tuple[float, ...], n_features: int) -> tuple[int, ...]:
    """Sizes of the prefixes: those asked for, or ``shares`` of the features. Raises BadInput unless they ascend to
    n_features."""
    found = asked or tuple(sorted({max(1, round(share * n_features)) for share in shares}))
    if list(found) != sorted(set(found)) or found[0] < 1 or found[-1] != n_features:
        raise BadInput(
            f"Prefix widths must ascend and end with the number of features, {n_features}; received {list(found)}."
        )
    return found


def levels(codes: Codes, prefix_of: Int[Tensor, " features"], n: int, dec: Rows) -> Float[Tensor, "n tokens d_out"]:
    """What the features of each prefix add to those before it, without the bias."""
    level = prefix_of[codes.ids.long()]
    values = torch.cat([codes.values * (level == i) for i in range(n)])
    zero = torch.zeros(dec.shape[1], device=dec.device)
    return rows.decode(Codes(values, codes.ids.repeat(n, 1)), dec, zero).view(n, len(level), -1)


def levels_by_rank(rank: Int[Tensor, " features"], widths: tuple[int, ...]) -> Int[Tensor, " features"]:
    """The prefix in which each feature first appears, from its place in the order."""
    return torch.bucketize(rank, torch.tensor(widths, device=rank.device), right=True)
