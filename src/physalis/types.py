"""The tensor records that cross layers: Batch, Frame and Codes.

Axis names used in every public signature: ``tokens`` (rows of activations), ``d_in``, ``d_out`` (widths),
``features`` (dictionary size), ``k`` (stored codes a token), ``contexts`` and ``context`` (packed text).
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from physalis.display import tables
from physalis.errors import BadInput


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


class _Pair(NamedTuple):
    values: Float[Tensor, "... k"]
    ids: Int[Tensor, "... k"]


class Codes(_Pair):
    """Sparse codes: for each token the values and feature ids of what fires, ``values, ids``, both [tokens, k] or, in
    scripts, [..., k]. A value of 0 is padding, whatever its id.

    Ids of one row are distinct wherever the value is not 0. Values are never negative.
    """

    n_features: int | None = None
    """How many features there are, where a dictionary's ``encode`` said so."""

    def of(self, n_features: int) -> "Codes":
        """The same codes, which know that they are of so many features."""
        codes = Codes(*self)
        codes.n_features = n_features
        return codes

    def _replace(self, **parts: Tensor) -> "Codes":
        codes = super()._replace(**parts)
        codes.n_features = self.n_features
        return codes

    def dense(self, n_features: int | None = None) -> Float[Tensor, "... features"]:
        """Every feature's code, 0 where it does not fire: 4 bytes for each token and feature. ``n_features`` is needed
        for codes that ``encode`` did not give. Raises BadInput without it, or if a feature is not among so many."""
        n = self.n_features if n_features is None else n_features
        if n is None:
            raise BadInput(
                "These codes do not know how many features there are; call codes.dense(n_features), for instance with "
                "sae.config.n_features."
            )
        ids = self.ids.long().where(self.values != 0, 0)
        if ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < n:
            raise BadInput(
                f"There are features 0 to {n - 1:,}; received codes of features {int(ids.min()):,} to "
                f"{int(ids.max()):,}. Give the number of features of their own dictionary."
            )
        return self.values.new_zeros(*self.values.shape[:-1], n).scatter_add(-1, ids, self.values)

    def numpy(self) -> tuple[Float[np.ndarray, "... k"], Int[np.ndarray, "... k"]]:
        """Values, float32, and ids, wherever they are computed."""
        return self.values.detach().float().cpu().numpy(), self.ids.detach().cpu().numpy()

    def table(self) -> Any:
        """A pandas DataFrame with a row for each code that is not 0: its ``token``, the row of what was encoded
        (of batches and positions: the rows of ``x.reshape(-1, d)``), its ``feature`` and its ``value``; token after
        token, the largest value first. Raises BadInput without pandas."""
        values, ids = (part.reshape(-1, part.shape[-1]) for part in self.numpy())
        tokens, columns = np.nonzero(values)
        rows = {"token": tokens, "feature": ids[tokens, columns], "value": values[tokens, columns]}
        order = np.lexsort((rows["feature"], -rows["value"], tokens))
        return tables.columns({name: each[order] for name, each in rows.items()})
