"""Counterexamples as tasks: a method that believes what one of them refutes falls into it."""

from physalis.lab.traps.ablations import ABLATION_TRAPS
from physalis.lab.traps.attributions import ATTRIBUTION_TRAPS
from physalis.lab.traps.base import (
    PROTOCOLS,
    Ablation,
    Attribution,
    Coder,
    Explainer,
    FeatureFinder,
    Network,
    Outcome,
    Parted,
    Probe,
    Trace,
    Trap,
)
from physalis.lab.traps.explanations import EXPLANATION_TRAPS
from physalis.lab.traps.features import FEATURE_TRAPS
from physalis.lab.traps.probes import PROBE_TRAPS

TRAPS: tuple[Trap, ...] = (
    *FEATURE_TRAPS, *ATTRIBUTION_TRAPS, *PROBE_TRAPS, *EXPLANATION_TRAPS, *ABLATION_TRAPS,
)  # fmt: skip

__all__ = [
    "PROTOCOLS", "TRAPS", "Ablation", "Attribution", "Coder", "Explainer", "FeatureFinder", "Network", "Outcome",
    "Parted", "Probe", "Trace", "Trap",
]  # fmt: skip
