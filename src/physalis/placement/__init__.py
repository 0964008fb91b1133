"""placement: a dictionary in its place: of which model and sites it is (``origin``), where it is read and written there
(``place``), and its codes on stored rows (``encoding``). Whoever judges, edits or shows a dictionary asks here.
"""

__all__ = ["encoding", "origin", "place"]
