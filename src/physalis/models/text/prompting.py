"""prompting: how a text begins for a model, and how much of it the model can read: the one place that decides both.

A recording puts a BOS token before every context, or none (``--no-bos``), and a dictionary is used as it was recorded:
its text begins with the same token, which is left out of everything, or with none, and then its first token counts
like any other. ``Hygiene.skip_first`` in a dictionary's manifest says which. The same text so means the same ids and
the same kept positions wherever it is read: recorded, tried, steered, answered, and measured at doses.
"""

from collections.abc import Sequence

from physalis.errors import BadInput
from physalis.models.model import Model


def first_id(model: Model) -> int | None:
    """The token that a context begins with where it begins with one: BOS, or the separator of documents for a model
    without BOS; None for a model that has neither."""
    return model.bos_id if model.bos_id is not None else model.separator_id


def begin(model: Model, ids: Sequence[int], *, bos: bool) -> list[int]:
    """The ids of a text as a context: with ``bos`` after the token that contexts begin with, which is there once, also
    where the text brought it along (chat templates do); without ``bos`` as they are."""
    first = first_id(model)
    return list(ids) if not bos or first is None or list(ids[:1]) == [first] else [first, *ids]


def room(model: Model, prompt: int, n: int | None, usual: int) -> int:
    """How many tokens come after a prompt of ``prompt`` tokens: ``n``, or ``usual`` where none are asked for, as far as
    the model's positions go. Raises BadInput for an empty prompt, and where prompt and ``n`` are longer than those."""
    if prompt == 0:
        raise BadInput("Nothing comes before the first token. Give a prompt of at least one token.")
    left = None if model.longest is None else model.longest - prompt
    if left is not None and left < 1:
        raise BadInput(
            f"The prompt has {prompt:,} tokens; {model.name} reads at most {model.longest:,}, with what comes after "
            "it. Shorten the prompt."
        )
    if n is not None and n < 0:
        raise BadInput(f"Tokens after the prompt are counted from 0; received {n}.")
    if n is None:
        return usual if left is None else min(usual, left)
    if left is not None and n > left:
        raise BadInput(
            f"The prompt has {prompt:,} tokens, and {n:,} after it are asked for; {model.name} reads at most "
            f"{model.longest:,} in all. Ask for at most {left:,}, or shorten the prompt."
        )
    return n
