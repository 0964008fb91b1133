"""CX-01, CX-02, CX-18, CX-19 and CX-21: neurons and weights that stand for several things at once, or only seem to.

``lab.counterexamples.measure(CX_01)`` runs one; docs/counterexamples.md tells all of them.
"""

from physalis.lab.counterexamples.superposition.compression import CX_21
from physalis.lab.counterexamples.superposition.interference import CX_19
from physalis.lab.counterexamples.superposition.memorization import CX_18
from physalis.lab.counterexamples.superposition.neurons import CX_01, CX_02

__all__ = ["CX_01", "CX_02", "CX_18", "CX_19", "CX_21"]
