"""TMS-1 to TMS-10: "Toy Models of Superposition", from how many features a few dimensions hold to what neurons compute.

Each module is an experiment: ``check()`` holds it against the paper, ``explore()`` is its page; docs/experiments.md has
the list, ``lab.experiments.find_experiments(["TMS-1"])`` finds one by its id.
"""

from physalis.lab.experiments.toy_models import (
    absolute,
    bases,
    correlation,
    dynamics,
    geometry,
    perturbation,
    phases,
    superposition,
    triples,
    vulnerability,
)

__all__ = [
    "absolute", "bases", "correlation", "dynamics", "geometry", "perturbation", "phases", "superposition", "triples",
    "vulnerability",
]  # fmt: skip
