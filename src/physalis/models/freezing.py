"""freezing: what a pass gave at some sites, as a value that other passes hold constant.

A block is linear in its stream but for three things: what its norms divide by, where its heads look, and its MLP. With
these held constant the rest of the model is a matrix, and a gradient says what a direction does to the end, whole.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

from torch import Tensor

from physalis.errors import BadInput
from physalis.models.hooks import Write
from physalis.site import Site


@dataclass(frozen=True, eq=False)
class Frozen:
    """Tensors at sites, as ``Model.run`` read them, of one context or of as many as a pass has that holds them."""

    values: Mapping[Site, Tensor] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Frozen({', '.join(map(str, self.values)) or 'nothing'})"

    def beside(self, write: Mapping[Site, Write]) -> dict[Site, Write]:
        """What a pass writes that holds these constant and writes elsewhere what ``write`` says. Raises BadInput for a
        site that is in both."""
        if both := [site for site in write if site in self.values]:
            raise BadInput(f"{both[0]} is frozen and written at once. Leave it out of one of the two.")
        return {**write, **{site: partial(_held, site, value) for site, value in self.values.items()}}


NOTHING = Frozen()


def _held(site: Site, value: Tensor, x: Tensor) -> Tensor:
    if value.shape[1:] != x.shape[1:] or len(value) not in (1, len(x)):
        raise BadInput(
            f"{site} was frozen with shape {tuple(value.shape)} and is {tuple(x.shape)} in this pass. Freeze it for "
            "tokens of this shape: as many positions, and as many contexts or one."
        )
    return value.detach().expand(x.shape)
