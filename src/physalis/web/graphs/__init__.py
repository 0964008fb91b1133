"""graphs: the page of a circuit graph: what made a prompt's next token likely, and whether that was shown to be so.

``serving.graph_room`` is the way in; ``stored`` reads a graph, ``records`` are what the page shows, ``names`` what
atlases know of its features. docs/graph-pages.md.
"""

__all__ = ["groups", "names", "records", "serving", "stored"]
