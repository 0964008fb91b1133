"""Worlds whose truth is known, and how far a dictionary is from it."""

from typing import TYPE_CHECKING

from physalis.lazy import lazy

if TYPE_CHECKING:
    from physalis.lab.absorption import absorbing_world, hedging_world, measure_absorption, measure_hedging
    from physalis.lab.oracles import oracle, permuted, random_directions
    from physalis.lab.recipes import Recipe
    from physalis.lab.truth import Truth, score
    from physalis.lab.worlds import Sample, Samples, World

_HOME = {
    "Recipe": "recipes", "Sample": "worlds", "Samples": "worlds", "Truth": "truth", "World": "worlds",
    "absorbing_world": "absorption", "hedging_world": "absorption", "measure_absorption": "absorption",
    "measure_hedging": "absorption",
    "oracle": "oracles", "permuted": "oracles", "random_directions": "oracles", "score": "truth",
}  # fmt: skip
"""Public name to the module that defines it, imported on first use: an experiment's page is read without torch."""

__all__ = [
    "Recipe", "Sample", "Samples", "Truth", "World", "absorbing_world", "hedging_world", "measure_absorption",
    "measure_hedging", "oracle", "permuted", "random_directions", "score",
]  # fmt: skip

__getattr__, __dir__ = lazy(__name__, _HOME)
