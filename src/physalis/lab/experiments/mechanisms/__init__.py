"""COMP-1, INT-1 and FAITH-1: what codes, weights between features and transcoders do, beside what they seem to do.

Each module is an experiment: ``check()`` holds it against its paper, ``explore()`` is its page; docs/experiments.md has
the list, ``lab.experiments.find_experiments(["FAITH-1"])`` finds one by its id.
"""

from physalis.lab.experiments.mechanisms import codes, faithfulness, interference

__all__ = ["codes", "faithfulness", "interference"]
