"""known: known_dictionary, the dictionary of directions that are known: an oracle, in a folder like any trained one."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from physalis import artifact, dictionaries
from physalis.activations import Activations
from physalis.artifact import Manifest
from physalis.dictionaries import JumpReLU, JumpReLUConfig
from physalis.errors import BadInput

KIND = "dictionary"


def known_dictionary(
    activations: Activations | Path | str,
    directions: Float[Tensor, "features d"] | Sequence[int],
    out: Path | str,
    *,
    threshold: float = 1e-3,
) -> Path:
    """Write a JumpReLU dictionary of a recording's site that reads and writes along ``directions``, or along these
    coordinates; a feature is silent up to ``threshold``, and above it its code is what stands along its direction.
    Nothing is learned. Returns the folder. Raises BadInput for directions of another width."""
    stored = activations if isinstance(activations, Activations) else Activations.open(activations)
    if not isinstance(directions, Tensor):
        directions = torch.eye(stored.d)[list(directions)]
    if directions.ndim != 2 or directions.shape[1] != stored.d or len(directions) < 2:
        raise BadInput(
            f"The site is {stored.d} wide, and a dictionary has two features or more; received directions of shape "
            f"{list(directions.shape)}."
        )
    config = JumpReLUConfig(d_in=stored.d, d_out=stored.d, n_features=len(directions), k=1)
    dictionary = JumpReLU(config)
    with torch.no_grad():
        dictionary.enc.copy_(directions)
        dictionary.dec.copy_(directions)
        dictionary.threshold.fill_(threshold)
    out = Path(out)
    said = {"architecture": JumpReLU.__name__, "dictionary": asdict(config)}
    along = artifact.digest(directions.tolist())
    with artifact.claim(out, KIND, {**said, "inputs": stored.inputs, "along": along, "threshold": threshold}) as done:
        if done is None:
            made = Manifest(kind=KIND, config={**said, **stored.origin}, inputs=stored.inputs)
            artifact.finish(out, made, [dictionaries.save(dictionary, out)])
    return out
