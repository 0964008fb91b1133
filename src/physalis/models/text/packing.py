"""packing: documents as contexts of token ids of equal length.

Documents are joined with the model's separator token and cut; every token remembers its document.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int32

from physalis.errors import BadInput
from physalis.models.model import Model
from physalis.models.text.prompting import first_id

CONTEXTS_A_BLOCK = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """A block of contexts, at most 256."""

    ids: Int32[np.ndarray, "contexts context"]
    """Token ids."""
    documents: Int32[np.ndarray, "contexts context"]
    """For each token the number of its document, counted from 0 in the order read. A separator belongs to the document
    that it ends; a BOS token to the document of the token after it."""


def packed(
    pieces: Iterable[tuple[Int32[np.ndarray, " tokens"], int]], *, context: int, first: int | None
) -> Iterator[Packed]:
    """Token ids, each piece with the number of its document, as contexts of ``context`` tokens, in order, 256 contexts
    a block (the last may be shorter). With ``first`` each context starts with that token. Tokens that do not fill the
    last context are dropped."""
    width = context if first is None else context - 1
    ids, owners, waiting = [], [], 0
    for part, number in pieces:
        ids.append(part)
        owners.append(np.full(len(part), number, np.int32))
        waiting += len(part)
        if waiting >= CONTEXTS_A_BLOCK * width:
            whole = waiting // width * width
            flat, flat_owners = np.concatenate(ids), np.concatenate(owners)
            for start in range(0, whole - CONTEXTS_A_BLOCK * width + 1, CONTEXTS_A_BLOCK * width):
                stop = start + CONTEXTS_A_BLOCK * width
                yield _block(flat[start:stop], flat_owners[start:stop], width, first)
            done = whole // (CONTEXTS_A_BLOCK * width) * CONTEXTS_A_BLOCK * width
            ids, owners, waiting = [flat[done:]], [flat_owners[done:]], waiting - done
    if whole := waiting // width * width:
        yield _block(np.concatenate(ids)[:whole], np.concatenate(owners)[:whole], width, first)


def first_token(model: Model, *, bos: bool) -> int | None:
    """What each context starts with: the BOS token, the separator where the tokenizer has none, nothing without
    ``bos``. Raises BadInput if the tokenizer has neither."""
    first = first_id(model)
    if bos and first is None:
        raise BadInput(
            f"The tokenizer of {model.name} has neither a BOS nor an end token. Record with bos=False (--no-bos)."
        )
    return first if bos else None


def pack(model: Model, documents: Iterable[str], *, context: int, bos: bool) -> Iterator[Packed]:
    """Pack documents into contexts of ``context`` tokens, in order, 256 contexts a block (the last may be shorter).

    Every document is followed by the model's separator token. With ``bos`` each context starts with the BOS token (the
    separator where the tokenizer has no BOS) and so holds one token of text less. Documents without text are skipped;
    tokens that do not fill the last context are dropped. Raises BadInput if there is no text, or not enough for one
    context.
    """
    first = first_token(model, bos=bos)
    check_context(context)
    seen = [0, 0]

    def numbered() -> Iterator[tuple[Int32[np.ndarray, " tokens"], int]]:
        for number, ids in enumerate(model.corpus.encoded(documents)):
            seen[:] = number + 1, seen[1] + len(ids)
            yield ids, number

    yield from packed(numbered(), context=context, first=first)
    check_enough(*seen, context=context, first=first)


def check_context(context: int) -> None:
    """Raise BadInput for a context too short to hold a prediction."""
    if context < 2:
        raise BadInput(f"A context needs at least 2 tokens; received {context}.")


def check_enough(documents: int, tokens: int, *, context: int, first: int | None) -> None:
    """Raise BadInput if a text of so many documents and tokens does not fill one context."""
    width = context if first is None else context - 1
    if not documents:
        raise BadInput("The text is empty: no document holds anything but white space. Choose another --text.")
    if tokens < width:
        raise BadInput(
            f"The text is shorter than one context: {tokens} tokens, and a context holds {width} of text. "
            "Give more text or a smaller --context."
        )


def _block(ids: np.ndarray, owners: np.ndarray, width: int, first: int | None) -> Packed:
    ids, owners = ids.reshape(-1, width), owners.reshape(-1, width)
    if first is not None:
        ids = np.concatenate([np.full((len(ids), 1), first, np.int32), ids], axis=1)
        owners = np.concatenate([owners[:, :1], owners], axis=1)
    return Packed(ids=ids, documents=owners)
