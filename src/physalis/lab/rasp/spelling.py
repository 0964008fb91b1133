"""spelling: Spelling, a tokenizer whose tokens are words between spaces."""

from collections.abc import Sequence
from typing import Any

from physalis.errors import BadInput

BOS = "<bos>"


class Spelling:
    """Words by their numbers, in the order in which they are given, and after them what inputs begin with."""

    eos_token_id = None

    def __init__(self, words: Sequence[str]) -> None:
        self.words = (*words, BOS)
        self.ids = {word: i for i, word in enumerate(self.words)}
        self.bos_token_id = self.ids[BOS]

    def __call__(self, text: Sequence[str], *, add_special_tokens: bool = False) -> dict[str, list[list[int]]]:
        start = [self.bos_token_id] if add_special_tokens else []
        return {"input_ids": [[*start, *map(self.id_of, each.split())] for each in text]}

    def id_of(self, word: str) -> int:
        """Raises BadInput for a word that is not in the vocabulary."""
        if word not in self.ids:
            raise BadInput(f"There is no token {word!r}. Write the tokens between spaces: {' '.join(self.words[:-1])}.")
        return self.ids[word]

    def convert_ids_to_tokens(self, ids: Sequence[int]) -> list[Any]:
        """With the space before each, so that a text is its tokens joined."""
        return [f" {self.words[i]}" if i < len(self.words) else None for i in ids]

    def get_vocab(self) -> dict[str, int]:
        return {f" {word}": i for word, i in self.ids.items()}
