"""Phrases: sentences of filler words with set phrases planted in them, verb ... preposition end, that only a memory of
the verb can finish."""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from physalis.lab.toys.transformers.attention import Tokens

RULES = {
    ("keep", "in"): "mind",
    ("keep", "at"): "bay",
    ("take", "for"): "granted",
    ("take", "to"): "heart",
    ("catch", "by"): "surprise",
    ("catch", "on"): "fire",
}
"""Each verb with either of two prepositions."""
VERBS = list(dict.fromkeys(verb for verb, _ in RULES))
PREPOSITIONS = [preposition for _, preposition in RULES]
ENDS = list(RULES.values())
FILLERS = ["the", "old", "sea", "and", "my", "dog", "so", "it"]
WORDS = [*FILLERS, *VERBS, *PREPOSITIONS, *ENDS]
ID = {word: i for i, word in enumerate(WORDS)}
LENGTH = 16
KINDS = {"filler": 0.55, "verb": 0.15, "preposition": 0.3}
"""How often a word of each kind comes where no end has to."""


def sentences(rng: np.random.Generator, *shape: int) -> Int[Tensor, "*shape t"]:
    """[*shape, LENGTH]: words drawn each by itself, but that an end follows each preposition: that of its phrase if its
    verb is anywhere before, else any. Nothing else that is past tells anything."""
    each = [rate / count for rate, count in zip(KINDS.values(), (len(FILLERS), len(VERBS), len(RULES)), strict=True)]
    chance = np.repeat([*each, 0.0], (len(FILLERS), len(VERBS), len(RULES), len(RULES)))
    out = rng.choice(len(WORDS), p=chance, size=(*shape, LENGTH))
    seen = np.zeros((*shape, len(VERBS)), bool)
    for t in range(LENGTH):
        if t:
            asked = out[..., t - 1] - ID[PREPOSITIONS[0]]
            due = (asked >= 0) & (asked < len(RULES))
            known = np.take_along_axis(seen, np.where(due, asked // 2, 0)[..., None], -1)[..., 0]
            end = np.where(known, asked, rng.integers(len(ENDS), size=shape))
            out[..., t] = np.where(due, ID[ENDS[0]] + end, out[..., t])
        seen |= out[..., t, None] == np.arange(len(VERBS)) + ID[VERBS[0]]
    return torch.tensor(out)


def batches(instances: int, size: int, seed: int) -> Callable[[int], Tokens]:
    """Fresh sentences for each step."""
    return lambda step: sentences(np.random.default_rng((seed, step)), instances, size)
