"""Counterexample: a belief, the smallest model in which it is false, and the gap measured there over seeds."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from physalis.errors import BadInput
from physalis.lab.checks import Finding


@dataclass(frozen=True)
class Gap:
    """What one seed gave: what the naive method says and what is true, on one scale, here and in the control."""

    naive: float
    truth: float
    control_naive: float
    control_truth: float
    beside: Mapping[str, float] = field(default_factory=dict)
    """Other numbers of the same model, under the names that ``Counterexample.beside`` bounds."""

    @property
    def gap(self) -> float:
        return abs(self.naive - self.truth)

    @property
    def control_gap(self) -> float:
        return abs(self.control_naive - self.control_truth)


@dataclass(frozen=True, kw_only=True)
class Counterexample:
    """A trap whose ground truth is known. The control is the same trap with its cause taken out, where the naive method
    must be right: a gap that stays there has another cause than the one named."""

    id: str
    belief: str
    model: str
    """The smallest model in which it is false."""
    naive: str
    """What the naive method says."""
    truth: str
    scale: str
    """What both numbers are numbers of."""
    control: str
    source: str
    warns: str
    """Which output of physalis warns of it."""
    run: Callable[[int], Gap]
    """One seed."""
    least: float
    """The gap that it must have."""
    spared: float
    """The gap that the control may have."""
    beside: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """What else must hold: a number's name, its lower and its upper bound."""
    fast: bool = True
    """Whether a seed takes less than about two seconds."""

    def to_dict(self) -> dict[str, Any]:
        """For JSON: what it says, without its numbers."""
        said = ("id", "belief", "model", "naive", "truth", "scale", "control", "source", "warns")
        return {name: getattr(self, name) for name in said}


@dataclass(frozen=True)
class Measured:
    """A counterexample over seeds."""

    counterexample: Counterexample
    seeds: tuple[int, ...]
    findings: tuple[Finding, ...]
    """What the naive method said, what is true, the gap, and what else must hold: the medians count."""
    control_findings: tuple[Finding, ...]
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether the gap is there and goes with its cause."""
        return all(finding.holds for finding in (*self.findings, *self.control_findings))

    @property
    def gap(self) -> Finding:
        return self.findings[2]

    @property
    def control_gap(self) -> Finding:
        return self.control_findings[2]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return self.counterexample.to_dict() | {
            "seeds": list(self.seeds),
            "findings": [finding.to_dict() for finding in self.findings],
            "control_findings": [finding.to_dict() for finding in self.control_findings],
            "passed": self.passed,
            "seconds": self.seconds,
        }


def measure(counterexample: Counterexample, seeds: Sequence[int] = (0, 1, 2)) -> Measured:
    """Run a counterexample once for each seed. Raises BadInput without seeds."""
    if not seeds:
        raise BadInput("A counterexample is measured on at least one seed; received none.")
    began = time.perf_counter()
    gaps = [counterexample.run(int(seed)) for seed in seeds]
    findings = [
        Finding.over("what the naive method says", [gap.naive for gap in gaps]),
        Finding.over("what is true", [gap.truth for gap in gaps]),
        Finding.over("the gap", [gap.gap for gap in gaps], low=counterexample.least),
    ]
    findings += [
        Finding.over(name, [gap.beside[name] for gap in gaps], low, high)
        for name, (low, high) in counterexample.beside.items()
    ]
    control = (
        Finding.over("what the naive method says of the control", [gap.control_naive for gap in gaps]),
        Finding.over("what is true of the control", [gap.control_truth for gap in gaps]),
        Finding.over("the control's gap", [gap.control_gap for gap in gaps], high=counterexample.spared),
    )
    seconds = round(time.perf_counter() - began, 2)
    return Measured(counterexample, tuple(int(seed) for seed in seeds), tuple(findings), control, seconds)
