"""Everything stored about a dictionary's features: built with torch (``atlas.build.building``), read without it."""

from physalis.atlas.atlas import Atlas

__all__ = ["Atlas"]
