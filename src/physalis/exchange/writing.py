"""writing: what every writer needs of a dictionary of ours, and the refusals they share."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxtyping import Float
from safetensors.torch import save_file
from torch import Tensor

from physalis import artifact, dictionaries
from physalis.artifact import Manifest
from physalis.dictionaries import Crosscoder, CrossLayer, Dictionary, L1Resampled, Linear, MatchingPursuit
from physalis.errors import BadInput
from physalis.exchange.imported import hook_of
from physalis.models.sources.packages import hub_name
from physalis.placement.origin import listed


def load(folder: Path) -> tuple[Dictionary, Manifest]:
    """A stored dictionary with its manifest."""
    return dictionaries.load(folder), artifact.read(folder, "dictionary")


def linear(dictionary: Dictionary, format: str) -> Linear:
    """The dictionary, if it is one matrix in and one out at one site. Raises BadInput naming the reason otherwise."""
    if isinstance(dictionary, CrossLayer):
        raise BadInput(f"{format} has no cross-layer transcoder. Write it as circuit-tracer.")
    if isinstance(dictionary, Crosscoder) and len(dictionary.config.sites) > 1:
        raise BadInput(f"{format} cannot say that a dictionary reads several sites, as a crosscoder does.")
    assert isinstance(dictionary, Linear)
    return dictionary


def refuse(dictionary: Dictionary, format: str, why: str) -> BadInput:
    """The error for an architecture that a format cannot say."""
    return BadInput(f"{format} cannot hold this {type(dictionary).__name__}: {why}.")


def centre_of(d: Linear) -> Float[Tensor, " d_in"]:
    """What is subtracted from the input before the encoder's product, all in all."""
    tied = isinstance(d, MatchingPursuit) or (isinstance(d, L1Resampled) and d.config.d_in == d.config.d_out)
    return d.centre + d.b_dec.data if tied else d.centre


def bias_around(d: Linear, centre: Float[Tensor, " d_in"]) -> Float[Tensor, " features"]:
    """The encoder's bias for inputs from which ``centre`` is subtracted instead of the dictionary's own."""
    moved = d.enc.data.double() @ (centre.double() - centre_of(d).double())
    return (d.b_enc.data.double() + moved).float()


def raw_bias(d: Linear) -> Float[Tensor, " d_out"]:
    """The output bias where a skip path multiplies the input as it comes."""
    if d.skip is None:
        return d.b_dec.data
    return (d.b_dec.data.double() - d.skip.data.double() @ centre_of(d).double()).float()


def sites(manifest: Manifest) -> tuple[list[str], list[str]]:
    """(where it reads, where it writes), as far as the manifest says; the same for an autoencoder."""
    reads = listed(manifest.config.get("site"))
    return reads, listed(manifest.config.get("writes")) or reads


def model(manifest: Manifest) -> str | None:
    """The one model's name as other tools know it; None where the manifest names none, or several."""
    named = manifest.config.get("model")
    return hub_name(named) if isinstance(named, str) else None


def is_transcoder(d: Linear, manifest: Manifest) -> bool:
    """Whether it predicts something else than it reads."""
    reads, writes = sites(manifest)
    return d.config.d_in != d.config.d_out or reads != writes


def hooks(manifest: Manifest) -> tuple[str | None, str | None]:
    """The one site it reads and the one it writes, in TransformerLens's words, where the manifest names them."""
    reads, writes = sites(manifest)
    return hook_of(reads[0]) if len(reads) == 1 else None, hook_of(writes[0]) if len(writes) == 1 else None


def bos(manifest: Manifest) -> bool | None:
    """Whether contexts began with a BOS token, where the manifest says."""
    hygiene = manifest.config.get("hygiene") or {}
    each = [hygiene] if "skip_first" in hygiene else list(hygiene.values())  # one rule, or one for each joined site
    return each[0]["skip_first"] if each else None


@dataclass(frozen=True, slots=True)
class Written:
    """What a format holds of some dictionaries, by file name."""

    tensors: dict[str, dict[str, Tensor]]
    """Files of weights, float32 as .safetensors."""
    settings: dict[str, dict[str, Any]]
    """Files of settings, as JSON, which is YAML too."""

    def put(self, folder: Path) -> list[str]:
        """Write each file whole or not at all, settings last; returns their names."""
        for name, tensors in self.tensors.items():
            own = {each: value.detach().cpu().float().contiguous().clone() for each, value in tensors.items()}
            artifact.write_atomic(folder / name, lambda temporary, own=own: save_file(own, temporary))
        for name, value in self.settings.items():
            artifact.write_json(folder / name, value)
        return [*self.tensors, *self.settings]
