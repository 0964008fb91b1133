"""What the lab's commands print: checks with their controls, counterexamples, and report cards.

``checks`` is for `physalis lab check`, ``counterexamples`` for `physalis counterexample`, ``findings`` for a line of
either. Each is imported when it has something to print.
"""

__all__ = ["checks", "counterexamples", "findings"]
