"""Models whose features are known because they were put there: programs of the rule language, and a transformer whose
weights were set by hand. Whatever is said of their features can be held against what they are."""

from physalis.lab.compiled.known import known_dictionary
from physalis.lab.compiled.programs import program_model
from physalis.lab.compiled.transformer import KNOWN, Known, known_transformer
from physalis.lab.compiled.words import Words

__all__ = ["KNOWN", "Known", "Words", "known_dictionary", "known_transformer", "program_model"]
