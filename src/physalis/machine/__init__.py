"""machine: what matters here of this machine.

``doctor.examine`` looks at it, ``cache`` is what is kept on it. docs/machine.md.
"""

__all__ = ["cache", "doctor"]
