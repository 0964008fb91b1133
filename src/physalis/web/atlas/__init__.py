"""atlas: an atlas's pages, as HTML and JSON.

``app.atlas_room`` is the way in: a URL is a function that returns a record. ``overviews`` are pages of all of it;
``live``, ``trying`` and ``steering`` are what its model adds. docs/feature-pages.md tells what stands on them.
"""

__all__ = [
    "app", "families", "histograms", "index", "live", "overviews", "query", "records", "steering", "try_records",
    "trying",
]  # fmt: skip
