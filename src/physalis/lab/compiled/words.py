"""words: Words, a tokenizer made of a text in a second: words with the space before them, cut after six letters."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

END = "<|endoftext|>"
_TOKEN = re.compile(r"\n| ?[^\W\d_]{1,6}| ?\d{1,3}| ?[^\w\s]| ?_+|[^\S\n]+(?= )|\s|.", re.DOTALL)
"""Longer words are several tokens, as in vocabularies that were learned."""


class Words:
    """Text as its words, numbers and signs. What the vocabulary lacks is its characters, or U+FFFD."""

    bos_token_id = None

    def __init__(self, vocabulary: Sequence[str]) -> None:
        """``vocabulary`` in the order of the ids; the end of a document is added."""
        self._tokens = [*dict.fromkeys([*vocabulary, "\ufffd"]), END]
        self._ids = {token: i for i, token in enumerate(self._tokens)}
        self.eos_token_id = self._ids[END]

    @classmethod
    def of(cls, texts: Iterable[str], *, size: int = 4096) -> "Words":
        """The ``size`` tokens that come most often in some texts, and every character of them."""
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(_TOKEN.findall(text))
        common = sorted(counts, key=lambda token: (-counts[token], token))[:size]
        return cls([*common, *sorted({character for token in counts for character in token})])

    def __call__(self, text: Sequence[str], *, add_special_tokens: bool = False) -> dict[str, list[list[int]]]:
        return {"input_ids": [[i for token in _TOKEN.findall(each) for i in self._of(token)] for each in text]}

    def _of(self, token: str) -> list[int]:
        if token in self._ids:
            return [self._ids[token]]
        return [self._ids.get(character, self._ids["\ufffd"]) for character in token]

    def convert_ids_to_tokens(self, ids: Sequence[int]) -> list[str]:
        return [self._tokens[i] for i in ids]

    def get_vocab(self) -> dict[str, int]:
        return dict(self._ids)
