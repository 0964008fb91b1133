"""basis: Basis, what a graph can be read in, and what each says of a prompt."""

from collections.abc import Sequence
from pathlib import Path

from jaxtyping import Int64
from torch import Tensor

from physalis import artifact
from physalis.circuits.bases.cross_layer import CrossLayerSet, cross_layer_places
from physalis.circuits.bases.mlp_neurons import Neurons, neuron_places
from physalis.circuits.bases.per_layer import transcoder_places
from physalis.circuits.bases.place import Place
from physalis.circuits.sets.transcoder_set import TranscoderSet
from physalis.models import Model
from physalis.placement.origin import Origin

Basis = TranscoderSet | CrossLayerSet | Neurons
"""A set of transcoders, a cross-layer transcoder, or the model's own neurons."""


def open_basis(folder: Path | str) -> TranscoderSet | CrossLayerSet:
    """What `physalis transcode` wrote, or a cross-layer transcoder that was trained. Raises BadInput for a folder that
    holds neither."""
    if artifact.kind_of(Path(folder)) == "dictionary":
        return CrossLayerSet.open(folder)
    return TranscoderSet.open(folder)


def places_of(model: Model, basis: Basis, tokens: Int64[Tensor, "1 context"]) -> Sequence[Place]:
    """What a basis says of a pass, layer by layer. Raises BadInput as each basis does."""
    match basis:
        case Neurons():
            return neuron_places(model, tokens)
        case CrossLayerSet():
            return cross_layer_places(model, basis, tokens)
        case TranscoderSet():
            return transcoder_places(model, basis, tokens)


def begins(basis: Basis) -> bool:
    """Whether prompts begin with the token that begins a text: then it is not among those that features were trained
    on, and takes what a first position takes."""
    match basis:
        case Neurons():
            return True
        case CrossLayerSet():
            rules = Origin.of(basis.manifest).hygienes
        case TranscoderSet():
            rules = Origin.of(basis.about(basis.layers[0])).hygienes
    return any(rule.skip_first for rule in rules)


def kind(basis: Basis) -> str:
    """What its nodes are, in a word that a graph keeps."""
    match basis:
        case Neurons():
            return "neurons"
        case CrossLayerSet():
            return "cross-layer features"
        case TranscoderSet():
            return "features"
