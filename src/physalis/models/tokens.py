"""tokens: what physalis asks of a tokenizer: ids of many texts at once, readable strings of ids, and a fingerprint."""

import hashlib
import re
from collections.abc import Sequence
from functools import cache
from typing import Any, Protocol, runtime_checkable

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
    """Token ids of each text, without special tokens. Fast tokenizers use all cores."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return [list(ids) for ids in tokenizer(list(texts), add_special_tokens=False)["input_ids"]]
    # The wrapper warns about texts longer than the model's window and builds masks; neither matters to packed text.
    return [e.ids for e in backend.encode_batch_fast(list(texts), add_special_tokens=False)]


@cache
def _byte_of_character() -> dict[str, int]:
    # GPT-2's byte-level alphabet: printable bytes stand for themselves, the others for characters from 256 up.
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in plain]
    return {chr(b): b for b in plain} | {chr(256 + i): b for i, b in enumerate(rest)}


def _shown(data: bytes) -> str:
    # Bytes that are only part of a character are shown as \xNN rather than lost.
    return data.decode("utf-8", errors="backslashreplace")


def strings(tokenizer: Tokenizer, ids: Sequence[int]) -> list[str]:
    """Each token as a person would read it: spaces and newlines are themselves, parts of characters are ``\\xNN``.

    Joining the strings of a text gives the text wherever no character is cut in two.
    """
    pieces = tokenizer.convert_ids_to_tokens([int(i) for i in ids])
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return [p or "" for p in pieces]
    byte_level = "ByteLevel" in str(backend.decoder)
    special = {int(i) for i in getattr(tokenizer, "added_tokens_decoder", {})}
    return [
        _readable(p or "", byte_level=byte_level and int(i) not in special) for i, p in zip(ids, pieces, strict=True)
    ]


def _readable(piece: str, *, byte_level: bool) -> str:
    if byte_level:
        table = _byte_of_character()
        return _shown(bytes(table[c] for c in piece)) if all(c in table for c in piece) else piece
    if (byte := re.fullmatch(r"<0x([0-9A-F]{2})>", piece)) is not None:
        return _shown(bytes([int(byte[1], 16)]))
    return piece.replace("▁", " ")


def fingerprint(tokenizer: Tokenizer) -> str:
    """sha256 of the vocabulary, the special ids and the ids of a probing text: equal where ids mean the same."""
    h = hashlib.sha256()
    for token, i in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1]):
        h.update(f"{i}\t{token!r}\n".encode())
    h.update(repr((tokenizer.bos_token_id, tokenizer.eos_token_id, encode(tokenizer, [PROBE]))).encode())
    return h.hexdigest()
