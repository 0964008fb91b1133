"""architectures: one architecture a file: its frozen config above a class with ``encode``, ``loss`` and ``constrain``.

``dictionaries.ARCHITECTURES`` lists them, and is the only list; what several share is a floor below, in
``dictionaries``.
"""

__all__ = []
