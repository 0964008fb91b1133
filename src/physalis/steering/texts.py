"""steer(): what a model writes with and without edits, side by side, token by token.

Both texts are made in the same passes and with the same noise (``models.generation``), so that they differ only where
the edits change a choice.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from physalis.errors import BadInput
from physalis.models import Model
from physalis.models.generation import BY_CHANCE, Sampler, generate
from physalis.steering.edits import Steering


class Step(NamedTuple):
    """The next token of both texts; None where a text has come to its end."""

    plain: str | None
    edited: str | None


def completion(model: Model, text: str) -> Int[Tensor, " tokens"]:
    """A text to go on with, after a BOS token where the model has one."""
    bos = [] if model.bos_id is None else [model.bos_id]
    return torch.tensor(bos + model.encode([text])[0])


def chat(model: Model, messages: Sequence[Mapping[str, str]]) -> Int[Tensor, " tokens"]:
    """A conversation to be answered, as the model's own template writes it: ``{"role": "user", "content": "..."}``.

    Raises BadInput for a model that has no template.
    """
    tokenizer: Any = model.tokenizer
    if not getattr(tokenizer, "chat_template", None):
        raise BadInput(f"{model.name} has no chat template: it was not made to answer. Give it a text to go on with.")
    ids = tokenizer.apply_chat_template(list(messages), add_generation_prompt=True, tokenize=True, return_dict=False)
    return torch.tensor(ids)


def steer(
    model: Model,
    prompt: Int[Tensor, " tokens"],
    steering: Steering,
    *,
    n: int = 60,
    sampler: Sampler = BY_CHANCE,
) -> Iterator[Step]:
    """At most ``n`` tokens of the text as the model writes it and as it does with the edits, which hold from the first
    position of the prompt. Raises BadInput for an empty prompt."""
    ends = {model.tokenizer.eos_token_id, model.separator_id}
    over = [False, False]

    def writes(start: int) -> Mapping[Any, Any]:
        return steering.writes(start, contexts=slice(1, None))

    for chosen in generate(model, prompt.expand(2, -1), n, writes=writes, sampler=sampler):
        over = [past or int(each) in ends for past, each in zip(over, chosen, strict=True)]
        if all(over):
            return
        words = model.token_strings(chosen.tolist())
        yield Step(*(None if past else word for past, word in zip(over, words, strict=True)))
