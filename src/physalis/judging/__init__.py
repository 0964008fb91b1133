"""judging: what an explanation of a feature is worth, be it rule or words, with chance and noise beside it.

``describe`` has a language model say in words what features are about; ``score`` judges rules and words alike, with an
oracle, the best single token and swapped explanations beside them; ``Words`` and ``Scores`` read them back.
"""

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

__all__ = [
    "FREE", "TASKS", "Counted", "Description", "Embedding", "Endpoint", "Judge", "LocalReader", "LocalTeller", "Noise",
    "OverCorpora", "Predicting", "Question", "Reader", "Reply", "Request", "Score", "Scores", "Shown", "Shuffled",
    "Teller", "Words", "describe", "score",
]  # fmt: skip
