"""checks: Check, one finding of a verdict: what was looked at, the numbers, and a sentence."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

Outcome = Literal["ok", "wrong", "unverifiable"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """``wrong`` contradicts what the files say, or no dictionary that works looks like it; ``unverifiable`` is neither
    confirmed nor contradicted by what was at hand."""

    name: str
    outcome: Outcome
    sentence: str
    numbers: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """As it is stored in manifests."""
        return asdict(self)


def ok(name: str, sentence: str, **numbers: float) -> Check:
    return Check(name=name, outcome="ok", sentence=sentence, numbers=numbers)


def wrong(name: str, sentence: str, **numbers: float) -> Check:
    return Check(name=name, outcome="wrong", sentence=sentence, numbers=numbers)


def unverifiable(name: str, sentence: str, **numbers: float) -> Check:
    return Check(name=name, outcome="unverifiable", sentence=sentence, numbers=numbers)
