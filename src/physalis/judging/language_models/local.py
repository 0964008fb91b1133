"""local: a language model on this machine, as a teller that writes and as a judge that reads.

As a judge it writes nothing: it is compared how likely it holds "yes" and "no" after a question, and digits after a
token. What it would hold without the explanation is subtracted (contextual calibration, Zhao et al. 2021, arXiv
2102.09690): small models say yes to nearly everything.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from physalis.errors import BadInput
from physalis.judging.language_models import prompting
from physalis.judging.language_models.telling import Kept, Reply, Request, Spent
from physalis.judging.material import Material
from physalis.judging.questions import Question
from physalis.models import Model
from physalis.models.generation import LOGITS, Sampler, generate
from physalis.models.text.prompting import begin
from physalis.models.text.tokens import Decoder

UNSAID = "Nothing is known of it."
ASKED = {
    "fires": "Does the feature fire on any token of this text?",
    "odd": "Does the feature fire on any token of this text?",
    "marked": "Are the marked tokens those on which the feature fires?",
}
DIGITS = 10


class LocalTeller:
    """Answers with the likeliest tokens, by the model's chat template where it has one."""

    def __init__(self, model: Model, *, kept: Path | str | None = None) -> None:
        self.name, self.model, self.spent = model.name, model, Spent()
        self.kept = None if kept is None else Kept(Path(kept))

    @property
    def settings(self) -> str:
        """Which weights."""
        return json.dumps({"model": self.model.fingerprint, "temperature": 0})

    def ask(self, requests: Sequence[Request]) -> list[Reply]:
        """One after another."""
        return [self._one(request) for request in requests]

    def _one(self, request: Request) -> Reply:
        digest = request.digest(self.settings)
        if self.kept is not None and (found := self.kept.get(digest)) is not None:
            self.spent.kept += 1
            return found
        ids = self._ids(request.prompt)
        self.model.check_length(len(ids) + request.most, "A prompt with its answer", "Choose another reader.")
        prompt = torch.tensor([ids], device=self.model.device)
        decoder, text, n = Decoder(self.model.pieces), "", 0
        for chosen in generate(self.model, prompt, request.most, sampler=Sampler(temperature=0)):
            n += 1
            if int(chosen[0]) in self.model.ends:
                break
            text += decoder.add(int(chosen[0]))
        reply = Reply(text, len(ids), n)
        self.spent.requests, self.spent.read = self.spent.requests + 1, self.spent.read + reply.read
        self.spent.written += n
        if self.kept is not None:
            self.kept.put(digest, request, reply)
        return reply

    def _ids(self, prompt: str) -> list[int]:
        tokenizer: Any = self.model.tokenizer
        if getattr(tokenizer, "chat_template", None):
            said = [{"role": "user", "content": prompt}]
            return list(
                tokenizer.apply_chat_template(said, add_generation_prompt=True, tokenize=True, return_dict=False)
            )
        return begin(self.model, self.model.encode([prompt])[0], bos=True)


class LocalReader:
    """Judges by how likely a model holds the answers."""

    def __init__(self, model: Model, words: Mapping[int, str], material: Material) -> None:
        self.name, self.model = model.name, model
        self._words, self._material = words, material
        self._unsaid: dict[str, float | Float[np.ndarray, " tokens"]] = {}
        self._digits = [model.encode([str(digit)])[0][:1] for digit in range(DIGITS)]
        if [] in self._digits or len({each[0] for each in self._digits}) < DIGITS:
            raise BadInput(f"The tokenizer of {model.name} does not tell digits apart. Choose another reader.")

    def answers(self, feature: int, questions: Sequence[Question]) -> list[Float[np.ndarray, " answers"]]:
        """By what is likelier."""
        return [self._answer(self._words[feature], question) for question in questions]

    def _answer(self, words: str, question: Question) -> Float[np.ndarray, " answers"]:
        strings = [self._material.strings(shown.at) for shown in question.shown]
        if question.ask == "levels":
            return self._levels(words, strings[0]) - self._without(strings[0])
        odds = []
        for tokens, shown in zip(strings, question.shown, strict=True):
            passage = prompting.passage(1, tokens, shown.marked.tolist())
            odds.append(self._odds(words, question, passage) - self._prior(question, passage))
        found = np.array(odds)
        return -found if question.ask == "odd" else 1 / (1 + np.exp(-found))

    def _prior(self, question: Question, passage: str) -> float:
        key = f"{question.ask} {passage}"
        if key not in self._unsaid:
            self._unsaid[key] = self._odds(UNSAID, question, passage)
        return float(self._unsaid[key])

    def _without(self, tokens: list[str]) -> Float[np.ndarray, " tokens"]:
        key = "levels " + json.dumps(tokens)
        if key not in self._unsaid:
            self._unsaid[key] = self._levels(UNSAID, tokens)
        return np.asarray(self._unsaid[key])

    def _odds(self, words: str, question: Question, passage: str) -> float:
        """Log odds of yes against no."""
        asked = ASKED[question.ask]
        prompt = prompting.filled("yes", explanation=prompting.safe(words), passages=passage, question=asked).rstrip()
        start = begin(self.model, self.model.encode([prompt])[0], bos=True)
        said = []
        for answer in (" yes", " no"):
            ids = self.model.encode([answer])[0]
            logits = self._logits([*start, *ids])[len(start) - 1 : -1].log_softmax(-1)
            said.append(float(logits[range(len(ids)), ids].sum()))
        return said[0] - said[1]

    def _levels(self, words: str, tokens: list[str]) -> Float[np.ndarray, " tokens"]:
        """The digit that is to be expected after each token, all of them in one pass."""
        prompt = prompting.filled("digits", explanation=prompting.safe(words))
        ids, places = begin(self.model, self.model.encode([prompt])[0], bos=True), []
        for part, rest in zip(
            self.model.encode([f"{prompting.safe(token)!r}\t" for token in tokens]),
            self.model.encode(["?\n"]) * len(tokens), strict=True,
        ):  # fmt: skip
            ids += part
            places.append(len(ids) - 1)
            ids += rest
        digits = self._logits(ids)[places][:, [each[0] for each in self._digits]].softmax(-1)
        return (digits @ torch.arange(DIGITS, dtype=torch.float32)).numpy().astype(np.float64)

    def _logits(self, ids: list[int]) -> torch.Tensor:
        self.model.check_length(len(ids), "A question", "Choose a reader that reads more.")
        tokens = torch.tensor([ids], device=self.model.device)
        return self.model.run(tokens, read=[LOGITS])[LOGITS][0].float().cpu()
