"""The tensor records that cross layers: Batch and Codes.

Axis names used in every public signature: ``tokens`` (rows of activations), ``d_in``, ``d_out`` (widths),
``features`` (dictionary size), ``k`` (stored codes a token), ``contexts`` and ``context`` (packed text).
"""

from typing import NamedTuple

from jaxtyping import Float, Int
from torch import Tensor


class Batch(NamedTuple):
    """What a dictionary reads and what it must predict. An autoencoder has ``y is x``; a transcoder does not."""

    x: Float[Tensor, "tokens d_in"]
    y: Float[Tensor, "tokens d_out"]


class Codes(NamedTuple):
    """Sparse codes: for each token the values and feature ids of what fires. A value of 0 is padding, whatever its id.

    Ids of one row are distinct wherever the value is not 0. Values are never negative.
    """

    values: Float[Tensor, "tokens k"]
    ids: Int[Tensor, "tokens k"]
