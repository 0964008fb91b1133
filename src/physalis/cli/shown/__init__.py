"""shown: what the command line prints: a record as JSON, or as something that a person can judge at a glance.

``printing`` has what is made, ``comparisons``, ``models`` and ``verdicts`` their commands, the rooms ``features`` and
``lab`` theirs; ``console`` is where all of it goes. Each is imported when it has something to print.
"""

__all__ = ["comparisons", "console", "features", "hints", "jobs", "lab", "models", "printing", "verdicts"]
