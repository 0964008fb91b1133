"""Experiments whose outcome is published: each is run, held against what its paper says, and beside a control that must
fail."""

from physalis.errors import BadInput
from physalis.lab.checks import Check, Experiment
from physalis.lab.experiments.attention import bigrams, induction, smearing, trigrams
from physalis.lab.experiments.mechanisms import codes, faithfulness, interference
from physalis.lab.experiments.memorization import decay, descents, grokking, mislabelled, polygons, repeats
from physalis.lab.experiments.toy_models import (
    absolute,
    bases,
    correlation,
    dynamics,
    geometry,
    perturbation,
    phases,
    superposition,
    triples,
    vulnerability,
)

EXPERIMENTS = (
    Experiment("TMS-1", superposition.check, fast=True, explore=superposition.explore),
    Experiment("TMS-2", phases.check, fast=False, explore=phases.explore),
    Experiment("TMS-3", triples.check, fast=False, explore=triples.explore),
    Experiment("TMS-4", geometry.check, fast=False, explore=geometry.explore),
    Experiment("TMS-5", perturbation.check, fast=False, explore=perturbation.explore),
    Experiment("TMS-6", correlation.check, fast=False, explore=correlation.explore),
    Experiment("TMS-7", dynamics.check, fast=True, explore=dynamics.explore),
    Experiment("TMS-8", vulnerability.check, fast=False, explore=vulnerability.explore),
    Experiment("TMS-9", bases.check, fast=False, explore=bases.explore),
    Experiment("TMS-10", absolute.check, fast=False, explore=absolute.explore),
    Experiment("DD-1", polygons.check, fast=False, explore=polygons.explore),
    Experiment("DD-2", descents.check, fast=False, explore=descents.explore),
    Experiment("DD-3", decay.check, fast=False, explore=decay.explore),
    Experiment("DD-4", repeats.check, fast=False, explore=repeats.explore),
    Experiment("DD-5", mislabelled.check, fast=True, explore=mislabelled.explore),
    Experiment("COMP-1", codes.check, fast=True, explore=codes.explore),
    Experiment("INT-1", interference.check, fast=False, explore=interference.explore),
    Experiment("FAITH-1", faithfulness.check, fast=True, explore=faithfulness.explore),
    Experiment("FRAME-1", trigrams.check, fast=True, explore=trigrams.explore),
    Experiment("FRAME-2", bigrams.check, fast=True, explore=bigrams.explore),
    Experiment("IND-1", induction.check, fast=False, explore=induction.explore),
    Experiment("IND-2", smearing.check, fast=False, explore=smearing.explore),
    Experiment("GROK-1", grokking.check, fast=False, explore=grokking.explore),
)


def find_experiments(ids: list[str] | None = None, *, slow: bool = False) -> list[Experiment]:
    """The experiments of these ids; without ids the fast ones, or all. Raises BadInput for an unknown id."""
    known = {experiment.id: experiment for experiment in EXPERIMENTS}
    unknown = [name for name in ids or () if name.upper() not in known]
    if unknown:
        raise BadInput(f"There is no experiment {unknown[0]!r}. Choose from {', '.join(known)}.")
    return [known[name.upper()] for name in ids] if ids else [e for e in EXPERIMENTS if e.fast or slow]


__all__ = ["EXPERIMENTS", "Check", "Experiment", "find_experiments"]
