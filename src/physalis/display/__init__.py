"""display: what public objects look like to a person in Python: as a pandas table (``tables``), and as text or HTML
(``reprs``). Neither needs pandas until a table is asked for.
"""

__all__ = ["counts", "reprs", "tables"]
