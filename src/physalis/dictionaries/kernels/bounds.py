"""bounds: what compiled code is handed. It checks none itself: an id that is no row would read another's memory."""

import numpy as np
from jaxtyping import Int
from torch import Tensor

from physalis.errors import BadInput


def within(ids: Int[Tensor, "tokens k"], n: int) -> Int[np.ndarray, "tokens k"]:
    """Ids on the CPU for a kernel that reads ``n`` rows. Raises BadInput for one that is none of them."""
    found = ids.numpy()
    # as unsigned numbers those below 0 are the largest, so that one pass sees both ends
    if found.size and found.view(f"u{found.itemsize}").max() >= n:
        wrong = found[(found < 0) | (found >= n)][0]
        raise BadInput(
            f"Feature {wrong} was asked for, and there are {n:,}: what is not finite has no codes that name any. "
            "Look at what the dictionary reads and at its weights with `physalis verify`."
        )
    return found
