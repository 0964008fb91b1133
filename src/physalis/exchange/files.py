"""files: arrays and settings out of the formats of others, as float32 tensors and plain values."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from physalis.errors import BadInput
from physalis.exchange import pickles


def tensors(path: Path) -> dict[str, Tensor]:
    """Every array of a .safetensors or .npz file, or of a torch file that holds nothing but named tensors.

    npz files are read with pickling off. Raises BadInput if the file cannot be read.
    """
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (OSError, SafetensorError) as error:
            raise BadInput(f"{path} cannot be read ({error}). It is missing or damaged: fetch it again.") from error
    if path.suffix == ".npz":
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return {name: torch.from_numpy(np.array(arrays[name])) for name in arrays.files}
        except (OSError, ValueError) as error:
            raise BadInput(f"{path} cannot be read ({error}). It is missing or damaged: fetch it again.") from error
    found = pickles.load(path)
    if not isinstance(found, dict):
        raise BadInput(f"{path} holds a {type(found).__name__}, not named tensors. Check the path.")
    return {name: value for name, value in found.items() if isinstance(value, Tensor)}


def take(found: dict[str, Tensor], path: Path, *names: str) -> list[Tensor]:
    """The named tensors in float32. Raises BadInput naming the first that is missing."""
    for name in names:
        if name not in found:
            raise BadInput(f"{path} has no tensor {name!r}. It holds: {', '.join(sorted(found)[:12])}.")
    return [found[name].float() for name in names]


def settings(path: Path) -> dict[str, Any]:
    """A JSON or YAML file's mapping. Raises BadInput if it is missing or not one."""
    try:
        text = path.read_text()
        value = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except FileNotFoundError as error:
        raise BadInput(f"There is no {path}. The format needs it: fetch it too, beside the weights.") from error
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise BadInput(f"{path} cannot be read ({error}). It is damaged: fetch it again.") from error
    if not isinstance(value, dict):
        raise BadInput(f"{path} holds {type(value).__name__}, not settings by name. Check the path.")
    return value


def settings_if_there(path: Path) -> dict[str, Any]:
    """The same, or nothing where there is no such file."""
    return settings(path) if path.exists() else {}
