"""codes: every code that a dictionary gives on a recording, on disk by token and by feature. ``encode`` writes them
once; ``StoredCodes`` reads them back, as rows of tokens, as firings of features, or with the activations they are of.
What needs the codes of a whole recording takes such a folder instead of encoding again.
"""

from physalis.codes.encoding import encode, write_codes
from physalis.codes.segments import Block, Coded, Segments, TokenFeatures
from physalis.codes.stored import KIND, Firings, StoredCodes

__all__ = [
    "KIND", "Block", "Coded", "Firings", "Segments", "StoredCodes", "TokenFeatures", "encode", "write_codes",
]  # fmt: skip
