"""judging: what an explanation of a feature is worth, be it rule or words, with chance and noise beside it.

``describe`` has a language model say in words what features are about; ``score`` judges rules and words alike, with an
oracle, the best single token and swapped explanations beside them; ``Words`` and ``Scores`` read them back.
"""

from physalis.judging.embedding import Embedding
from physalis.judging.judges import Judge, Predicting, Shuffled
from physalis.judging.questions import Question, Shown
from physalis.judging.records import Noise, OverCorpora, Score
from physalis.judging.scored import Scores
from physalis.judging.scoring import FREE, TASKS, score
from physalis.judging.words import Description, Words

__all__ = [
    "FREE", "TASKS", "Description", "Embedding", "Judge", "Noise", "OverCorpora", "Predicting", "Question", "Score",
    "Scores", "Shown", "Shuffled", "Words", "score",
]  # fmt: skip
