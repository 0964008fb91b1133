"""contexts: a corpus as contexts of token ids: those to train on, then those that are held out; in memory or on disk.

All of it is tokenized first, then the held-out documents are drawn, and the two parts are packed separately: no context
has a token of both. text.json comes last, and says which bytes of which files were read.
"""

import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from math import prod
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal

import numpy as np
from jaxtyping import Int32
from pydantic import BaseModel, ConfigDict, Field

from physalis.activations import DOCUMENTS, TOKENS
from physalis.artifact import file_digest, read_json, write_atomic, write_json
from physalis.corpora import Trail, changed
from physalis.corpora.corpus import Corpus
from physalis.errors import BadInput
from physalis.models import (
    Model,
    Packed,
    check_context,
    check_enough,
    first_token,
    pack,
    packed,
)
from physalis.recording.held_out import Slice, split
from physalis.recording.options import Reading, n_contexts

TEXT = "text.json"


class _Read(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")


class _File(_Read):
    name: str
    bytes: Annotated[int, Field(ge=0)]
    sha256: str
    whole: bool


class _Trail(_Read):
    ended: bool
    files: list[_File]


class _Told(_Read):
    """What text.json says."""

    n_held_out: Annotated[int, Field(ge=0)]
    trail: _Trail
    files: dict[Literal["tokens.npy", "documents.npy"], str]


def check_text(model: Model, reading: Reading) -> None:
    """Raise BadInput for contexts that this model cannot read, before any text is read."""
    model.corpus.check_context(reading.context, bos=reading.bos)
    model.check_length(reading.context, "A context", "Choose a smaller --context.")
    check_context(reading.context)
    first_token(model, bos=reading.bos)


def opened(corpus: Corpus, source: str, field: str | None, trail: Trail) -> Iterator[Any]:
    """The documents of a source, of which the first was read. Raises BadInput if it cannot be."""
    documents = corpus.documents(source, field=field, trail=trail)
    return chain([*islice(documents, 1)], documents)


def blocks(model: Model, source: str, *, tokens: int, context: int, bos: bool, field: str | None) -> Iterator[Packed]:
    """The beginning of a source, in its order and not parted: whole contexts, up to ``tokens`` tokens."""
    left = n_contexts(tokens, context)
    for block in pack(model, model.corpus.documents(source, field=field), context=context, bos=bos):
        yield Packed(ids=block.ids[:left], documents=block.documents[:left])
        left -= min(left, len(block.ids))
        if not left:
            return


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A corpus that was read, tokenized and parted."""

    ids: Int32[np.ndarray, " tokens"]
    """One document after another, each with the separator at its end."""
    train: list[Slice]
    held_out: list[Slice]
    context: int
    first: int | None
    """The token that each context starts with."""
    separator: int | None
    """The token at the end of each document, and of each slice of one: what comes after it is another place."""
    n_train: int
    """Contexts."""
    n_held_out: int

    def blocks(self) -> Iterator[Packed]:
        """All contexts: those to train on, then those held out."""
        for slices, left in ((self.train, self.n_train), (self.held_out, self.n_held_out)):
            pieces = ((self._ended(each), each.document) for each in slices)
            for block in packed(pieces, context=self.context, first=self.first):
                if left:
                    yield Packed(ids=block.ids[:left], documents=block.documents[:left])
                left -= min(left, len(block.ids))

    def _ended(self, each: Slice) -> Int32[np.ndarray, " tokens"]:
        ids = self.ids[each.start : each.stop]
        return ids if self.separator in (None, int(ids[-1])) else np.append(ids, np.int32(self.separator))


def read_text(model: Model, texts: Iterable[Any], reading: Reading, *, spool: Path | None = None) -> Text:
    """Read documents as ``reading`` says, whole contexts only, and draw those that are held out.

    Token ids lie in a file in ``spool`` that has no name, so that they may be more than memory holds. Says on standard
    error if the text holds fewer tokens, and where a document is on both sides. Raises BadInput for text that does not
    fill a context, and for documents of another shape than the corpus's.
    """
    first, shape, context = first_token(model, bos=reading.bos), model.corpus.shape, reading.context
    width = context if first is None else context - 1
    wanted = n_contexts(reading.tokens, context)
    left, lengths = (wanted + 1) * width, []  # one context more: each part drops what does not fill its last
    with tempfile.TemporaryFile(dir=spool) as f:
        for ids in model.corpus.encoded(texts):
            if shape is not None and len(ids) != prod(shape):
                raise BadInput(
                    f"One of the {model.corpus.name} has {len(ids):,} positions, and should have {prod(shape):,}. "
                    "Leave it out, or bring all to one size."
                )
            f.write(np.asarray(ids[:left], np.int32).tobytes())
            lengths.append(min(left, len(ids)))
            left -= lengths[-1]
            if not left:
                break
        check_enough(len(lengths), sum(lengths), context=context, first=first)
        f.flush()
        flat = np.memmap(f, np.int32, "r")
    train, held = split(np.array(lengths), share=reading.held_out, context=width, seed=reading.seed)
    n_held = min(sum(each.stop - each.start for each in held) // width, wanted - 1)
    n_train = min(sum(each.stop - each.start for each in train) // width, wanted - n_held)
    found, asked = (n_train + n_held) * context, wanted * context
    if left and found < asked:
        print(f"The text holds {found:,} tokens, fewer than the {asked:,} asked for: using all.", file=sys.stderr)
    _say_shared(len(lengths), {each.document for each in train}, {each.document for each in held})
    return Text(
        ids=flat, train=train, held_out=held, context=context, first=first, separator=model.separator_id,
        n_train=n_train, n_held_out=n_held,
    )  # fmt: skip


def _say_shared(documents: int, train: set[int], held: set[int]) -> None:
    if documents == 1 and held:
        said = "The text is one document: a part of it is held out, and the rest is trained on."
    elif shared := len(train & held):
        said = (
            f"{shared} of the {len(held)} held-out documents are too long to be held out whole: slices of them are, "
            "and the rest of them is trained on."
        )
    else:
        return
    print(f"{said} Text of more documents is judged better.", file=sys.stderr)


def in_memory(text: Text) -> Packed:
    """All contexts at once."""
    found = list(text.blocks())
    return Packed(ids=np.concatenate([p.ids for p in found]), documents=np.concatenate([p.documents for p in found]))


def write_text(folder: Path, text: Text, trail: Trail) -> None:
    """Write the token ids and document numbers of ``text`` to .npy files in ``folder``, block by block, and then
    text.json: where that is, all is whole."""

    def both(owners_path: Path) -> None:
        def stream(ids_path: Path) -> None:
            with open(ids_path, "wb") as f, open(owners_path, "wb") as g:
                shape = (text.n_train + text.n_held_out, text.context)
                for out in (f, g):
                    _header(out, shape)
                for block in text.blocks():
                    f.write(block.ids.tobytes())
                    g.write(block.documents.tobytes())

        write_atomic(folder / TOKENS, stream)

    write_atomic(folder / DOCUMENTS, both)
    said = {
        "n_held_out": text.n_held_out, "trail": trail.said(),
        "files": {name: file_digest(folder / name) for name in (TOKENS, DOCUMENTS)},
    }  # fmt: skip
    write_json(folder / TEXT, said)


def _header(out: BinaryIO, shape: tuple[int, int]) -> None:
    np.lib.format.write_array_header_1_0(out, {"descr": "<i4", "fortran_order": False, "shape": shape})


def told(folder: Path) -> dict[str, Any] | None:
    """What text.json says of the text that ``folder`` was made of; None if it is not there, or damaged."""
    try:
        return _Told.model_validate(read_json(folder / TEXT)).model_dump()
    except ValueError:
        return None


def written(folder: Path) -> dict[str, Any] | None:
    """What text.json says, if the text in ``folder`` is whole: byte for byte what it was."""
    said = told(folder)
    try:
        whole = said is not None and all(
            file_digest(folder / name) == said["files"].get(name) for name in (TOKENS, DOCUMENTS)
        )
    except BadInput:
        return None
    return said if whole else None


def difference(corpus: Corpus, source: str, said: dict[str, Any]) -> str | None:
    """What is no longer as it was when a text was read, in words; None where all is, and for data sets on the hub,
    which is not asked. Raises BadInput if the source is not there."""
    found = corpus.files(source)
    try:
        return None if found is None else changed(said["trail"], found)
    except OSError as error:
        raise BadInput(f"The text {source!r} cannot be read ({error.strerror}).") from error
