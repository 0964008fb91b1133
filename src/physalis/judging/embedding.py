"""embedding: Embedding, a judge by meaning: how near what is said of a feature is to a passage, by a sentence embedder.

It knows no yes and no, so its score is the AUROC: how often a passage in which the feature fires is nearer than one in
which it is silent (Delphi's embedding score).
"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from physalis.judging.material import Material
from physalis.judging.questions import Question
from physalis.search import Embedder


class Embedding:
    """Answers with cosines."""

    def __init__(self, name: str, embedder: Embedder, words: Mapping[int, str], material: Material) -> None:
        self.name = name
        self._embedder, self._words, self._material = embedder, words, material
        self._kept: dict[bytes, Float[np.ndarray, " d"]] = {}

    def answers(self, feature: int, questions: Sequence[Question]) -> list[Float[np.ndarray, " answers"]]:
        """The cosine of each passage and the words."""
        said = self._vectors([self._words[feature]])[0]
        at = [shown.at for question in questions for shown in question.shown]
        keys = [each.tobytes() for each in at]
        new = {key: i for i, key in enumerate(keys) if key not in self._kept}
        if new:
            texts = ["".join(self._material.strings(at[i])) for i in new.values()]
            self._kept |= dict(zip(new, self._vectors(texts), strict=True))
        cosines = np.array([self._kept[key] @ said for key in keys], np.float64)
        ends = np.cumsum([len(question.shown) for question in questions])
        return list(np.split(cosines, ends[:-1]))

    def _vectors(self, texts: Sequence[str]) -> Float[np.ndarray, "texts d"]:
        found = self._embedder.embed(texts)
        return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-9)
