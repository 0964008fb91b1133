"""passes: Passes, inputs of any lengths through a model, parts of which may be held at given values."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from physalis.errors import BadInput
from physalis.lab.decompiling.programs.columns import Array
from physalis.models import Model
from physalis.site import Site

Held = Mapping[Site, Float[Tensor, "inputs places width"]]
"""What stands at whole sites instead of what the model makes there, for every input."""
_LOGITS = Site("logits")


class Passes:
    """Inputs filled up to the length of the longest: "inputs places", what they begin with among the places."""

    def __init__(self, model: Model, inputs: Sequence[Sequence[int]], answered: slice) -> None:
        """``answered`` says at which places of an input the model is asked. Raises BadInput for no input, for an empty
        one, for one that is too long, and where nothing is asked of one."""
        if not inputs or not all(inputs):
            raise BadInput("There is no input to read a program from, or one is empty. Give token ids of some.")
        self.model = model
        lengths = np.array([len(each) for each in inputs])
        model.check_length(int(lengths.max()), "The longest input", "Give shorter ones.")
        self.tokens = torch.zeros(len(inputs), int(lengths.max()), dtype=torch.long)
        for row, each in zip(self.tokens, inputs, strict=True):
            row[: len(each)] = torch.tensor(each)
        self.start = int(model.bos_id is not None and all(each[0] == model.bos_id for each in inputs))
        """How many places inputs begin with that are the same in all."""
        places = np.arange(self.tokens.shape[1])
        self.exists: Bool[Array, "inputs places"] = places < lengths[:, None]
        self.asked: Bool[Array, "inputs places"] = np.zeros_like(self.exists)
        for row, length in zip(self.asked, lengths, strict=True):
            row[:length][answered] = True
        if self.start:
            self.asked[:, 0] = False
        if not self.asked.any(1).all():
            raise BadInput(
                f"Of some input nothing is asked: {answered} is empty in {int(lengths[~self.asked.any(1)][0])} tokens. "
                "Give longer inputs, or ask at other places."
            )
        self._groups = {int(length): np.flatnonzero(lengths == length) for length in np.unique(lengths)}

    def read(self, sites: Iterable[Site], held: Held) -> dict[Site, Float[Tensor, "inputs ..."]]:
        """What stands at sites, 0 after an input's end. Patterns are "inputs heads places places"."""
        found: dict[Site, Tensor] = {}
        n, most = self.tokens.shape
        for length, rows in self._groups.items():
            for site, x in self._run(rows, length, [*sites], held).items():
                is_pattern = site.name == "attn_pattern"
                if site not in found:
                    found[site] = (
                        x.new_zeros(n, x.shape[1], most, most) if is_pattern else x.new_zeros(n, most, x.shape[-1])
                    )
                if is_pattern:
                    found[site][rows, :, :length, :length] = x
                else:
                    found[site][rows, :length] = x
        return found

    def answers(self, held: Held, of: Bool[Array, " inputs"] | None = None) -> Int64[Array, "inputs places"]:
        """The likeliest tokens where the model is asked, -1 elsewhere and for inputs that are not ``of`` interest."""
        found = np.full(self.exists.shape, -1)
        for length, every in self._groups.items():
            rows = every if of is None else every[of[every]]
            if len(rows):
                logits = self._run(rows, length, [_LOGITS], held)[_LOGITS]
                found[rows, :length] = logits.argmax(-1).numpy()
        found[~self.asked] = -1
        return found

    def _run(self, rows: Array, length: int, sites: list[Site], held: Held) -> dict[Site, Tensor]:
        tokens = self.tokens[rows, :length]
        writes = {site: partial(_put, value[rows, :length]) for site, value in held.items()}
        return self.model.run(tokens, read=sites, write=writes)


def _put(value: Tensor, x: Tensor) -> Tensor:
    return value.to(x)
