"""contents: several artefacts under one server.

``finding`` says what folders hold, ``opening.open_app`` opens each in a room of its own, ``room`` is the table of
contents that leads to them, with ``runs`` and ``others``. docs/serving.md.
"""

__all__ = ["finding", "opening", "others", "records", "room", "runs"]
