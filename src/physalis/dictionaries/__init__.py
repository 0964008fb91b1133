"""Sparse dictionaries: one architecture a file, listed once in ARCHITECTURES; load() reads any of them."""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from physalis import artifact
from physalis.artifact import Manifest
from physalis.dictionaries import weights
from physalis.dictionaries.architectures.batchtopk import BatchTopK, BatchTopKConfig
from physalis.dictionaries.architectures.crosscoder import Crosscoder, CrosscoderConfig
from physalis.dictionaries.architectures.crosslayer import CrossLayer, CrossLayerConfig
from physalis.dictionaries.architectures.gated import Gated, GatedConfig
from physalis.dictionaries.architectures.jumprelu import JumpReLU, JumpReLUConfig
from physalis.dictionaries.architectures.l1 import L1, L1Config
from physalis.dictionaries.architectures.l1resampled import L1Resampled, L1ResampledConfig
from physalis.dictionaries.architectures.listamatryoshka import ListaMatryoshka, ListaMatryoshkaConfig
from physalis.dictionaries.architectures.matchingpursuit import MatchingPursuit, MatchingPursuitConfig
from physalis.dictionaries.architectures.matryoshka import Matryoshka, MatryoshkaConfig
from physalis.dictionaries.architectures.topk import TopK, TopKConfig
from physalis.dictionaries.base import Dictionary, Loss, Shape, Tick
from physalis.dictionaries.linear import Linear
from physalis.errors import BadInput
from physalis.runtime.device import compute_dtype

__all__ = [
    "ARCHITECTURES", "L1", "BatchTopK", "BatchTopKConfig", "CrossLayer", "CrossLayerConfig", "Crosscoder",
    "CrosscoderConfig", "Dictionary", "Gated", "GatedConfig", "JumpReLU", "JumpReLUConfig", "L1Config", "L1Resampled",
    "L1ResampledConfig", "Linear", "ListaMatryoshka", "ListaMatryoshkaConfig", "Loss", "MatchingPursuit",
    "MatchingPursuitConfig", "Matryoshka", "MatryoshkaConfig", "Shape", "Tick", "TopK", "TopKConfig", "across",
    "architecture", "architecture_of", "having", "load", "make", "save",
]  # fmt: skip

ARCHITECTURES: tuple[type[Dictionary], ...] = (
    TopK, BatchTopK, JumpReLU, L1, L1Resampled, Gated, Matryoshka, ListaMatryoshka, MatchingPursuit, Crosscoder,
    CrossLayer,
)  # fmt: skip
"""Every architecture. A new one is one file and one word here."""

WEIGHTS = "dictionary.safetensors"


def architecture(name: str) -> type[Dictionary]:
    """The architecture of that name, whatever its case. Raises BadInput listing those there are."""
    for each in ARCHITECTURES:
        if each.__name__.lower() == name.lower():
            return each
    names = ", ".join(each.__name__.lower() for each in ARCHITECTURES)
    raise BadInput(f"There is no dictionary architecture {name!r}. Choose one of: {names}.")


def architecture_of(config: Shape) -> type[Dictionary]:
    """The architecture that a config belongs to. Raises BadInput for one of a class that is not listed."""
    for each in ARCHITECTURES:
        if each.__init__.__annotations__["config"] is type(config):
            return each
    raise BadInput(
        f"{type(config).__name__} is the config of no architecture in physalis.dictionaries.ARCHITECTURES. Add the "
        "class that takes it there, so that what is trained can be read again: "
        "`dictionaries.ARCHITECTURES += (YourDictionary,)`."
    )


def make(name: str, config: dict[str, Any]) -> Dictionary:
    """A dictionary from its architecture's name and its config's fields. Raises BadInput for an unknown field or a
    missing one."""
    kind = architecture(name)
    config_type = kind.__init__.__annotations__["config"]
    unknown = sorted(set(config) - set(config_type.__dataclass_fields__))
    if unknown:
        raise BadInput(
            f"{kind.__name__} has no setting {unknown[0]!r}. It has: {', '.join(config_type.__dataclass_fields__)}."
        )
    needed = [name for name, each in config_type.__dataclass_fields__.items() if each.default is MISSING]
    if missing := [name for name in needed if name not in config]:
        raise BadInput(f"{kind.__name__} needs a setting {missing[0]!r}, which is not given.")
    return kind(config_type(**{name: _frozen(value) for name, value in config.items()}))


def having(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the settings that are fields of the architecture's config."""
    fields = architecture(name).__init__.__annotations__["config"].__dataclass_fields__
    return {field: value for field, value in settings.items() if field in fields}


def across(name: str, reads: Sequence[int], writes: Sequence[int] = ()) -> dict[str, Any]:
    """The config's fields that follow from the widths of the sites that are read, and of those that are predicted where
    these are others. Raises BadInput where an architecture cannot have them."""
    fields = architecture(name).__init__.__annotations__["config"].__dataclass_fields__
    shape: dict[str, Any] = {"d_in": sum(reads), "d_out": sum(writes or reads)}
    if "sites" in fields:
        if len(writes or reads) < 2:
            raise BadInput(f"{name} is of several sites; received one. Give more, or choose another --dictionary.")
        shape["sites"] = tuple(writes or reads)
    if "layers" in fields:
        if writes and len(writes) != len(reads):
            raise BadInput(
                f"A cross-layer transcoder writes as many layers as it reads; received {len(reads)} to read and "
                f"{len(writes)} to write."
            )
        shape["layers"] = len(reads)
    return shape


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value  # JSON has no tuples


def save(dictionary: Dictionary, folder: Path) -> str:
    """Write the weights as W_enc [d_in, features], W_dec [features, d_out], biases; returns the file's name. Raises
    BadInput, before anything is written, if one is not finite."""
    tensors = {}
    for name, value in dictionary.state_dict().items():
        value = value.detach().cpu()
        weights.check_finite(folder / WEIGHTS, weights.on_disk(name), value)
        tensors[weights.on_disk(name)] = weights.turned(name, value).contiguous().clone()
    artifact.write_atomic(folder / WEIGHTS, lambda path: save_file(tensors, path))
    return WEIGHTS


def load(folder: str | Path, *, dtype: torch.dtype | None = None, device: torch.device | str = "cpu") -> Dictionary:
    """Read a trained dictionary onto ``device``. It takes raw activations.

    ``dtype`` is what features are proposed in, bfloat16 where the processor has it unless given; exact numbers decide,
    and values are float32.
    Raises BadInput if the folder is not a dictionary, or is damaged: what the manifest says and what the file holds
    must fit, and every number be finite.
    """
    folder = Path(folder)
    manifest = artifact.read(folder, "dictionary")
    found = weights.read(folder / WEIGHTS, manifest, _described(folder, manifest).state_dict())
    dictionary = make(manifest.config["architecture"], manifest.config["dictionary"])
    dictionary.load_state_dict(found)
    dictionary.requires_grad_(False)
    dictionary.to(device)
    dictionary.compute_in(dtype or compute_dtype(torch.device(device)))
    return dictionary


def _described(folder: Path, manifest: Manifest) -> Dictionary:
    """The dictionary that a manifest describes, without memory for its weights: 10^12 features cost nothing yet."""
    path = folder / artifact.MANIFEST
    try:
        with torch.device("meta"):
            return make(manifest.config["architecture"], manifest.config["dictionary"])
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from error
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        said = (str(error) or type(error).__name__).splitlines()[0][:120]
        raise BadInput(f"{path}: there is no dictionary of such settings ({said}). {artifact.MISFIT}") from error
