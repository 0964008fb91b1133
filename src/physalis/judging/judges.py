"""judges: Judge, who answers questions about a feature by what an explanation says; those that need no language model.

A ``Predicting`` judge has a code for every token and answers by it, for nothing and exactly: a rule, the best single
token, or the truth itself (an oracle, on which every task must come out near 1). A ``Shuffled`` one answers by another
feature's explanation: chance, for these tasks and features.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Float32, Int

from physalis.codes import Firings
from physalis.errors import BadInput
from physalis.judging.questions import Question

YES = 0.5
"""An answer of so much and more is a yes."""


@runtime_checkable
class Judge(Protocol):
    """Answers questions about features."""

    @property
    def name(self) -> str:
        """For tables."""
        ...

    def answers(self, feature: int, questions: Sequence[Question]) -> list[Float[np.ndarray, " answers"]]:
        """Of each question what ``questions.Ask`` says; NaN where nothing was answered."""
        ...


class Predicting:
    """Judges by a code for every position of the text."""

    def __init__(self, name: str, predict: Callable[[int], Float32[np.ndarray, " positions"]]) -> None:
        self.name = name
        self._predict = predict
        self._last: tuple[int, Float32[np.ndarray, " positions"]] | None = None

    def answers(self, feature: int, questions: Sequence[Question]) -> list[Float[np.ndarray, " answers"]]:
        """By what is predicted."""
        codes = self.codes(feature)
        scale = float(codes.max(initial=0)) or 1.0
        return [self._answer(question, codes, scale) for question in questions]

    def codes(self, feature: int) -> Float32[np.ndarray, " positions"]:
        """What is predicted everywhere."""
        if self._last is None or self._last[0] != feature:
            self._last = feature, self._predict(feature)
        return self._last[1]

    def _answer(
        self, question: Question, codes: Float32[np.ndarray, " positions"], scale: float
    ) -> Float[np.ndarray, " answers"]:
        said = [codes[shown.at] for shown in question.shown]
        if question.ask == "levels":
            return said[0].astype(np.float64)
        if question.ask == "marked":
            fires = [each > 0 for each in said]
            both = [(each & shown.marked).sum() for each, shown in zip(fires, question.shown, strict=True)]
            sums = [each.sum() + shown.marked.sum() for each, shown in zip(fires, question.shown, strict=True)]
            return np.array([2 * n / max(1, total) for n, total in zip(both, sums, strict=True)])
        peaks = np.array([each.max(initial=0) for each in said], np.float64)
        return -peaks if question.ask == "odd" else np.where(peaks > 0, YES + YES * peaks / scale, 0.0)


class Shuffled:
    """Another judge, who is given another feature's explanation."""

    def __init__(self, judge: Judge, features: Sequence[int], seed: int = 0) -> None:
        """Each of ``features`` is judged by what is said of the one after it, in an order by ``seed``. Raises BadInput
        for less than two of them."""
        if len(features) < 2:
            raise BadInput(f"To swap explanations takes two features or more; received {len(features)}.")
        order = np.random.default_rng(seed).permutation(np.array(features))
        self._other = dict(zip(order.tolist(), np.roll(order, -1).tolist(), strict=True))
        self._judge = judge
        self.name = f"shuffled: {judge.name}"

    def answers(self, feature: int, questions: Sequence[Question]) -> list[Float[np.ndarray, " answers"]]:
        """As the other judge of the other feature."""
        return self._judge.answers(self._other[feature], questions)

    def other(self, feature: int) -> int:
        """Whose explanation is given for this feature's."""
        return self._other[feature]


def best_token(
    tokens: Int[np.ndarray, " positions"], learned_from: Int[np.ndarray, " tokens"],
    firings: Mapping[int, Firings] | Callable[[int], Firings],
) -> Predicting:  # fmt: skip
    """The judge that knows of each feature one token: that which tells best, by F1 at the positions ``learned_from``,
    where it fires."""
    counts = np.bincount(tokens[learned_from])
    ours = np.zeros(len(tokens), bool)
    ours[learned_from] = True

    def predict(feature: int) -> Float32[np.ndarray, " positions"]:
        at = (firings[feature] if isinstance(firings, Mapping) else firings(feature)).at
        at = at[ours[at]]
        fires = np.bincount(tokens[at], minlength=len(counts))
        f1 = 2 * fires / np.maximum(1, counts + len(at))
        return (tokens == (f1.argmax() if len(at) else -1)).astype(np.float32)

    return Predicting("best token", predict)
