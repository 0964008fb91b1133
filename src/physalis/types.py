"""The tensor records that cross layers: Batch, Frame and Codes.

Axis names used in every public signature: ``tokens`` (rows of activations), ``d_in``, ``d_out`` (widths),
``features`` (dictionary size), ``k`` (stored codes a token), ``contexts`` and ``context`` (packed text).
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from physalis import dataframes


class Batch(NamedTuple):
    """What a dictionary reads and what it must predict. An autoencoder has ``y is x``; a transcoder does not."""

    x: Float[Tensor, "tokens d_in"]
    y: Float[Tensor, "tokens d_out"]


class Frame(NamedTuple):
    """The constants that training subtracts and multiplies by: ``(x - mean) * scale`` has mean 0 and mean square 1 an
    element. Dictionaries are trained inside the frame and folded out of it."""

    mean_in: Float[Tensor, " d_in"]
    scale_in: Float[Tensor, " d_in"]
    mean_out: Float[Tensor, " d_out"]
    scale_out: Float[Tensor, " d_out"]

    def to(self, device: torch.device) -> "Frame":
        """The same constants on ``device``."""
        return Frame(*(part.to(device) for part in self))

    def apply(self, batch: Batch) -> Batch:
        """The batch inside the frame, float32; ``y is x`` stays so."""
        x = (batch.x.float() - self.mean_in).mul_(self.scale_in)
        y = x if batch.y is batch.x else (batch.y.float() - self.mean_out).mul_(self.scale_out)
        return Batch(x, y)


class Codes(NamedTuple):
    """Sparse codes: for each token the values and feature ids of what fires. A value of 0 is padding, whatever its id.

    Ids of one row are distinct wherever the value is not 0. Values are never negative.
    """

    values: Float[Tensor, "tokens k"]
    ids: Int[Tensor, "tokens k"]

    def numpy(self) -> tuple[Float[np.ndarray, "tokens k"], Int[np.ndarray, "tokens k"]]:
        """Values, float32, and ids, wherever they are computed."""
        return self.values.detach().float().cpu().numpy(), self.ids.detach().cpu().numpy()

    def table(self) -> Any:
        """A pandas DataFrame with a row for each code that is not 0: its ``token``, the row of what was encoded, its
        ``feature`` and its ``value``; token after token, the largest value first. Raises BadInput without pandas."""
        values, ids = self.numpy()
        tokens, columns = np.nonzero(values)
        rows = {"token": tokens, "feature": ids[tokens, columns], "value": values[tokens, columns]}
        order = np.lexsort((rows["feature"], -rows["value"], tokens))
        return dataframes.columns({name: each[order] for name, each in rows.items()})
