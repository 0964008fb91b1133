"""language_models: those that say what features are about, and that judge what is said.

A ``Teller`` answers requests: an ``Endpoint`` at any address, or a model on this machine; ``telling`` keeps answers.
What they are asked stands in the files of ``prompts``.
"""

from physalis.judging.language_models.endpoint import Endpoint
from physalis.judging.language_models.local import LocalReader, LocalTeller
from physalis.judging.language_models.telling import Counted, Reply, Request, Teller

__all__ = ["Counted", "Endpoint", "LocalReader", "LocalTeller", "Reply", "Request", "Teller"]
