"""predicting: what a model predicts of text as it is and as trials run it, in pieces that fit into memory.

A vocabulary is wide: the logits of one context of 2,048 tokens are 400 MB where it has 50,000 words.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from physalis.errors import BadInput
from physalis.models import Model, Write
from physalis.site import Site

LOGITS = Site("logits")
A_PASS = 4  # contexts
AT_ONCE = 1 << 26
"""Logits of a pass, at most: 256 MB. About six times as much is held of them at once, of two passes."""


class Trial(NamedTuple):
    """One way of running the model."""

    strength: float
    write: Mapping[Site, Write]
    before: Int[Tensor, " prompt"]
    """Tokens put before the text of every context; nothing is measured on them."""
    lead: int = 1
    """Positions that are no text and stay first: 1 where contexts begin with a BOS token, else 0."""


NOTHING = torch.empty(0, dtype=torch.long)


class Piece(NamedTuple):
    """Contexts that go through the model together, and which of their positions predict."""

    tokens: Int[Tensor, "contexts context"]
    some: slice
    """Of the context."""
    whose: Int[Tensor, "contexts some"]
    counts: Bool[Tensor, "contexts some"]


def pieces(
    model: Model, contexts: Int[Tensor, "contexts context"], documents: Int[Tensor, "contexts context"]
) -> Iterator[Piece]:
    """All of the text, so that no more than ``AT_ONCE`` logits are there at once."""
    most = max(1, AT_ONCE // model.vocab_size)
    ends = contexts.shape[1] - 1
    together = min(A_PASS, max(1, most // max(1, ends)))
    for tokens, whose in zip(contexts.split(together), documents.split(together), strict=True):
        counts = predictable(whose)
        for start in range(0, ends, most):
            some = slice(start, min(start + most, ends))
            yield Piece(tokens, some, whose[:, some], counts[:, some])


def predicted(model: Model, piece: Piece, trial: Trial) -> tuple[Float[Tensor, "n vocab"], Float[Tensor, " n"]]:
    """Log-probabilities at each position that counts, and the loss on the token after it, on the model's device."""
    tokens, some, n = piece.tokens, piece.some, len(trial.before)
    long = torch.cat([tokens[:, : trial.lead], trial.before.expand(len(tokens), -1), tokens[:, trial.lead :]], 1)
    there = slice(some.start + n, some.stop + n)
    logits = model.run(long, read=[LOGITS], write=trial.write, logits_at=there)[LOGITS]
    counts, after = piece.counts.to(logits.device), tokens[:, 1:][:, some].to(logits.device)
    log_p = logits[counts].float().log_softmax(-1)
    if log_p.isnan().any():
        raise BadInput(
            f"At strength {trial.strength:.3g} the predictions of {model.name} are not numbers any more. Choose "
            "smaller strengths."
        )
    return log_p, -log_p.gather(1, after[counts][:, None])[:, 0]


def predictable(documents: Int[Tensor, "contexts context"]) -> Bool[Tensor, "contexts context_1"]:
    """Where the next token belongs to the same document: the first token of another cannot be predicted."""
    return documents[:, 1:] == documents[:, :-1]
