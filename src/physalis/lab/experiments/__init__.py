"""Experiments whose outcome is published: each is run, held against what its paper says, and beside a control that must
fail."""

from physalis.errors import BadInput
from physalis.lab.checks import Check, Experiment
from physalis.lab.experiments import codes, correlation, phases, superposition

EXPERIMENTS = (
    Experiment("TMS-1", superposition.check, fast=True, explore=superposition.explore),
    Experiment("TMS-2", phases.check, fast=False),
    Experiment("TMS-6", correlation.check, fast=False),
    Experiment("COMP-1", codes.check, fast=True),
)


def find_experiments(ids: list[str] | None = None, *, slow: bool = False) -> list[Experiment]:
    """The experiments of these ids; without ids the fast ones, or all. Raises BadInput for an unknown id."""
    known = {experiment.id: experiment for experiment in EXPERIMENTS}
    unknown = [name for name in ids or () if name.upper() not in known]
    if unknown:
        raise BadInput(f"There is no experiment {unknown[0]!r}. Choose from {', '.join(known)}.")
    return [known[name.upper()] for name in ids] if ids else [e for e in EXPERIMENTS if e.fast or slow]


__all__ = ["EXPERIMENTS", "Check", "Experiment", "find_experiments"]
