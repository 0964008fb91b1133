"""steer(): what a model writes with and without edits, side by side, token by token.

Both texts are made in the same passes and with the same noise (``models.generation``), so that they differ only where
the edits change a choice.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from physalis.errors import BadInput
from physalis.models import Model
from physalis.models.generation import BY_CHANCE, Sampler, generate
from physalis.models.text.prompting import begin, room
from physalis.models.text.tokens import Decoder
from physalis.steering.edits import Steering

USUAL = 60


class Step(NamedTuple):
    """What the next token adds to both texts: nothing yet where it only begins a character; None where a text has come
    to its end. Joined, they are the texts; a character that the end cuts is U+FFFD."""

    plain: str | None
    edited: str | None


def completion(model: Model, text: str, *, bos: bool = True) -> Int[Tensor, " tokens"]:
    """A text to go on with. With ``bos`` it begins as contexts do that were recorded with BOS; ``Steering.bos`` says
    whether those of a dictionary were."""
    return torch.tensor(begin(model, model.encode([text])[0], bos=bos), dtype=torch.long)


def chat(model: Model, messages: Sequence[Mapping[str, str]], *, bos: bool = True) -> Int[Tensor, " tokens"]:
    """A conversation to be answered, as the model's own template writes it: ``{"role": "user", "content": "..."}``. A
    BOS token that the template writes stays the only one; with ``bos`` there is one in any case.

    Raises BadInput without a message, for a model that has no template, and for messages that its template refuses.
    """
    tokenizer: Any = model.tokenizer
    if not getattr(tokenizer, "chat_template", None):
        raise BadInput(f"{model.name} has no chat template: it was not made to answer. Give it a text to go on with.")
    if not messages:
        raise BadInput("There is no message to answer. Give at least one.")
    try:
        ids = tokenizer.apply_chat_template(
            list(messages), add_generation_prompt=True, tokenize=True, return_dict=False
        )
    except Exception as error:  # a template is a program of its author's, and refuses as it likes
        raise BadInput(f"The chat template of {model.name} refuses these messages: {error}. Give others.") from error
    return torch.tensor(begin(model, ids, bos=bos), dtype=torch.long)


def steer(
    model: Model,
    prompt: Int[Tensor, " tokens"],
    steering: Steering,
    *,
    n: int | None = None,
    sampler: Sampler = BY_CHANCE,
) -> Iterator[Step]:
    """At most ``n`` tokens of the text as the model writes it and as it does with the edits, which hold from the first
    position of the prompt, but for a BOS token. Unless given ``n`` is 60, or less where the model has no room for that.

    The prompt begins as the dictionary's text did: BOS is put before it where it is missing. Raises BadInput, at once,
    for an empty prompt, and for one that with ``n`` tokens more is longer than the model reads.
    """
    ids = torch.tensor(begin(model, prompt.tolist(), bos=steering.bos), dtype=torch.long) if len(prompt) else prompt
    n = room(model, len(ids), n, USUAL)
    writes = partial(steering.writes, contexts=slice(1, None))
    return _steps(model, generate(model, ids.expand(2, -1), n, writes=writes, sampler=sampler), n)


def _steps(model: Model, chosen: Iterator[Int[Tensor, " contexts"]], n: int) -> Iterator[Step]:
    sides: list[Decoder | None] = [Decoder(model.pieces), Decoder(model.pieces)]
    for place, ids in enumerate(chosen, start=1):
        words: list[str | None] = [None, None]
        for side, (decoder, id) in enumerate(zip(sides, ids.tolist(), strict=True)):
            if decoder is None:
                continue
            ends = id in model.ends
            word = ("" if ends else decoder.add(id)) + (decoder.rest() if ends or place == n else "")
            words[side] = None if ends and not word else word
            if ends:
                sides[side] = None
        if words == [None, None]:
            return
        yield Step(*words)
