"""circuits: how features compute each other.

``transcode`` trains a transcoder for the MLP of every layer of a model in one pass; a ``TranscoderSet`` is the folder
that it writes, and ``measure_replacement`` says what the model loses to it. ``trace`` gives the graph of a prompt:
which features, errors and tokens made its logits, and each other; ``prune`` keeps what influence goes through, and
``verify`` tries it on the model. ``head_loadings`` says which heads an edge goes through, and
``qk_attribution`` why a head looks where it looks. ``head_scores`` and ``copying_scores`` find heads by what they do,
``confirm_heads`` takes them out, and ``moved_features`` says what one moves. ``attribution_json`` is a graph for other
tools' pages, and ``read_attribution_json`` reads theirs. ``supernodes`` groups features, and ``reproduce`` says what of
a graph is found again with other transcoders and on other prompts.
"""

from physalis.circuits.adversarial_pruning import AdversarialPruning, prune_adversarially
from physalis.circuits.attention.copying import CopyingScores, copying_scores
from physalis.circuits.attention.head_ablation import (
    Composition,
    Confirmation,
    composition,
    confirm_heads,
    mean_ablation,
)
from physalis.circuits.attention.head_features import HeadFeatures, compared_features, moved_features
from physalis.circuits.attention.head_scores import Head, HeadScores, head_scores, repeated_tokens
from physalis.circuits.attention.head_weights import Circuit, ov_circuits, qk_circuits
from physalis.circuits.attention.heads import HeadLoadings, head_loadings
from physalis.circuits.attention.qk import Pair, QKAttribution, qk_attribution
from physalis.circuits.bases.cross_layer import CrossLayerSet
from physalis.circuits.bases.mlp_neurons import Neurons
from physalis.circuits.graph import End, Graph, Scores
from physalis.circuits.graph_json import attribution_json
from physalis.circuits.graph_reading import read_attribution_json, read_supernodes
from physalis.circuits.graph_verifying import Verdict, verify
from physalis.circuits.local import LocalReplacementModel
from physalis.circuits.pruning import prune
from physalis.circuits.reproducing import Reproduction, reproduce
from physalis.circuits.sets.replacement import Replaced, Replacement, measure_replacement
from physalis.circuits.sets.transcoder_set import TranscoderSet
from physalis.circuits.sets.transcoding import transcode
from physalis.circuits.supernodes.supernodes import Supernode, Supernodes
from physalis.circuits.targets import Difference, Direction, Target, Targets, Tokens, TopLogits
from physalis.circuits.tracing import trace

__all__ = [
    "AdversarialPruning", "Circuit", "Composition", "Confirmation", "CopyingScores", "CrossLayerSet", "Difference",
    "Direction", "End", "Graph", "Head", "HeadFeatures", "HeadLoadings", "HeadScores", "LocalReplacementModel",
    "Neurons", "Pair", "QKAttribution", "Replaced", "Replacement", "Reproduction", "Scores", "Supernode",
    "Supernodes", "Target", "Targets", "Tokens", "TopLogits", "TranscoderSet", "Verdict", "attribution_json",
    "compared_features", "composition", "confirm_heads", "copying_scores", "head_loadings", "head_scores",
    "mean_ablation", "measure_replacement", "moved_features", "ov_circuits", "prune", "prune_adversarially",
    "qk_attribution", "qk_circuits", "read_attribution_json", "read_supernodes", "repeated_tokens", "reproduce",
    "trace", "transcode", "verify",
]  # fmt: skip
