"""circuits: how features compute each other.

``transcode`` trains a transcoder for the MLP of every layer of a model in one pass; a ``TranscoderSet`` is the folder
that it writes, and ``measure_replacement`` says what the model loses to it. ``trace`` gives the graph of a prompt:
which features, errors and tokens made its logits, and each other; ``prune`` keeps what influence goes through, and
``verify`` tries it on the model. ``head_loadings`` says which heads an edge goes through, and
``qk_attribution`` why a head looks where it looks. ``attribution_json`` is a graph for other tools' pages.
"""

from physalis.circuits.attention.heads import HeadLoadings, head_loadings
from physalis.circuits.attention.qk import Pair, QKAttribution, qk_attribution
from physalis.circuits.graph import End, Graph, Scores
from physalis.circuits.graph_json import attribution_json
from physalis.circuits.graph_verifying import Verdict, verify
from physalis.circuits.local import LocalReplacementModel
from physalis.circuits.pruning import prune
from physalis.circuits.sets.replacement import Replaced, Replacement, measure_replacement
from physalis.circuits.sets.transcoder_set import TranscoderSet
from physalis.circuits.sets.transcoding import transcode
from physalis.circuits.targets import Difference, Direction, Target, Targets, Tokens, TopLogits
from physalis.circuits.tracing import trace

__all__ = [
    "Difference", "Direction", "End", "Graph", "HeadLoadings", "LocalReplacementModel", "Pair", "QKAttribution",
    "Replaced", "Replacement", "Scores", "Target", "Targets", "Tokens", "TopLogits", "TranscoderSet", "Verdict",
    "attribution_json", "head_loadings", "measure_replacement", "prune", "qk_attribution", "trace", "transcode",
    "verify",
]  # fmt: skip
