"""Check: what an experiment of the lab claims, what was measured, and the control that must fail it."""

import math
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, SupportsFloat

from physalis.display.reprs import Displayed
from physalis.lab.pages import Page


@dataclass(frozen=True)
class Finding:
    """One statement held against numbers: it holds where ``low <= value <= high``."""

    what: str
    value: float
    low: float = float("-inf")
    high: float = float("inf")
    seeds: tuple[float, ...] = ()
    """The value of each seed, where there were several; none where nothing was drawn at random."""

    @classmethod
    def over(
        cls, what: str, seeds: Iterable[SupportsFloat], low: float = float("-inf"), high: float = float("inf")
    ) -> "Finding":
        """The median over seeds, and what each gave."""
        each = tuple(float(value) for value in seeds)
        return cls(what, statistics.median(each), low, high, each)

    @property
    def holds(self) -> bool:
        return bool(self.low <= self.value <= self.high)  # numpy's scalars compare to a bool of its own

    def to_dict(self) -> dict[str, Any]:
        """For JSON, which has no infinity and no NaN: bounds that do not exist and what could not be measured are
        null."""
        ends = {end: _finite(getattr(self, end)) for end in ("value", "low", "high")}
        return {"what": self.what, **ends, "seeds": [_finite(each) for each in self.seeds], "holds": self.holds}


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


@dataclass(frozen=True)
class Check(Displayed):
    """An experiment's verdict. It passes where every finding holds and the control fails at least one of its own: a
    check that its control passes says nothing."""

    id: str
    claim: str
    """What the paper says."""
    source: str
    findings: tuple[Finding, ...]
    control: str
    """What the control is: a random, linear or shuffled stand-in."""
    control_findings: tuple[Finding, ...]
    """The same statements about the control, or those of them that it should fail."""
    seconds: float = 0.0

    def __repr__(self) -> str:
        held = sum(finding.holds for finding in self.findings)
        verdict = "passed" if self.passed else "failed"
        return f"Check({self.id!r}, {verdict}: {held} of {len(self.findings)} findings hold)"

    @property
    def control_fails(self) -> bool:
        return not all(finding.holds for finding in self.control_findings)

    @property
    def passed(self) -> bool:
        return all(finding.holds for finding in self.findings) and self.control_fails

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "id": self.id,
            "claim": self.claim,
            "source": self.source,
            "findings": [finding.to_dict() for finding in self.findings],
            "control": self.control,
            "control_findings": [finding.to_dict() for finding in self.control_findings],
            "seconds": self.seconds,
            "control_fails": self.control_fails,
            "passed": self.passed,
        }


@dataclass(frozen=True)
class Experiment:
    """An experiment that can be checked and shown."""

    id: str
    check: Callable[[], Check]
    fast: bool
    """Whether it belongs to the set that the tests run."""
    explore: Callable[[], Page]
    """Runs what its page shows."""

    def run(self) -> Check:
        began = time.perf_counter()
        made = self.check()
        return Check(**{**made.__dict__, "seconds": round(time.perf_counter() - began, 2)})
