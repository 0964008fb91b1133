"""CX-08, CX-10, CX-11, CX-15, CX-16, CX-27: what a network does when a part is removed, patched or interchanged, and
what that does not show.

``lab.counterexamples.measure(CX_08)`` runs one; docs/counterexamples.md tells all of them.
"""

from physalis.lab.counterexamples.interventions.ablations import CX_10, CX_11
from physalis.lab.counterexamples.interventions.alignment import CX_16
from physalis.lab.counterexamples.interventions.circuits import CX_15
from physalis.lab.counterexamples.interventions.patching import CX_08
from physalis.lab.counterexamples.interventions.shortcuts import CX_27

__all__ = ["CX_08", "CX_10", "CX_11", "CX_15", "CX_16", "CX_27"]
