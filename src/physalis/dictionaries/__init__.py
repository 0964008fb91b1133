"""Sparse dictionaries: one architecture a file, listed once in ARCHITECTURES; load() reads any of them."""

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from physalis import artifact
from physalis.device import compute_dtype
from physalis.dictionaries.base import Dictionary, Linear, Loss, Shape, Tick
from physalis.dictionaries.batchtopk import BatchTopK, BatchTopKConfig
from physalis.dictionaries.topk import TopK, TopKConfig
from physalis.errors import BadInput

__all__ = [
    "ARCHITECTURES", "BatchTopK", "BatchTopKConfig", "Dictionary", "Linear", "Loss", "Tick", "TopK", "TopKConfig",
    "Shape", "architecture", "architecture_of", "load", "make", "save",
]  # fmt: skip

ARCHITECTURES: tuple[type[Linear], ...] = (TopK, BatchTopK)
"""Every architecture. A new one is one file and one word here."""

WEIGHTS = "dictionary.safetensors"
NAMES = {"enc": "W_enc", "dec": "W_dec"}
"""Parameter to its name on disk; W_enc is stored transposed, as the field writes it."""


def architecture(name: str) -> type[Linear]:
    """The architecture of that name, whatever its case. Raises BadInput listing those there are."""
    for each in ARCHITECTURES:
        if each.__name__.lower() == name.lower():
            return each
    names = ", ".join(each.__name__.lower() for each in ARCHITECTURES)
    raise BadInput(f"There is no dictionary architecture {name!r}. Choose one of: {names}.")


def architecture_of(config: Shape) -> type[Linear]:
    """The architecture that a config belongs to."""
    return next(each for each in ARCHITECTURES if each.__init__.__annotations__["config"] is type(config))


def make(name: str, config: dict[str, Any]) -> Linear:
    """A dictionary from its architecture's name and its config's fields. Raises BadInput for an unknown field."""
    kind = architecture(name)
    config_type = kind.__init__.__annotations__["config"]
    unknown = sorted(set(config) - set(config_type.__dataclass_fields__))
    if unknown:
        raise BadInput(
            f"{kind.__name__} has no setting {unknown[0]!r}. It has: {', '.join(config_type.__dataclass_fields__)}."
        )
    return kind(config_type(**config))


def save(dictionary: Linear, folder: Path) -> str:
    """Write the weights as W_enc [d_in, features], W_dec [features, d_out], biases; returns the file's name."""
    tensors = {NAMES.get(name, name): value for name, value in dictionary.state_dict().items()}
    tensors["W_enc"] = tensors["W_enc"].T
    tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    artifact.write_atomic(folder / WEIGHTS, lambda path: save_file(tensors, path))
    return WEIGHTS


def load(folder: str | Path, *, dtype: torch.dtype | None = None) -> Linear:
    """Read a trained dictionary. It takes raw activations.

    ``dtype`` is what features are selected in (values are always float32): the fastest the CPU has unless given.
    Raises BadInput if the folder is not a dictionary, or is damaged.
    """
    folder = Path(folder)
    manifest = artifact.read(folder, "dictionary")
    dictionary = make(manifest.config["architecture"], manifest.config["dictionary"])
    try:
        weights = load_file(folder / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise BadInput(
            f"{folder / WEIGHTS} cannot be read ({error}). The folder is damaged: delete it and train again."
        ) from error
    weights["W_enc"] = weights["W_enc"].T
    dictionary.load_state_dict({ours: weights[NAMES.get(ours, ours)] for ours in dictionary.state_dict()})
    dictionary.requires_grad_(False)
    dictionary.compute_in(dtype or compute_dtype(torch.device("cpu")))
    return dictionary
