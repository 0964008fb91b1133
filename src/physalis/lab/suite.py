"""run_suite(): bring your own method, and see which of the traps it survives.

A method is any object with one or more of these, plain arrays in and out (``lab.traps.base`` has the whole text):

    find_features(activations [n, d], n_features, k) -> directions [features, d]
    find_codes(activations [n, d], n_features, k) -> codes [n, features], directions [features, d]
    attribute(network, inputs [n, inputs]) -> importance [n, inputs]
    fit_probe(x [n, d], y [n]) -> predict, with predict(x [n, d]) -> classes [n]
    explain(activations [n], concepts [n, concepts]) -> shares [concepts]
    ablate(model, inputs [n, inputs]) -> importance [parts]

NaN says "cannot be known". A trap is survived where the method is right, or says so, and is right in the same task
without the trap; a method that is never right survives nothing.
"""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from physalis.errors import BadInput
from physalis.lab.traps import (
    PROTOCOLS,
    TRAPS,
    Ablation,
    Attribution,
    Coder,
    Explainer,
    FeatureFinder,
    Network,
    Parted,
    Probe,
    Trace,
    Trap,
)
from physalis.runtime.progress import progress

__all__ = [
    "Ablation", "Attribution", "Coder", "Explainer", "FeatureFinder", "Line", "Network", "Parted", "Probe",
    "ReportCard", "Trace", "run_suite",
]  # fmt: skip


@dataclass(frozen=True)
class Line:
    """How a method fared in one trap."""

    id: str
    trap: str
    protocol: str
    survived: bool
    wrong: float
    """NaN where it said that it cannot know."""
    control: float
    most: float
    """How wrong it could have been, in either."""
    measures: str
    why: str


@dataclass(frozen=True)
class ReportCard:
    """A method's way through the traps that fit it."""

    method: str
    seed: int
    lines: tuple[Line, ...]

    @property
    def survived(self) -> int:
        return sum(line.survived for line in self.lines)

    def to_dict(self) -> dict[str, Any]:
        """For JSON: NaN is null."""
        rows = [
            {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in row.items()}
            for row in map(asdict, self.lines)
        ]
        return {"method": self.method, "seed": self.seed, "survived": self.survived, "of": len(rows), "lines": rows}

    def __str__(self) -> str:
        head = f"{self.method}: {self.survived} of {len(self.lines)} survived (0 is right; control: without the trap)"
        rows = [
            f"  {line.id}  {line.trap:32}{'survived' if line.survived else 'fell':10}"
            f"{_number(line.wrong):>6}  control {_number(line.control):>5}  up to {line.most:<5g}{line.why}"
            for line in self.lines
        ]
        return "\n".join([head, *rows])


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f}"


def run_suite(method: Any, seed: int = 0, *, ids: Iterable[str] | None = None) -> ReportCard:
    """Try a method in every trap that fits it, or in those of the counterexamples ``ids``.

    Raises BadInput if it has none of the functions, if it is a class and not an object, if it answers in another shape
    than asked for, or if no trap that fits it belongs to the ids.
    """
    fits = () if isinstance(method, type) else tuple(p for p in PROTOCOLS if isinstance(method, p))
    if not fits:
        what = f"the class {method.__name__}" if isinstance(method, type) else f"a {type(method).__name__}"
        names = "find_features, find_codes, attribute, fit_probe, explain or ablate"
        raise BadInput(
            f"run_suite takes an object that has one of {names}; received {what}, which is none. See help(lab.suite)."
        )
    wanted = None if ids is None else {name.upper() for name in ids}
    traps = [trap for trap in TRAPS if trap.protocol in fits and (wanted is None or trap.id in wanted)]
    if not traps:
        raise BadInput(
            f"No trap of {', '.join(sorted(wanted or ()))} fits this method. Those that do: "
            f"{', '.join(sorted({trap.id for trap in TRAPS if trap.protocol in fits}))}."
        )
    name = getattr(method, "name", type(method).__name__)
    lines = []
    with progress(str(name), len(traps), "traps") as advance:
        for trap in traps:
            advance(0, note=trap.name)
            lines.append(_line(trap, method, seed))
            advance(1)
    return ReportCard(str(name), seed, tuple(lines))


def _line(trap: Trap, method: Any, seed: int) -> Line:
    outcome = trap.run(method, seed)
    return Line(
        id=trap.id,
        trap=trap.name,
        protocol=trap.protocol.__name__,
        survived=trap.survived(outcome),
        wrong=outcome.wrong,
        control=outcome.control,
        most=trap.most,
        measures=trap.measures,
        why=trap.why(outcome),
    )
