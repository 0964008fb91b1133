"""files: arrays and settings out of the formats of others, as float32 tensors and plain values.

What a file unpacks to, or says of itself, is looked at before it is believed: a few kilobytes can claim terabytes.
"""

import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from physalis.artifact import untrusted
from physalis.artifact.untrusted import shown
from physalis.errors import BadInput
from physalis.exchange import pickles

MOST_SETTINGS = 1 << 20  # bytes: the tools' own hold a few thousand
LONGEST_WORD = 1000  # characters of a name or a path
MOST_TIMES = 20  # that arrays of numbers may be as large as their .npz
ROOM = 1 << 24  # bytes that any .npz may unpack to

Kind = type | tuple[type, ...]
_WORDS = {str: "a word", float: "a number", int: "a whole number", bool: "true or false", list: "a list",
          dict: "settings by name"}  # fmt: skip


def tensors(path: Path) -> dict[str, Tensor]:
    """Every array of a .safetensors or .npz file, or of a torch file that holds nothing but named tensors.

    npz files are read with pickling off. Raises BadInput if the file cannot be read.
    """
    untrusted.open_file(path).close()
    if path.suffix == ".safetensors":
        try:
            return _real(load_file(path), path)
        except (OSError, SafetensorError) as error:
            raise BadInput(f"{path} cannot be read ({error}). It is missing or damaged: fetch it again.") from error
    if path.suffix == ".npz":
        try:
            _check_size(path)
            with np.load(path, allow_pickle=False) as arrays:
                return _real({name: torch.from_numpy(np.array(arrays[name])) for name in arrays.files}, path)
        except BadInput:
            raise
        except (OSError, ValueError, TypeError, EOFError, MemoryError, zipfile.BadZipFile) as error:
            raise BadInput(f"{path} cannot be read ({error}). It is missing or damaged: fetch it again.") from error
    found = pickles.load(path)
    if not isinstance(found, dict):
        raise BadInput(f"{path} holds a {type(found).__name__}, not named tensors. Check the path.")
    return _real({str(name): value for name, value in found.items() if isinstance(value, Tensor)}, path)


def _real(found: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    for name, value in found.items():
        if value.is_complex():
            raise BadInput(f"{path}: {shown(name)} holds complex numbers, and no dictionary here has any.")
    return found


def _check_size(path: Path) -> None:
    with zipfile.ZipFile(path) as members:
        unpacked = sum(member.file_size for member in members.infolist())
    if unpacked > ROOM + MOST_TIMES * path.stat().st_size:
        raise BadInput(
            f"{path} unpacks to {unpacked:,} bytes, {unpacked // max(1, path.stat().st_size):,} times its size, which "
            "no weights do. It was not read: fetch it from somewhere that you trust."
        )


def take(found: dict[str, Tensor], path: Path, *names: str, layered: bool = False) -> list[Tensor]:
    """The named tensors in float32. Weights are matrices, or with ``layered`` one for each layer.

    Raises BadInput naming the first that is missing or of another shape.
    """
    for name in names:
        if name not in found:
            raise BadInput(f"{path} has no tensor {name!r}. It holds: {shown(', '.join(sorted(found)[:12]))[1:-1]}.")
        _real({name: found[name]}, path)
        last = name.rsplit(".", 1)[-1].lower()
        shape = tuple(found[name].shape)
        if (last == "weight" or last.startswith("w_")) and len(shape) != 2 and not (layered and len(shape) == 3):
            raise BadInput(
                f"{path}: {name} has shape {shape}, and should be a matrix. The file is damaged, or of something else "
                "than such a dictionary."
            )
    return [found[name].float() for name in names]


def settings(path: Path, **kinds: Kind) -> dict[str, Any]:
    """A JSON or YAML file's mapping. Raises BadInput if it is missing or not one, or where what stands under one of the
    names given is of another kind (as for ``checked``)."""
    if not path.exists():
        raise BadInput(f"There is no {path}. The format needs it: fetch it too, beside the weights.")
    text = untrusted.read_text(path, most=MOST_SETTINGS)
    value = untrusted.parse_json(text, path) if path.suffix == ".json" else untrusted.parse_yaml(text, path)
    if not isinstance(value, dict):
        raise BadInput(f"{path} holds a {type(value).__name__}, not settings by name. Check the path.")
    return checked(value, path, **kinds)


def settings_if_there(path: Path, **kinds: Kind) -> dict[str, Any]:
    """The same, or nothing where there is no such file."""
    return settings(path, **kinds) if path.exists() else {}


def checked(said: dict[str, Any], path: Path, **kinds: Kind) -> dict[str, Any]:
    """The settings as they are, once each of those named is of its kind: float is any finite number, int a whole one,
    and null says nothing. Raises BadInput naming the first that is not, with what stands there."""
    for name, kind in kinds.items():
        value, allowed = said.get(name), kind if isinstance(kind, tuple) else (kind,)
        if value is not None and not any(_is(value, each) for each in allowed):
            wanted = " or ".join(_WORDS[each] for each in allowed)
            raise BadInput(f"{path} says {name} = {shown(value)}, which should be {wanted}. The file is damaged.")
    return said


def _is(value: Any, kind: type) -> bool:
    if kind is str:
        return isinstance(value, str) and len(value) <= LONGEST_WORD and value.isprintable()
    if isinstance(value, bool) or kind not in (float, int):
        return isinstance(value, kind)
    if kind is int:
        return isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    return isinstance(value, int | float) and abs(value) < 1e300 and math.isfinite(value)


def needed(said: dict[str, Any], path: Path, *names: str) -> list[Any]:
    """The settings of these names. Raises BadInput naming the first that is missing."""
    for name in names:
        if said.get(name) is None:
            raise BadInput(f"{path} does not say {name!r}, which the format needs. The file is damaged or cut.")
    return [said[name] for name in names]
