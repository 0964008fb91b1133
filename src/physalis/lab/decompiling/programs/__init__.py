"""Programs as they are read from models: variables, steps, and the functions that they are written in."""

from physalis.lab.decompiling.programs.program import Program
from physalis.lab.decompiling.programs.steps import Apply, Attend, Selection, Step

__all__ = ["Apply", "Attend", "Program", "Selection", "Step"]
