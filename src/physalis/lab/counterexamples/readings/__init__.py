"""CX-05, CX-07, CX-09, CX-12, CX-14, CX-22 and CX-24 to CX-26: what is read off a network as it is, by probes,
attention, gradients or the inputs that drive a unit, and is not so.

``lab.counterexamples.measure(CX_05)`` runs one; docs/counterexamples.md tells all of them.
"""

from physalis.lab.counterexamples.readings.attention import CX_09
from physalis.lab.counterexamples.readings.documents import CX_25
from physalis.lab.counterexamples.readings.examples import CX_07, CX_24
from physalis.lab.counterexamples.readings.outputs import CX_26
from physalis.lab.counterexamples.readings.probes import CX_05, CX_14
from physalis.lab.counterexamples.readings.saturation import CX_12, CX_22

__all__ = ["CX_05", "CX_07", "CX_09", "CX_12", "CX_14", "CX_22", "CX_24", "CX_25", "CX_26"]
