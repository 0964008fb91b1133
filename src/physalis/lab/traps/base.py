"""What a method under test must have to be tried, and what a trap makes of it.

Plain arrays go in and come out. A method may answer NaN where it cannot know: that is a warning, not an error, and a
trap that is answered so was survived, provided that the method does answer where nothing is wrong.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int

from physalis.errors import BadInput


@runtime_checkable
class FeatureFinder(Protocol):
    """Finds features of activations, of which about ``k`` of ``n_features`` are there at a time: their directions, a
    row each. A row of zeros is a feature that it did not need."""

    def find_features(
        self, activations: Float[np.ndarray, "n d"], n_features: int, k: int
    ) -> Float[np.ndarray, "features d"]: ...


@runtime_checkable
class Coder(Protocol):
    """Also says how strongly each feature is there: codes, then directions."""

    def find_codes(
        self, activations: Float[np.ndarray, "n d"], n_features: int, k: int
    ) -> tuple[Float[np.ndarray, "n features"], Float[np.ndarray, "features d"]]: ...


@dataclass(frozen=True)
class Network:
    """A function of several inputs whose truth is known."""

    outputs: Callable[[np.ndarray], np.ndarray]
    slopes: Callable[[np.ndarray], np.ndarray]
    attention: Callable[[np.ndarray], np.ndarray] | None = None
    """[n, inputs] to [n, inputs]: how much it looks at each, where it has attention."""

    def __call__(self, x: Float[np.ndarray, "n inputs"]) -> Float[np.ndarray, " n"]:
        return self.outputs(np.asarray(x, float))

    def gradient(self, x: Float[np.ndarray, "n inputs"]) -> Float[np.ndarray, "n inputs"]:
        """Of the output by each input."""
        return self.slopes(np.asarray(x, float))


@runtime_checkable
class Attribution(Protocol):
    """Says how much of a network's output each input brought, where nothing is an input of 0."""

    def attribute(self, network: Network, inputs: Float[np.ndarray, "n inputs"]) -> Float[np.ndarray, "n inputs"]: ...


Predictor = Callable[[Any], Any]
"""Representations [n, d] to their classes [n]; NaN where it cannot know."""


@runtime_checkable
class Probe(Protocol):
    """Learns to read classes, numbered from 0, from representations."""

    def fit_probe(self, x: Float[np.ndarray, "n d"], y: Int[np.ndarray, " n"]) -> Predictor: ...


@runtime_checkable
class Explainer(Protocol):
    """Says which concepts a unit answers to: the share of each in all that it says, together at most 1."""

    def explain(
        self, activations: Float[np.ndarray, " n"], concepts: Bool[np.ndarray, "n concepts"]
    ) -> Float[np.ndarray, " concepts"]: ...


class Trace(NamedTuple):
    """One run of a model with parts."""

    outputs: Float[np.ndarray, " n"]
    values: dict[str, Float[np.ndarray, " n"]]
    """Of each part."""
    units: Float[np.ndarray, "n units"]
    """Everything inside, by which a method may see that it has left what the model knows."""


@dataclass(frozen=True)
class Parted:
    """A model with named parts, each of which can be held at a value while the rest goes on."""

    parts: tuple[str, ...]
    trace: Callable[[np.ndarray, Mapping[str, np.ndarray]], Trace]

    def run(self, inputs: Float[np.ndarray, "n inputs"], held: Mapping[str, np.ndarray] | None = None) -> Trace:
        """``held``: the value of each part that is not to compute its own, [n]."""
        return self.trace(inputs, held or {})


@runtime_checkable
class Ablation(Protocol):
    """Says how much each part of a model matters to its outputs on these inputs: 0 for not at all."""

    def ablate(self, model: Parted, inputs: Float[np.ndarray, "n inputs"]) -> Float[np.ndarray, " parts"]: ...


PROTOCOLS: tuple[type, ...] = (FeatureFinder, Coder, Attribution, Probe, Explainer, Ablation)


class Outcome(NamedTuple):
    """How wrong a method was, from 0 for right: in the trap, and where its cause is taken out."""

    wrong: float
    """NaN where it said that it cannot know."""
    control: float


@dataclass(frozen=True, kw_only=True)
class Trap:
    """A counterexample as a task for a method."""

    id: str
    """Of the counterexample."""
    name: str
    protocol: type
    """Which methods it is for."""
    measures: str
    """What the numbers of an outcome are."""
    most: float
    """How wrong a method may be, in both."""
    run: Callable[[Any, int], Outcome]
    """The method and a seed."""

    def survived(self, outcome: Outcome) -> bool:
        """Right in the control, and in the trap right or warning."""
        return outcome.control <= self.most and (math.isnan(outcome.wrong) or outcome.wrong <= self.most)

    def why(self, outcome: Outcome) -> str:
        """In a few words."""
        if not outcome.control <= self.most:  # NaN too
            return "wrong where there is no trap, too"
        if math.isnan(outcome.wrong):
            return "says that it cannot know"
        return "right" if outcome.wrong <= self.most else "right without the trap, wrong in it"


def answered(answer: Any, shape: tuple[int | None, ...], method: Any, call: str) -> Float[np.ndarray, "..."]:
    """A method's answer as an array of this shape (None for any length). Raises BadInput for another."""
    made = np.asarray(answer, float)
    if made.ndim != len(shape) or any(want not in (None, is_) for want, is_ in zip(shape, made.shape, strict=True)):
        wanted = ", ".join("any" if want is None else str(want) for want in shape)
        raise BadInput(
            f"{type(method).__name__}.{call} must return an array of shape [{wanted}]; received {list(made.shape)}."
        )
    return made


def shares(importance: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Sizes as shares of their sum along the last axis; all 0 where all are."""
    size = np.abs(importance)
    return size / np.maximum(size.sum(-1, keepdims=True), 1e-12)


def correlation(said: Float[np.ndarray, " n"], truth: Float[np.ndarray, " n"]) -> float:
    """0 where what is said never changes."""
    return float(np.corrcoef(said, truth)[0, 1]) if np.ptp(said) > 1e-9 else 0.0
