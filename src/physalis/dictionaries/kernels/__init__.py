"""kernels: the sparse halves of a training step, on CPUs (``cpu``) and cards (``gpu``), behind ``rows``.

``rows.Rows`` is the way in: a weight whose products autograd understands. ``candidates`` decides what fires by a fast
product and an exact one, ``bounds`` is what compiled code is handed.
"""

__all__ = ["bounds", "candidate_kernels", "candidates", "cpu", "gpu", "rows"]
