"""FRAME-1, FRAME-2, IND-1 and IND-2: small transformers taken apart into paths, and heads that learn to do induction.

Each module is an experiment: ``check()`` holds it against its paper, ``explore()`` is its page; docs/experiments.md has
the list, ``lab.experiments.find_experiments(["IND-1"])`` finds one by its id.
"""

from physalis.lab.experiments.attention import bigrams, induction, smearing, trigrams

__all__ = ["bigrams", "induction", "smearing", "trigrams"]
