"""What is said of dead features: a record for each of them, for each cause, and for each repeat of a training."""

from dataclasses import asdict, dataclass
from typing import Any

from physalis.display import tables
from physalis.metrics import Interval

INITIAL_SCALE, CENTRING, OUTLIERS = "initial scale", "centring", "outlier dimensions"
LEARNING_RATE, PENALTY, RARITY, REDUNDANCY = "learning rate", "penalty", "rarity", "redundancy"
UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadFeature:
    """One dead feature."""

    id: int
    cause: str
    last_fired: int | None
    """Tokens that training had seen when it last fired; 0 if it never did, None if nobody kept it."""
    numbers: dict[str, float]
    """What was measured of it; ``docs/dead-features.md`` says what each number is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """The first steps of the training repeated, with one thing changed or, for ``name`` "as it was", with none."""

    name: str
    dead: int
    """Features that fire on none of the rows that it was judged on."""
    saved: int
    """Of the dead features of the dictionary that died in the repeat without a change, those that live with it."""
    fvu: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """A cause, the number of features that it explains, the evidence, and what to do."""

    name: str
    features: int
    because: str
    fix: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadFeatures:
    """How many features of a dictionary are dead, and why."""

    n_features: int
    n_tokens: int
    """On which firing was counted."""
    dead: Interval
    """``{value, low, high}``: the share of features that fired on none of them, with Wilson's 95 % interval."""
    never_fired: int | None
    """Dead features that did not fire in training either; None if nobody kept it."""
    curve: tuple[tuple[int, int], ...]
    """(tokens seen, features dead by then) through the training, from its log."""
    causes: tuple[Cause, ...]
    """The most frequent first."""
    trials: tuple[Trial, ...]
    features: tuple[DeadFeature, ...]
    notes: tuple[str, ...]
    """Sentences: what could not be looked at, and why."""

    @property
    def n_dead(self) -> int:
        return len(self.features)

    def __repr__(self) -> str:
        causes = ", ".join(f"{each.features:,} of {each.name}" for each in self.causes)
        return f"DeadFeatures({self.n_dead:,} of {self.n_features:,} features{': ' * bool(causes)}{causes})"

    def table(self) -> Any:
        """A pandas DataFrame with a row a dead feature, named by its id. Raises BadInput without pandas."""
        return tables.table(self.features, index="id")

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self)
