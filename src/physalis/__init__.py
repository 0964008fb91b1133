"""physalis opens up neural networks: activations, dictionaries of features, and an atlas to read them in."""

import importlib
import os
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# torch and numba each bring an OpenMP of their own. One's idle threads would spin on the cores that the other needs:
# on 2 busy cores a small operation after a kernel then took 8 ms instead of under 1. Read when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

if TYPE_CHECKING:
    from physalis.activations import Activations, Pairs
    from physalis.atlas import Atlas
    from physalis.atlas.building import build_atlas
    from physalis.dataframes import table
    from physalis.deaths import explain_deaths
    from physalis.dictionaries import BatchTopKConfig, TopKConfig, load
    from physalis.errors import BadInput
    from physalis.evaluation import Evaluation, evaluate
    from physalis.exchange import convert
    from physalis.finetuning import finetune
    from physalis.models import load_model
    from physalis.planning import plan
    from physalis.recording import record, stream
    from physalis.site import Site
    from physalis.steering import dose_response, steer
    from physalis.sweeping import sweep
    from physalis.training import train
    from physalis.verifying import verify
    from physalis.web.serving import serve, watch
    from physalis.web.showing import show

_HOME = {
    "Activations": "activations", "Atlas": "atlas", "BadInput": "errors", "BatchTopKConfig": "dictionaries",
    "Pairs": "activations", "Site": "site", "TopKConfig": "dictionaries", "build_atlas": "atlas.building",
    "convert": "exchange", "dose_response": "steering", "Evaluation": "evaluation", "evaluate": "evaluation",
    "explain_deaths": "deaths", "finetune": "finetuning", "load": "dictionaries",
    "load_model": "models", "plan": "planning", "record": "recording", "serve": "web.serving", "show": "web.showing",
    "stream": "recording",
    "steer": "steering", "sweep": "sweeping", "table": "dataframes", "train": "training",
    "verify": "verifying",
    "watch": "web.serving",
}  # fmt: skip
"""Public name to the module that defines it, imported on first use: ``import physalis`` does not import torch."""

__all__ = [
    "Activations", "Atlas", "BadInput", "BatchTopKConfig", "Evaluation", "Pairs", "Site", "TopKConfig", "build_atlas",
    "convert", "dose_response", "evaluate", "explain_deaths", "finetune", "load", "load_model", "plan", "record",
    "serve", "show", "steer", "stream", "sweep", "table", "train", "verify", "watch",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'physalis' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"physalis.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
