"""reader: Reader, a judge who is told what an explanation says, and reads passages: any language model that answers."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from physalis.judging.language_models import prompting
from physalis.judging.language_models.telling import Request, Teller
from physalis.judging.material import Material
from physalis.judging.questions import Question

MOST = {"fires": 40, "marked": 40, "odd": 10, "levels": 200, "write": 40}
"""Tokens of an answer, at most; for "write" of each text."""


class Reader:
    """Judges by words."""

    def __init__(self, teller: Teller, words: Mapping[int, str], material: Material) -> None:
        self.name, self.teller = teller.name, teller
        self._words, self._material = words, material

    def answers(self, feature: int, questions: Sequence[Question]) -> list[Float[np.ndarray, " answers"]]:
        """What the model says; NaN where that cannot be read."""
        replies = self.teller.ask([self.request(feature, question) for question in questions])
        return [
            prompting.read(question.ask, reply.text, question.n_answers)
            for question, reply in zip(questions, replies, strict=True)
        ]

    def request(self, feature: int, question: Question) -> Request:
        """One question, in words."""
        strings = [self._material.strings(shown.at) for shown in question.shown]
        if question.ask == "levels":
            passages = prompting.numbered(strings[0])
        else:
            pairs = zip(strings, question.shown, strict=True)
            passages = "\n".join(
                prompting.passage(i, tokens, shown.marked.tolist()) for i, (tokens, shown) in enumerate(pairs, 1)
            )
        said = prompting.safe(self._words[feature])
        prompt = prompting.filled(question.ask, explanation=said, passages=passages, n=question.n_answers)
        return Request(prompt, MOST[question.ask])

    def texts(self, feature: int, n: int) -> list[list[int]]:
        """Texts that the model writes by the explanation, as token ids."""
        prompt = prompting.filled("write", explanation=prompting.safe(self._words[feature]), n=n)
        (reply,) = self.teller.ask([Request(prompt, n * MOST["write"])])
        return [ids for ids in self._material.model.encode(prompting.lines(reply.text, n)) if ids]
