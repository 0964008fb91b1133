"""comparison: the pages of two dictionaries held against each other, and of a tree of features.

``serving.serve_comparison`` is the way in, ``records`` what pages and notebooks show. docs/comparing.md.
"""

__all__ = ["records", "serving"]
