"""learning: the commands that make something: from text to activations, to dictionaries, to atlases and rules.

``recording``, ``training``, ``atlases``, ``explaining`` and ``exchanging`` hold one function a verb, as ``--help``
lists them; ``demo`` and ``demo_process`` do it all with one, and are imported when it is asked for: they need torch.
"""

from physalis.cli.learning import atlases, exchanging, explaining, recording, training

__all__ = ["atlases", "exchanging", "explaining", "recording", "training"]
