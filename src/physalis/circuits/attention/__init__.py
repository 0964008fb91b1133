"""attention: what heads have to do with a graph: which an edge goes through, and why they look where they look."""
