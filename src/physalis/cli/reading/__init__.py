"""reading: the commands that read what was made: pages, searches, edits, comparisons, and whether files are whole.

``serving``, ``searching``, ``steering``, ``comparing`` and ``verifying`` hold one function a verb, as ``--help`` lists
them; what they print is in ``cli.shown``.
"""

from physalis.cli.reading import comparing, searching, serving, steering, verifying

__all__ = ["comparing", "searching", "serving", "steering", "verifying"]
