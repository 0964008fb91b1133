"""records: what a suite stores, number by number, and what follows: scores with their noise, what was dropped, and
which differences mean something."""

from typing import Literal

from physalis.atlas.records import Record

Role = Literal["dictionary", "diagnostic", "baseline"]


class Metric(Record):
    """What is measured."""

    name: str
    title: str
    """In words, with its unit."""
    higher_is_better: bool
    truth: bool = False
    """Measured in a world, of an architecture, and not of the dictionary itself."""


class Measured(Record):
    """One number of one round."""

    metric: str
    subject: str
    """A group of dictionaries that differ in their seed alone, a diagnostic or a baseline."""
    role: Role
    round: int
    value: float | None
    """None where there was nothing to measure."""


class SuiteScore(Record):
    """A metric of one subject, over its rounds."""

    metric: str
    dictionary: str
    role: Role
    value: float
    """The mean of the rounds."""
    noise: float | None
    """Their standard deviation: what a single round is off by. None of fewer than two."""
    cv: float | None
    """The noise over the value, where that is above 0."""
    low: float | None
    """The mean's 95 % interval, by Student's t."""
    high: float | None
    smallest_difference: float | None
    """1.96 * sqrt(2) * noise: what two scores of one round each have to differ by for it to mean anything."""
    n_rounds: int
    n_seeds: int
    """Dictionaries among which the rounds took turns; 0 for baselines, which have none."""


class Difference(Record):
    """The first of two dictionaries less the second, round by round."""

    metric: str
    a: str
    b: str
    value: float
    low: float | None
    """The 95 % interval of the paired mean."""
    high: float | None
    p: float | None
    """Of Student's paired t."""
    means_something: bool
    """Whether it is among those that keep the false-discovery rate of all shown differences below 5 %."""


class Dropped(Record):
    """A metric that is not shown."""

    metric: str
    title: str
    why: str
