"""The catalogue of counterexamples: beliefs, and the smallest models in which they are false."""

from physalis.errors import BadInput
from physalis.lab.counterexamples.base import Counterexample, Gap, Measured, measure
from physalis.lab.counterexamples.dictionaries import CX_03, CX_04, CX_06, CX_13, CX_17, CX_20
from physalis.lab.counterexamples.interventions import CX_08, CX_10, CX_11, CX_15, CX_16, CX_27
from physalis.lab.counterexamples.readings import CX_05, CX_07, CX_09, CX_12, CX_14, CX_22, CX_24, CX_25, CX_26
from physalis.lab.counterexamples.superposition import CX_01, CX_02, CX_18, CX_19, CX_21

COUNTEREXAMPLES: tuple[Counterexample, ...] = (
    CX_01, CX_02, CX_03, CX_04, CX_05, CX_06, CX_07, CX_08, CX_09, CX_10, CX_11, CX_12, CX_13, CX_14, CX_15, CX_16,
    CX_17, CX_18, CX_19, CX_20, CX_21, CX_22, CX_24, CX_25, CX_26, CX_27,
)  # fmt: skip
"""In the order of their ids."""


def find_counterexamples(ids: list[str] | None = None) -> list[Counterexample]:
    """Those of these ids, whatever their case; without ids, all. Raises BadInput for an unknown id."""
    known = {each.id: each for each in COUNTEREXAMPLES}
    unknown = [name for name in ids or () if name.upper() not in known]
    if unknown:
        raise BadInput(f"There is no counterexample {unknown[0]!r}. Choose from {', '.join(known)}.")
    return [known[name.upper()] for name in ids] if ids else list(COUNTEREXAMPLES)


__all__ = ["COUNTEREXAMPLES", "Counterexample", "Gap", "Measured", "find_counterexamples", "measure"]
