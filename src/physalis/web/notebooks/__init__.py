"""notebooks: pages as widgets.

``showing.show`` is the way in, and says what is missing where they are not installed; ``widgets`` are they.
docs/tables.md has what notebooks show.
"""

__all__ = ["showing", "widgets"]
