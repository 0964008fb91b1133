"""Site: a named place in a model where a tensor is read or written; prints and parses as "L9.resid_post".

A spelling is all that is judged here. Which places there are is for the model to say: ``Model.sites()`` lists them, and
``Model.check`` refuses what it lacks.
"""

import re
from dataclasses import dataclass
from difflib import get_close_matches

from physalis.errors import BadInput

LAYERED = ("resid_pre", "resid_mid", "resid_post", "attn_out", "z", "mlp_in", "mlp_out")
"""Places every transformer block has. ``z`` is the heads' outputs side by side, before the output projection;
``mlp_in`` is what the MLP reads, after its norm."""

INNER = (
    "attn_norm_scale", "q", "k", "v", "attn_pattern", "attn_post_norm_scale", "mlp_norm_scale", "mlp_gate",
    "mlp_neurons", "mlp_post_norm_scale",
)  # fmt: skip
"""Places inside attention, MLP and norms, of blocks whose modules show them. ``q`` and ``k`` are what attention
compares (after norms and rotary positions), ``v`` what it mixes, heads side by side; ``attn_pattern`` its weights,
"heads query key"; ``mlp_gate`` what a gated MLP multiplies its neurons with, ``mlp_neurons`` what its last projection
reads; a ``scale`` is the number by which a norm divides."""

GLOBAL = ("embed", "final_norm_scale", "logits")
"""Places a model has once: what enters the first block, the number by which the last norm divides, and the unnormalised
log-probabilities of the next token."""

KNOWN = LAYERED + INNER + GLOBAL
"""The names that language models share."""

_NAME = r"[a-z][a-z0-9_]*(?:\.[a-z0-9_]+)*"
_LONGEST = 100
"""Characters of a name."""


@dataclass(frozen=True, slots=True, order=True)
class Site:
    """A place in a model. ``Site("resid_post", 9)`` prints as ``L9.resid_post``; ``Site("logits")`` as ``logits``.

    Raises BadInput for a name that is not lower-case letters, digits, ``_`` and dots, and for a layer below 0."""

    name: str
    layer: int | None = None

    def __post_init__(self) -> None:
        if len(self.name) > _LONGEST or not re.fullmatch(_NAME, self.name) or re.match(r"l\d+(\.|$)", self.name):
            raise BadInput(
                f"{self.name[:_LONGEST]!r} cannot be the name of a site: lower-case letters, digits, _ and dots, as in "
                f"resid_post, {_LONGEST} at most, and the layer before it as in L9."
            )
        if self.layer is not None and self.layer < 0:
            raise BadInput(f"Layers count from 0; received layer {self.layer}.")

    def __str__(self) -> str:
        return self.name if self.layer is None else f"L{self.layer}.{self.name}"

    @classmethod
    def parse(cls, text: str) -> "Site":
        """Read ``"L9.resid_post"``, or a plain name. Raises BadInput with the accepted spellings otherwise."""
        match = re.fullmatch(rf"(?:L(\d{{1,9}})\.)?({_NAME})", text)
        if match is None or len(match[2]) > _LONGEST or re.match(r"l\d+(\.|$)", text):
            raise BadInput(
                f"Cannot read {text!r} as a site. Write a layer and a place, as in L9.resid_post "
                f"(places: {', '.join(LAYERED)}), or one of: {', '.join(GLOBAL)}."
            )
        return cls(match[2], None if match[1] is None else int(match[1]))


def slip(site: Site) -> str | None:
    """What was probably meant by a site that is a common one misspelt: a sentence, or None where it may well be a place
    of some model."""
    if site.name in GLOBAL and site.layer is not None:
        return f"The site {site.name!r} has no layer: write just {site.name}; received {site}."
    if site.name in LAYERED + INNER and site.layer is None:
        return f"The site {site.name!r} needs a layer, as in L0.{site.name}; received {site}."
    near = [] if site.name in KNOWN else get_close_matches(site.name, KNOWN, n=1, cutoff=0.85)
    return f"There is no site named {site.name!r}; received {site}. Was {near[0]} meant?" if near else None
