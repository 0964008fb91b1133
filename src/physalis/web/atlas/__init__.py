"""atlas: an atlas's pages: its records as HTML and JSON (``app``), and what its model adds: text tried, steering."""
