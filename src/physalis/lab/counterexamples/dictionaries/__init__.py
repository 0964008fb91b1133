"""CX-03, CX-04, CX-06, CX-13, CX-17 and CX-20: sparse dictionaries and transcoders that do well by the usual numbers
and whose features are not the true ones.

``lab.counterexamples.measure(CX_03)`` runs one; docs/counterexamples.md tells all of them.
"""

from physalis.lab.counterexamples.dictionaries.absorption import CX_03, CX_04
from physalis.lab.counterexamples.dictionaries.circle import CX_13
from physalis.lab.counterexamples.dictionaries.faithfulness import CX_17
from physalis.lab.counterexamples.dictionaries.reconstruction import CX_06
from physalis.lab.counterexamples.dictionaries.structure import CX_20

__all__ = ["CX_03", "CX_04", "CX_06", "CX_13", "CX_17", "CX_20"]
