"""weights: a dictionary's tensors in their file, and what must be so before any of them is believed.

Files come from anybody. Shapes are compared with what the settings ask for before memory is, and numbers are finite:
kernels trust them, and one that is not would spread over everything that is measured.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from physalis.artifact import AGAIN, Manifest, check_digest, plain
from physalis.errors import BadInput

LARGEST = 1e9
"""Of a weight: products of larger ones are no numbers in float32. Those in use stay below a thousandth of a millionth
of that."""


def on_disk(name: str) -> str:
    """A parameter's name on disk: W_enc [d_in, features] (stored transposed) and W_dec, as the field writes them."""
    part, _, rest = name.partition(".")
    return ".".join([{"enc": "W_enc", "dec": "W_dec"}.get(part, part), *([rest] if rest else [])])


def turned(name: str, value: Tensor) -> Tensor:
    """A parameter as it lies on disk, or back."""
    return value.T if name.startswith("enc") else value


def check_finite(path: Path, name: str, value: Tensor) -> None:
    """Raise BadInput for a weight that is not finite, or larger than any product could bear."""
    if value.is_floating_point() and not bool(value.abs().max() <= LARGEST if value.numel() else True):
        broken = int((~value.isfinite()).sum())
        what = f"{broken:,} that are not finite (NaN or infinite)" if broken else f"one above {LARGEST:g}"
        raise BadInput(
            f"{path}: among the {value.numel():,} numbers of {name} there are {what}. No dictionary is made of these: "
            "nothing was read or written. Make it again, with a lower learning rate if it was trained here."
        )


def read(path: Path, manifest: Manifest, wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of ``wanted``, which says their names, shapes and dtypes without holding any. Raises BadInput if one
    is missing or another, is not finite, or if the file is not the one that the manifest was written for."""
    plain(path)
    try:
        with safe_open(path, "pt") as f:
            held = set(f.keys())
            for name, like in wanted.items():
                if on_disk(name) not in held:
                    raise BadInput(f"{path} has no tensor {on_disk(name)}. {AGAIN}")
                _check_shape(path, f.get_slice(on_disk(name)), name, like)
            check_digest(path, manifest)
            found = {name: turned(name, f.get_tensor(on_disk(name))) for name in wanted}
    except (OSError, SafetensorError) as error:
        raise BadInput(f"{path} cannot be read ({error}). The folder is damaged: delete it and train again.") from error
    for name, value in found.items():
        check_finite(path, on_disk(name), value)
        if not value.is_floating_point() and not 0 <= int(value.min()) <= int(value.max()) < value.numel():
            raise BadInput(f"{path}: {on_disk(name)} counts features, and names one that there is not. {AGAIN}")
    return found


_DTYPES = {torch.float32: "F32", torch.int64: "I64"}


def _check_shape(path: Path, found: object, name: str, like: Tensor) -> None:
    shape, dtype = found.get_shape(), found.get_dtype()  # pyright: ignore[reportAttributeAccessIssue]
    wanted = list(turned(name, like).shape)
    if shape != wanted or dtype != _DTYPES[like.dtype]:
        raise BadInput(
            f"{path}: {on_disk(name)} is {dtype} {shape}, and should be {_DTYPES[like.dtype]} {wanted} by the settings "
            f"in its manifest. {AGAIN}"
        )
