"""splitting: split, an oracle's features each cut into several that share what it does: groups that are known.

A dictionary often says one thing with several features. Here it is made so: each copy fires where the feature fires and
writes a share of what it writes, so that together they write all of it. Which copies belong together is the truth that
a way of grouping features has to find. Noise makes each copy write, and read, something else besides; what copies write
besides sums to nothing.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from physalis.dictionaries import JumpReLU, JumpReLUConfig
from physalis.errors import BadInput
from physalis.lab.rasp.oracles import Oracle


class Split(NamedTuple):
    """A transcoder of more features than there are things to say."""

    dictionary: JumpReLU
    origin: Int64[Tensor, " features"]
    """Which of the oracle's features each is a part of; -1 for those that never fire."""


def split(oracle: Oracle, copies: int = 4, *, noise: float = 0.0, reads: float = 0.0, seed: int = 0) -> Split:
    """Each feature as ``copies`` of it, with shares between .5 and 1.5 of the mean, in random order.

    ``noise`` is the length of what a copy writes besides, and ``reads`` that of what it reads besides, both as a share
    of its own: at 1 half of it is noise. Raises BadInput for fewer than one copy and for negative noise.
    """
    if copies < 1 or noise < 0 or reads < 0:
        raise BadInput(
            f"A feature is split into 1 copy or more, with noise of 0 or more; received copies={copies}, "
            f"noise={noise:g} and reads={reads:g}."
        )
    generator = torch.Generator().manual_seed(seed)
    n, d = oracle.W_enc.shape
    share = torch.rand(n, copies, 1, generator=generator) + 0.5
    share = share / share.sum(1, keepdim=True)
    besides = share * noise * _as_long_as(oracle.W_dec, copies, generator)
    writes = share * oracle.W_dec[:, None] + besides - share * besides.sum(1, keepdim=True)
    read = oracle.W_enc[:, None] + reads * _as_long_as(oracle.W_enc, copies, generator)
    order = torch.randperm(n * copies, generator=generator)
    made = JumpReLU(JumpReLUConfig(d_in=d, d_out=d, n_features=max(n * copies, 2), k=1)).requires_grad_(False)
    origin = torch.full((made.config.n_features,), -1)
    origin[: n * copies] = torch.arange(n).repeat_interleave(copies)[order]
    made.enc[: n * copies], made.dec[: n * copies] = read.flatten(0, 1)[order], writes.flatten(0, 1)[order]
    made.b_enc[: n * copies] = oracle.b_enc.repeat_interleave(copies)[order]
    made.b_dec[:] = oracle.b_dec
    made.enc.refresh()
    made.dec.refresh()
    return Split(made, origin)


def _as_long_as(vectors: Float[Tensor, "n d"], copies: int, generator: torch.Generator) -> Float[Tensor, "n copies d"]:
    random = torch.randn(len(vectors), copies, vectors.shape[1], generator=generator)
    return random / random.norm(dim=-1, keepdim=True).clamp_min(1e-12) * vectors.norm(dim=1)[:, None, None]
