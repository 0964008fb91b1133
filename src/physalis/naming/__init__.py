"""naming: what features are called, by whoever knows best: a person, a language model, a rule or their tokens.

``find_beside`` finds explanations, words and scores in the folders beside an atlas, ``Known`` keeps them as they are
now, and ``called`` is the one place that decides a name. No torch, but for ``told``, which tells Neuronpedia.
"""

from typing import TYPE_CHECKING

from physalis.lazy import lazy

if TYPE_CHECKING:
    from physalis.naming.beside import Beside, find_beside
    from physalis.naming.known import Known
    from physalis.naming.names import called, in_short
    from physalis.naming.told import told

_HOME = {
    "Beside": "beside", "Known": "known", "called": "names", "find_beside": "beside", "in_short": "names",
    "told": "told",
}  # fmt: skip

__all__ = ["Beside", "Known", "called", "find_beside", "in_short", "told"]

__getattr__, __dir__ = lazy(__name__, _HOME)
