"""runtime: the process and its machine: signals, work in pieces or cancelled, progress, and the device that
computes.

Everything above asks here and nowhere else; ``signals`` is imported first of all and takes no time.
"""

__all__ = ["cancellation", "device", "jobs", "processes", "progress", "signals"]
