"""judging: what an explanation of a feature is worth, be it rule or words, with chance and noise beside it.

``describe`` has a language model say in words what features are about; ``score`` judges rules and words alike, with an
oracle, the best single token and swapped explanations beside them; ``Words`` and ``Scores`` read them back, without
torch.
"""

from typing import TYPE_CHECKING

from physalis.lazy import lazy

if TYPE_CHECKING:
    from physalis.judging.describing import describe
    from physalis.judging.embedding import Embedding
    from physalis.judging.judges import Judge, Predicting, Shuffled
    from physalis.judging.language_models.endpoint import Endpoint
    from physalis.judging.language_models.local import LocalReader, LocalTeller
    from physalis.judging.language_models.telling import Counted, Reply, Request, Teller
    from physalis.judging.questions import Question, Shown
    from physalis.judging.reader import Reader
    from physalis.judging.records import Noise, OverCorpora, Score
    from physalis.judging.scored import Scores
    from physalis.judging.scoring import FREE, TASKS, score
    from physalis.judging.words import Description, Words

_HOME = {
    "FREE": "scoring", "TASKS": "scoring", "Counted": "language_models.telling", "Description": "words",
    "Embedding": "embedding", "Endpoint": "language_models.endpoint", "Judge": "judges",
    "LocalReader": "language_models.local", "LocalTeller": "language_models.local", "Noise": "records",
    "OverCorpora": "records", "Predicting": "judges", "Question": "questions", "Reader": "reader",
    "Reply": "language_models.telling", "Request": "language_models.telling", "Score": "records", "Scores": "scored",
    "Shown": "questions", "Shuffled": "judges", "Teller": "language_models.telling", "Words": "words",
    "describe": "describing", "score": "scoring",
}  # fmt: skip

__all__ = [
    "FREE", "TASKS", "Counted", "Description", "Embedding", "Endpoint", "Judge", "LocalReader", "LocalTeller", "Noise",
    "OverCorpora", "Predicting", "Question", "Reader", "Reply", "Request", "Score", "Scores", "Shown", "Shuffled",
    "Teller", "Words", "describe", "score",
]  # fmt: skip

__getattr__, __dir__ = lazy(__name__, _HOME)
