"""Worlds whose truth is known, and how far a dictionary is from it."""

from physalis.lab.absorption import absorbing_world, hedging_world, measure_absorption, measure_hedging
from physalis.lab.oracles import oracle, permuted, random_directions
from physalis.lab.truth import Truth, score
from physalis.lab.worlds import Sample, Samples, World

__all__ = [
    "Sample", "Samples", "Truth", "World", "absorbing_world", "hedging_world", "measure_absorption", "measure_hedging",
    "oracle", "permuted", "random_directions", "score",
]  # fmt: skip
