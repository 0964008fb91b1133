"""physalis opens up neural networks: activations, dictionaries of features, and an atlas to read them in."""

import os
import sys
from typing import TYPE_CHECKING

from physalis.lazy import lazy
from physalis.renamed import Finder

__version__ = "0.1.0"

# torch and numba each bring an OpenMP of their own. One's idle threads would spin on the cores that the other needs:
# on 2 busy cores a small operation after a kernel then took 8 ms instead of under 1. Read when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

if TYPE_CHECKING:
    from physalis.activations import Activations, Pairs, View
    from physalis.atlas import Atlas
    from physalis.atlas.build.building import build_atlas
    from physalis.circuits import Graph, TranscoderSet, trace, transcode
    from physalis.codes import StoredCodes, encode
    from physalis.dead_features import explain_dead_features
    from physalis.dictionaries import BatchTopKConfig, TopKConfig, load
    from physalis.display.tables import table
    from physalis.errors import BadInput
    from physalis.evaluation import Evaluation, evaluate
    from physalis.exchange import convert
    from physalis.explanations import Explanations, explain, program_share, reach
    from physalis.judging import Scores, Words, describe, score
    from physalis.models import load_model
    from physalis.recording import record, stream
    from physalis.site import Site
    from physalis.steering import dose_response, steer
    from physalis.suites import Suite, evaluate_suite
    from physalis.sweeping import sweep
    from physalis.training import finetune, plan, train
    from physalis.verifying import verify
    from physalis.web.notebooks.showing import show
    from physalis.web.server.serving import serve, watch

_HOME = {
    "Activations": "activations", "Atlas": "atlas", "BadInput": "errors", "BatchTopKConfig": "dictionaries",
    "Evaluation": "evaluation", "Pairs": "activations", "Scores": "judging", "Site": "site",
    "Suite": "suites", "Words": "judging", "describe": "judging", "evaluate_suite": "suites", "score": "judging",
    "TopKConfig": "dictionaries",
    "View": "activations", "StoredCodes": "codes", "build_atlas": "atlas.build.building", "convert": "exchange",
    "dose_response": "steering",
    "Explanations": "explanations", "encode": "codes", "evaluate": "evaluation", "explain": "explanations",
    "program_share": "explanations", "reach": "explanations",
    "explain_dead_features": "dead_features",
    "Graph": "circuits", "TranscoderSet": "circuits", "trace": "circuits", "transcode": "circuits",
    "finetune": "training", "load": "dictionaries", "load_model": "models", "plan": "training", "record": "recording",
    "serve": "web.server.serving", "show": "web.notebooks.showing", "steer": "steering", "stream": "recording",
    "sweep": "sweeping", "table": "display.tables", "train": "training", "verify": "verifying",
    "watch": "web.server.serving",
}  # fmt: skip
"""Public name to the module that defines it, imported on first use: ``import physalis`` does not import torch."""

__all__ = [
    "Activations", "Atlas", "BadInput", "BatchTopKConfig", "Evaluation", "Explanations", "Graph", "Pairs", "Scores",
    "Site", "StoredCodes", "Suite", "TopKConfig", "TranscoderSet", "View", "Words", "build_atlas", "convert",
    "describe", "dose_response", "encode", "evaluate", "evaluate_suite", "explain", "explain_dead_features",
    "finetune", "load", "load_model", "plan", "program_share", "reach", "record", "score", "serve", "show", "steer",
    "stream", "sweep", "table", "trace", "train", "transcode", "verify", "watch",
]  # fmt: skip

__getattr__, __dir__ = lazy(__name__, _HOME, renamed={"explain_deaths": "explain_dead_features"})
sys.meta_path.insert(0, Finder())
