"""server: how pages are answered.

``rooms`` holds them together, ``serving.serve`` shows them at an address until it is interrupted, ``server`` is the
process; ``answers``, ``packing``, ``shell`` and ``refusals`` are what every page shares. docs/serving.md tells all.
"""

__all__ = [
    "answers", "events", "numbers", "packing", "pages", "refusals", "rooms", "server", "serving", "shell", "shortened",
    "unfit",
]  # fmt: skip
