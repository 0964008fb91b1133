"""Toy models of superposition: sparse inputs through a bottleneck and back, many models in one compiled run."""

from physalis.lab.toys.inputs import Inputs, anticorrelated, correlated, independent
from physalis.lab.toys.superposition.models import (
    ToyModels,
    dimensionality,
    dimensions_per_feature,
    interference,
    represented,
    train_toys,
)
from physalis.lab.toys.superposition.phases import PhaseDiagram, boundary, closed_form, optimum, phase_diagram

__all__ = [
    "Inputs", "PhaseDiagram", "ToyModels", "anticorrelated", "boundary", "closed_form", "correlated", "dimensionality",
    "dimensions_per_feature", "independent", "interference", "optimum", "phase_diagram", "represented", "train_toys",
]  # fmt: skip
