"""material: Material, a recording, a dictionary's codes on it and its text: what examples and questions are drawn from.
And Spoken, explanations of any kind as judges take them."""

import shutil
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from physalis import artifact
from physalis.activations import Stored
from physalis.artifact import Manifest
from physalis.codes import Firings, StoredCodes, encode
from physalis.corpora.characters import in_text, plain
from physalis.errors import BadInput
from physalis.explanations import KIND as RULES
from physalis.explanations import Explanations, Fields, Rule, Surroundings
from physalis.judging.passages import Fired, Passages
from physalis.judging.words import KIND as WORDS
from physalis.judging.words import Words
from physalis.models import Model

CODES = "codes"
"""Folder of codes in that of what is made, while it is made."""


class Material:
    """A text that a dictionary was read on."""

    def __init__(self, name: str, stored: Stored, codes: StoredCodes, model: Model, *, is_other: bool = False) -> None:
        """``is_other``: the explanations were learned from another text."""
        self.is_other = is_other
        self.name, self.stored, self.codes, self.model = name, stored, codes, model
        self.pieces = model.corpus.pieces(range(max(model.corpus.ids) + 1))
        self._fired: tuple[int, Fired] | None = None

    @classmethod
    def of(
        cls, dictionary: Path | str, stored: Stored, model: Model, out: Path, *, codes: Path | str | None = None,
        number: int = 0,
    ) -> "Material":  # fmt: skip
        """With the ``codes`` that ``encode`` wrote; else they are written to ``out``, where ``cleared`` removes them.
        Raises BadInput for what does not belong together."""
        folder = out / f"{CODES}-{number}" if codes is None else Path(codes)
        given = encode(dictionary, stored, out=folder) if codes is None else StoredCodes.open(folder)
        given.require(artifact.read(Path(dictionary), "dictionary"), stored)
        return cls(stored.reads[0].folder.name, stored, given, model, is_other=number > 0)

    @staticmethod
    def cleared(out: Path) -> None:
        """Remove codes that only the making needed."""
        for each in out.glob(f"{CODES}-*"):
            shutil.rmtree(each, ignore_errors=True)

    @cached_property
    def judged(self) -> Passages:
        """Of the held-out part, without what stands in the training part too; of all where none is held out, or nothing
        was learned from any of it."""
        if self.is_other or not self.stored.held_out.n_tokens:
            return Passages(self.stored, self.stored)
        return Passages(self.stored, self.stored.held_out, learned=self.stored.train)

    @cached_property
    def learned(self) -> Passages:
        """Of the training part."""
        return Passages(self.stored, self.stored.train)

    @cached_property
    def learned_from(self) -> Int[np.ndarray, " tokens"]:
        """Positions of the training part."""
        return np.sort(self.stored.train.at)

    def firings(self, feature: int) -> Firings:
        """All of a feature's."""
        return self.codes.firings(feature)

    def fired(self, feature: int) -> Fired:
        """What it does in the passages that are judged on."""
        if self._fired is None or self._fired[0] != feature:
            self._fired = feature, self.judged.fired(self.firings(feature))
        return self._fired[1]

    def surroundings(self, fields: Fields) -> Surroundings:
        """The whole text, as rules read it."""
        return Surroundings(self.stored.tokens, self.pieces, fields)

    def strings(self, at: Int[np.ndarray, " tokens"]) -> list[str]:
        """The tokens at positions that follow each other, as a person reads them."""
        return [plain(each) for each in in_text([self.pieces[i] for i in self.judged.tokens[at]])]


class Spoken(NamedTuple):
    """Explanations."""

    manifest: Manifest
    words: Mapping[int, str]
    """A sentence of each feature: of a rule ``in_words``."""
    rules: Mapping[int, Rule]
    """None where words are all there is."""
    fields: Fields | None

    @classmethod
    def open(cls, folder: Path | str) -> "Spoken":
        """What ``explain`` or ``describe`` wrote. Raises BadInput for anything else."""
        folder = Path(folder)
        if artifact.kind_of(folder) == WORDS:
            said = Words.open(folder)
            return cls(said.manifest, {each.feature: each.words for each in said}, {}, None)
        found = Explanations.open(folder) if artifact.kind_of(folder) == RULES else _neither(folder)
        rules = {each.feature: each.program for each in found}
        return cls(found.manifest, {i: rule.in_words() for i, rule in rules.items()}, rules, found.fields)


def _neither(folder: Path) -> Explanations:
    artifact.read(folder, RULES)  # says what is wrong with it
    raise BadInput(f"{folder} holds neither rules nor words. Give what `explain` or `describe` wrote.")
