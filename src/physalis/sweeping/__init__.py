"""sweeping: many dictionaries of one read, each judged on held-out tokens (``sweeping``), and their frontier as a
picture (``frontier``). ``sweep`` is the way in.
"""

from physalis.sweeping.sweeping import sweep

__all__ = ["sweep"]
