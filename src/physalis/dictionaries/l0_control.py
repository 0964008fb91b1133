"""L0Control: the weight of a sparsity penalty, moved until as many features fire as were asked for.

A penalty's weight says nothing about the L0 it leads to, so a fixed one is found by hand, run after run. Here the
number asked for is the setting, and a proportional-integral controller finds the weight: the weight is multiplied up
while too many features fire and down while too few do, in the logarithm, so that it works whatever the penalty's unit.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from physalis.dictionaries.base import Tick
from physalis.dictionaries.kernels import rows
from physalis.dictionaries.linear import Linear
from physalis.types import Batch, Codes

PULL = 1.0  # how strongly the weight answers at once to L0 being off by a factor of e
DRIFT = 0.05  # by how much that moves the weight for good, each step


class L0Control(nn.Module):
    """Call with the L0 of a batch and the L0 asked for; returns the penalty's weight for it."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("log_weight", torch.zeros(()))
        self.log_weight: Tensor

    def begin(self, weight: float) -> None:
        """The weight to start from: any that is right to a factor of a hundred."""
        self.log_weight.fill_(weight).log_()

    def weight(self) -> Float[Tensor, ""]:
        """The weight as it is, where an L0 that is off says nothing about it."""
        return self.log_weight.exp()

    @torch.no_grad()
    def forward(self, l0: Float[Tensor, ""], k: float) -> Float[Tensor, ""]:
        off = (l0.clamp_min(k / 100) / k).log().clamp(-2, 2)
        self.log_weight.add_(DRIFT * off)
        return (self.log_weight + PULL * off).exp()


def falling(k: int, tick: Tick, *, start: float, over: float) -> float:
    """What is asked for on the way to ``k``: ``start`` times as many at first, evenly down in the logarithm, until
    ``over`` of the run is done. A dictionary that begins less sparse finds more of a known world's features."""
    return k * start ** max(0.0, 1 - tick.progress / over)


@torch.no_grad()
def level(dictionary: Linear, sample: Batch, k: float) -> float:
    """The pre-activation that ``k`` features of a row exceed on average."""
    few, most = sample.x[: 4 * 2048], min(math.ceil(8 * k), dictionary.config.n_features)
    found = rows.top(few, dictionary.enc, dictionary.b_enc, most).values.flatten()
    return max(float(found.kthvalue(max(1, found.numel() - round(k * len(few)) + 1)).values), 1e-6)


@torch.no_grad()
def silence(dictionary: Linear, sample: Batch) -> float:
    """Lower the encoder's bias until ``k`` features fire on a row on average, and fit its length to those; returns the
    level that they had to exceed."""
    needed = level(dictionary, sample, dictionary.config.k)
    dictionary.b_enc.data.sub_(needed)
    few = Batch(*(part[: 4 * 2048] for part in sample))
    dictionary.b_enc.data.mul_(dictionary.fit(rows.above(few.x, dictionary.enc, dictionary.b_enc), few.y))
    return needed


@torch.no_grad()
def adjust(
    dictionary: Linear, x: Float[Tensor, "tokens d_in"], silent: Callable[[Codes], Tensor] | None = None
) -> None:
    """Move the encoder's bias, for all features alike, until exactly ``k`` fire on a row on average: what is left to do
    once the penalty has brought them near. ``silent`` says which pre-activations give no code though they are positive.
    """
    room = 0.25 * float(rows.above(x, dictionary.enc, dictionary.b_enc).values.max())
    near = rows.above(x, dictionary.enc, dictionary.b_enc + room)
    near = rows.exact(x, dictionary.enc, dictionary.b_enc + room, near)  # bfloat16 says little so far from 0
    values = near.values - room
    if silent is not None:
        values = values.masked_fill(silent(Codes(values, near.ids)), -room)
    wanted = round(dictionary.config.k * len(x))
    if wanted < int((values > -room).sum()):
        dictionary.b_enc.data.sub_(values.flatten().kthvalue(values.numel() - wanted).values)
