"""More features than dimensions: models trained on sparse inputs, beside what arithmetic says is best.

``train_toys`` and, for a hundred features and more, ``train_wide`` give ``ToyModels``, which ``represented`` and
``dimensionality`` measure; ``phase_diagram`` and ``expected`` stand beside the optimum. docs/toys.md begins there.
"""

from physalis.lab.toys.superposition.bottlenecks import Bottleneck, train_bottleneck
from physalis.lab.toys.superposition.expected import Least, descend_from, expected
from physalis.lab.toys.superposition.models import (
    ToyModels,
    dimensionality,
    dimensions_per_feature,
    interference,
    represented,
    train_toys,
)
from physalis.lab.toys.superposition.phases import PhaseDiagram, boundary, closed_form, optimum, phase_diagram
from physalis.lab.toys.superposition.wide import train_wide

__all__ = [
    "Bottleneck", "Least", "PhaseDiagram", "ToyModels", "boundary", "closed_form", "descend_from", "dimensionality",
    "dimensions_per_feature", "expected", "interference", "optimum", "phase_diagram", "represented", "train_bottleneck",
    "train_toys", "train_wide",
]  # fmt: skip
