"""Small transformers, what they are trained on, and how they are taken apart.

``transformers`` makes attention-only ones and ``train`` trains them; ``expand`` is their paths, ``course`` how they
come to look back, and ``adder`` with ``learn`` one that learns to add. docs/experiments.md says what is made of them.
"""

from physalis.lab.toys.transformers.addition import Adder, Learning, adder, learn
from physalis.lab.toys.transformers.attention import Training, Transformers, train, transformers
from physalis.lab.toys.transformers.paths import Paths, composition, expand
from physalis.lab.toys.transformers.phrases import batches, sentences
from physalis.lab.toys.transformers.repeats import Course, course

__all__ = [
    "Adder", "Course", "Learning", "Paths", "Training", "Transformers", "adder", "batches", "composition", "course",
    "expand", "learn", "sentences", "train", "transformers",
]  # fmt: skip
