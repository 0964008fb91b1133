"""DD-1 to DD-5 and GROK-1: points or rules. What a network learns by heart, when it stops doing so, and how that shows.

Each module is an experiment: ``check()`` holds it against its paper, ``explore()`` is its page; docs/experiments.md has
the list, ``lab.experiments.find_experiments(["DD-1"])`` finds one by its id.
"""

from physalis.lab.experiments.memorization import decay, descents, grokking, mislabelled, polygons, repeats

__all__ = ["decay", "descents", "grokking", "mislabelled", "polygons", "repeats"]
