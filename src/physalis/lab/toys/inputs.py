"""What toy models read: sparse features, independent or in sets that come together or exclude each other."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64

from physalis.errors import BadInput


class Inputs(NamedTuple):
    """A set is there with a probability of its own for each instance, and then all of its features are, or exactly one
    of them. Alone in its set, a feature is independent. Values are uniform from 0 to 1."""

    start: Int64[np.ndarray, " sets_1"]
    """The features of set s are start[s] to start[s + 1]."""
    one_of: Bool[np.ndarray, " sets"]
    density: Float64[np.ndarray, "instances sets"]
    """How often each set is there: 1 - S."""

    @property
    def n(self) -> int:
        """Features."""
        return int(self.start[-1])


def independent(density: Float64[np.ndarray, "instances n"]) -> Inputs:
    """Every feature on its own, there with ``density``."""
    density = _probabilities(density)
    n = density.shape[1]
    return Inputs(np.arange(n + 1), np.zeros(n, bool), density)


def correlated(sets: int, each: int, density: Float64[np.ndarray, " instances"]) -> Inputs:
    """``sets`` sets of ``each`` features that are all there or none, each with a value of its own."""
    return _in_sets(sets, each, density, one_of=np.zeros(sets, bool))


def anticorrelated(sets: int, each: int, density: Float64[np.ndarray, " instances"]) -> Inputs:
    """``sets`` sets of ``each`` features of which at most one is there."""
    return _in_sets(sets, each, density, one_of=np.ones(sets, bool))


def _in_sets(sets: int, each: int, density: np.ndarray, one_of: np.ndarray) -> Inputs:
    start = np.arange(0, sets * each + 1, each)
    return Inputs(start, one_of, _probabilities(np.repeat(np.asarray(density)[:, None], sets, 1)))


def _probabilities(density: np.ndarray) -> np.ndarray:
    density = np.ascontiguousarray(density, np.float64)
    if density.ndim != 2 or not ((density >= 0) & (density <= 1)).all():
        ends = f"from {density.min():g} to {density.max():g}" if density.size else "without entries"
        raise BadInput(
            "Densities are probabilities, one row an instance and one column a feature or set; received an array of "
            f"shape {density.shape} {ends}."
        )
    return density
