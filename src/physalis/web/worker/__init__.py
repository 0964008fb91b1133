"""worker: the model in a process of its own.

``worker`` keeps it alive, ``service`` is what it answers, ``relay`` how the pages ask it, ``model_lock`` whose turn it
is. Only ``service`` loads torch. docs/serving.md tells what a visitor notices of it.
"""

__all__ = ["model_lock", "relay", "service", "worker"]
