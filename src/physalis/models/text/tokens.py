"""tokens: what physalis asks of a tokenizer: ids of many texts at once, the text of ids, alone, in a text and as they
come, the ends of a turn, and a fingerprint."""

import codecs
import hashlib
import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Protocol, runtime_checkable

from physalis.corpora.characters import Piece, alone, piece
from physalis.errors import BadInput

PROBE = "In 1984, Zoë's  naïve test() cost $3.50:\n\n\tfor x in range(10):\n        print('日本 🌱')\r\n"
"""Text whose ids tell tokenizers apart that share a vocabulary: digits, runs of spaces, accents, emoji."""


@runtime_checkable
class Tokenizer(Protocol):
    """The part of a Hugging Face tokenizer that is used; ``tiny.ByteTokenizer`` has it too."""

    bos_token_id: Any
    eos_token_id: Any

    def __call__(self, text: Any, *, add_special_tokens: bool) -> Any: ...
    def convert_ids_to_tokens(self, ids: Any) -> Any: ...
    def get_vocab(self) -> dict[str, int]: ...


def encode(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of each text, without special tokens. Fast tokenizers use all cores. Half a surrogate pair, which is no
    text, counts as U+FFFD."""
    whole = [_whole(text) for text in texts]
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return [list(ids) for ids in tokenizer(whole, add_special_tokens=False)["input_ids"]]
    # The wrapper warns about texts longer than the model's window and builds masks; neither matters to packed text.
    return [e.ids for e in backend.encode_batch_fast(whole, add_special_tokens=False)]


def _whole(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


@cache
def _byte_of_character() -> dict[str, int]:
    # GPT-2's byte-level alphabet: printable bytes stand for themselves, the others for characters from 256 up.
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in plain]
    return {chr(b): b for b in plain} | {chr(256 + i): b for i, b in enumerate(rest)}


class Pieces:
    """What each token id of a tokenizer stands for in a text: spaces and newlines are themselves, special tokens their
    names, and what is only part of a character its bytes."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        backend = getattr(tokenizer, "backend_tokenizer", None)
        self._has_backend = backend is not None
        self._byte_level = backend is not None and "ByteLevel" in str(backend.decoder)
        self._special = {int(i) for i in getattr(tokenizer, "added_tokens_decoder", {})}

    def __call__(self, ids: Sequence[int]) -> list[Piece]:
        """Of each id; empty where the tokenizer has no such token."""
        written = self._tokenizer.convert_ids_to_tokens([int(i) for i in ids])
        return [self._piece(int(i), each or "") for i, each in zip(ids, written, strict=True)]

    def _piece(self, id: int, written: str) -> Piece:
        if self._byte_level:
            table = _byte_of_character()
            cut = id not in self._special and all(c in table for c in written)
            return piece(bytes(table[c] for c in written)) if cut else written
        # Sentencepiece's bytes, and those of ``tiny.ByteTokenizer``.
        byte = re.fullmatch(r"<0x([0-9A-F]{2})>", written)
        if byte is None and not self._has_backend:
            byte = re.fullmatch(r"\\x([0-9a-f]{2})", written)
        return piece(bytes([int(byte[1], 16)])) if byte is not None else written.replace("▁", " ")


class Decoder:
    """The text of tokens as they come, one after another: a character is given when its last byte is there."""

    def __init__(self, pieces: Callable[[Sequence[int]], list[Piece]]) -> None:
        self._pieces = pieces
        self._bytes = codecs.getincrementaldecoder("utf-8")("replace")

    def add(self, id: int) -> str:
        """What is text now that was not before: empty where the token only begins a character."""
        (token,) = self._pieces([id])
        return self._bytes.decode(token.encode() if isinstance(token, str) else token)

    def rest(self) -> str:
        """What the end leaves unfinished, as U+FFFD; empty where nothing is."""
        return self._bytes.decode(b"", True)


def strings(tokenizer: Tokenizer, ids: Sequence[int]) -> list[str]:
    """Each token alone as a person would read it: parts of characters are ``\\xNN``."""
    return [alone(token) for token in Pieces(tokenizer)(ids)]


def turn_end(tokenizer: Tokenizer) -> int | None:
    """The token with which the tokenizer's chat template ends an answer; None where there is no template, or it ends
    one with ordinary text."""
    chatting: Any = tokenizer
    if not getattr(tokenizer, "chat_template", None):
        return None
    answer = "physalis"
    said = [{"role": "user", "content": "?"}, {"role": "assistant", "content": answer}]
    try:
        written = chatting.apply_chat_template(said, tokenize=False)
    except Exception:  # a template is a program of its author's, and may raise what it likes
        return None
    after = written.rpartition(answer)[2].strip()
    ids = encode(tokenizer, [after])[0] if after else []
    special = {int(i) for i in getattr(tokenizer, "added_tokens_decoder", {})}
    return ids[0] if ids and ids[0] in special else None


def fingerprint(tokenizer: Tokenizer) -> str:
    """sha256 of the vocabulary, the special ids and the ids of a probing text: equal where ids mean the same."""
    h = hashlib.sha256()
    for token, i in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1]):
        h.update(f"{i}\t{token!r}\n".encode())
    try:
        probe = encode(tokenizer, [PROBE])
    except BadInput:  # it reads some words alone, as a compiled program's does: then its vocabulary says what it is
        probe = None
    h.update(repr((tokenizer.bos_token_id, tokenizer.eos_token_id, probe)).encode())
    return h.hexdigest()
