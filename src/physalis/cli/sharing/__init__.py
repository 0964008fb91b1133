"""sharing: the commands for other people: sites and exports, comments by invitation, notes as files.

``publishing``, ``comments`` and ``notes`` hold one function a verb, as ``--help`` lists them; docs/publishing.md,
docs/comments.md and docs/notes.md tell them.
"""

from physalis.cli.sharing import comments, notes, publishing

__all__ = ["comments", "notes", "publishing"]
