"""Site: a named place in a model where a tensor is read or written; prints and parses as "L9.resid_post"."""

import re
from dataclasses import dataclass

from physalis.errors import BadInput

LAYERED = ("resid_pre", "resid_mid", "resid_post", "attn_out", "z", "mlp_in", "mlp_out")
"""Places every transformer block has. ``z`` is the heads' outputs side by side, before the output projection;
``mlp_in`` is what the MLP reads, after its norm."""

GLOBAL = ("embed", "logits")
"""Places a model has once: what enters the first block, and the unnormalised log-probabilities of the next token."""


@dataclass(frozen=True, slots=True, order=True)
class Site:
    """A place in a model. ``Site("resid_post", 9)`` prints as ``L9.resid_post``; ``Site("logits")`` as ``logits``."""

    name: str
    layer: int | None = None

    def __post_init__(self) -> None:
        if self.name not in LAYERED + GLOBAL:
            raise BadInput(f"There is no site named {self.name!r}. Choose one of: {', '.join(GLOBAL + LAYERED)}.")
        if (self.name in LAYERED) != (self.layer is not None):
            need = "needs a layer, as in L0." if self.name in LAYERED else "has no layer: write just "
            raise BadInput(f"The site {self.name!r} {need}{self.name}; received layer {self.layer}.")
        if self.layer is not None and self.layer < 0:
            raise BadInput(f"Layers count from 0; received layer {self.layer}.")

    def __str__(self) -> str:
        return self.name if self.layer is None else f"L{self.layer}.{self.name}"

    @classmethod
    def parse(cls, text: str) -> "Site":
        """Read ``"L9.resid_post"``. Raises BadInput with the accepted spellings otherwise."""
        if text in GLOBAL:
            return cls(text)
        match = re.fullmatch(r"L(\d{1,9})\.(\w+)", text)
        if match is None:
            raise BadInput(
                f"Cannot read {text!r} as a site. Write a layer and a place, as in L9.resid_post "
                f"(places: {', '.join(LAYERED)}), or one of: {', '.join(GLOBAL)}."
            )
        return cls(match[2], int(match[1]))
