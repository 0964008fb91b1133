"""Exchange: dictionaries of every tool of the field, read and written, with a numeric verdict on what was read."""

from physalis.exchange.converting import READERS, WRITERS, Conversion, convert, read, recognise, write
from physalis.exchange.imported import Claims, Imported
from physalis.exchange.judging import Check, Verdict, verdict

__all__ = [
    "READERS", "WRITERS", "Check", "Claims", "Conversion", "Imported", "Verdict", "convert", "read", "recognise",
    "verdict", "write",
]  # fmt: skip
