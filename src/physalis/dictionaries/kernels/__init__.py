"""kernels: the sparse halves of a training step: on CPUs (``cpu``) and cards (``gpu``), behind ``rows``."""
