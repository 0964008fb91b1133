"""Readable programs from models: what a transformer computes, said in a language like RASP, and run beside it.

``read_program`` looks at a model alone (what its parts write, what it answers, where its heads look) and returns a
``Reading``: a ``Program`` that runs without the model, on which share of unseen inputs both agree, and where it finds
none a sentence that says why. ``trained`` has models that were trained, to try it on; ``programs.prelude`` is what
printed programs are written in.
"""

from physalis.lab.decompiling.programs.program import Program
from physalis.lab.decompiling.reading import Reading, read_program
from physalis.lab.decompiling.trained import TOYS, Toy, addition, brackets, sorting
from physalis.lab.decompiling.waves import WaveProgram

__all__ = [
    "TOYS", "Program", "Reading", "Toy", "WaveProgram", "addition", "brackets", "read_program", "sorting",
]  # fmt: skip
