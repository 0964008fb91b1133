"""What commands print of features: which fire where, why some are dead, what explains them, and what edits of them do.

``contrasts``, ``dead_features``, ``explained``, ``judged`` and ``steered`` each have a function for a record. Each is
imported when it has something to print: some need torch.
"""

__all__ = ["contrasts", "dead_features", "explained", "judged", "steered"]
