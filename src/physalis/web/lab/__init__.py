"""lab: the lab's pages.

``app`` serves them, ``publishing.publish_lab`` writes them as plain files. docs/lab.md tells how to explore them.
"""

__all__ = ["app", "publishing"]
