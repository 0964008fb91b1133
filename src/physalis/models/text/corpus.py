"""corpus: Text, the corpus of a language model: what its tokenizer makes of texts."""

import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int32

from physalis.corpora import Trail, sources
from physalis.corpora.characters import Piece
from physalis.corpora.corpus import DEFAULT, Corpus
from physalis.models.text import tokens

TEXTS_A_BATCH, CHARACTERS_A_BATCH = 64, 4_000_000


class Text(Corpus):
    """Texts, of which each position is a token."""

    name = DEFAULT

    def __init__(self, tokenizer: tokens.Tokenizer) -> None:
        self.tokenizer = tokenizer

    def documents(self, source: str, *, field: str | None = None, trail: Trail | None = None) -> Iterator[str]:
        """As ``corpora.documents`` reads them, but for those of white space."""
        return filter(str.strip, sources.documents(source, field=field, trail=trail))

    def files(self, source: str) -> list[Path] | None:
        """As ``corpora.files`` finds them."""
        found = sources.files(source)
        return None if found is None else [each for each in found if isinstance(each, Path)]

    def named(self, source: str) -> dict[str, str]:
        """Its file or files without their folders, and for ``stdlib`` whose library it is."""
        if source == "stdlib":
            return {"name": source, "python": ".".join(map(str, sys.version_info[:3]))}
        found, path = sources.files(source), Path(source).expanduser()
        if found is None or path.exists():
            return {"name": source if found is None else path.resolve().name}
        return {"name": ", ".join(Path(part.strip()).name for part in source.split(","))}

    @property
    def at_hand(self) -> str:
        """Python's own library."""
        return "stdlib"

    def typed(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, no special tokens added."""
        return tokens.encode(self.tokenizer, texts)

    def encoded(self, documents: Iterable[str]) -> Iterator[Int32[np.ndarray, " tokens"]]:
        """The token ids of each document that holds more than white space, the separator at its end."""
        for batch in _batches(filter(str.strip, documents)):
            for ids in self.typed(batch):
                yield np.array(ids if self.separator_id is None else [*ids, self.separator_id], np.int32)

    @property
    def ids(self) -> Collection[int]:
        return set(self.tokenizer.get_vocab().values())

    def pieces(self, ids: Sequence[int], /) -> list[Piece]:
        """The text of each token, or its bytes where it is a part of a character: ``characters``."""
        return self._pieces(ids)

    @cached_property
    def _pieces(self) -> tokens.Pieces:
        return tokens.Pieces(self.tokenizer)

    @property
    def bos_id(self) -> int | None:
        """The tokenizer's beginning-of-sequence token, or None if it has none."""
        return self.tokenizer.bos_token_id

    @cached_property
    def separator_id(self) -> int | None:
        """The token between documents: <|endoftext|> where the vocabulary has it, since pretraining used it, else the
        tokenizer's end-of-sequence token."""
        return self.tokenizer.get_vocab().get("<|endoftext|>", self.tokenizer.eos_token_id)

    @cached_property
    def ends(self) -> Collection[int]:
        """The tokenizer's own end, that of its chat template's turns, and the separator of documents."""
        eos: Any = self.tokenizer.eos_token_id
        named = [*(eos if isinstance(eos, list | tuple) else [eos]), self.separator_id, tokens.turn_end(self.tokenizer)]
        return [int(i) for i in named if i is not None]

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of the vocabulary and of what tells tokenizers apart that share one."""
        return tokens.fingerprint(self.tokenizer)


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    # Tokenizers take a hundred bytes a character, and a text may have millions.
    batch, size = [], 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if len(batch) == TEXTS_A_BATCH or size >= CHARACTERS_A_BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
