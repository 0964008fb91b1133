"""learning: the commands that make something: from text to activations, to dictionaries, to atlases and rules.

``recording``, ``training``, ``atlases``, ``explaining``, ``judging`` and ``exchanging`` hold one function a verb, as
``--help`` lists them; ``demo`` and ``demo_process`` do it all with one, and are imported when it is asked for: they
need torch.
"""

from physalis.cli.learning import atlases, exchanging, explaining, judging, recording, training

__all__ = ["atlases", "exchanging", "explaining", "judging", "recording", "training"]
