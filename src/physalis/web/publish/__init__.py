"""publish: an atlas as plain files that any host can show.

``site.publish`` is the way in; ``written`` knows which files there are ours, through every kill. docs/publishing.md.
"""

__all__ = ["site", "written"]
