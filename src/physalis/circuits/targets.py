"""targets: what a graph ends in: the logits that the model holds likely, some tokens, a difference of two, a direction.

A target is a direction of the stream behind the last block, at one position, divided by what the last norm divides by
there. Of a token it is its row of the unembedding less the mean of all rows, for what raises every logit changes
nothing; so its value is how far the token's logit stands above the mean, before any cap and without biases behind the
stream.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from physalis.errors import BadInput
from physalis.models import Model


class Target(NamedTuple):
    """One end of a graph."""

    name: str
    token: int | None
    """The id whose logit it is; None for another direction."""
    probability: float
    """That the model gives the token after the prompt; 1 for another direction."""
    weight: float
    """Its share in what influence is measured on."""
    direction: Float[Tensor, " d_model"]


@runtime_checkable
class Targets(Protocol):
    """Says what a graph ends in."""

    def of(self, model: Model, logits: Float[Tensor, " vocab"]) -> list[Target]: ...


@dataclass(frozen=True, slots=True)
class TopLogits:
    """The likeliest next tokens, weighted by their probability: as many as hold ``share`` of it, at most ``most``."""

    most: int = 10
    share: float = 0.95

    def __post_init__(self) -> None:
        if self.most < 1 or not 0 < self.share <= 1:
            raise BadInput(
                "At least one logit is traced, and a share of probability is above 0 and at most 1; received "
                f"most={self.most} and share={self.share}."
            )

    def of(self, model: Model, logits: Float[Tensor, " vocab"]) -> list[Target]:
        """Raises BadInput for a model without a direct path to its logits."""
        p = logits.masked_fill(~model.known_ids, float("-inf")).softmax(0)
        values, ids = p.topk(min(self.most, int(model.known_ids.sum())))
        n = min(int((values.cumsum(0) < self.share).sum()) + 1, len(ids))
        return _logits(model, p, ids[:n].tolist())


@dataclass(frozen=True, slots=True)
class Tokens:
    """The logits of these tokens, weighted by their probability."""

    ids: tuple[int, ...]

    def of(self, model: Model, logits: Float[Tensor, " vocab"]) -> list[Target]:
        """Raises BadInput for ids that the model does not have, and where there are none."""
        _check(model, self.ids)
        return _logits(model, logits.softmax(0), self.ids)


@dataclass(frozen=True, slots=True)
class Difference:
    """One logit less another: why this and not that."""

    right: int
    wrong: int

    def of(self, model: Model, logits: Float[Tensor, " vocab"]) -> list[Target]:
        """Raises BadInput for ids that the model does not have, or one id twice."""
        _check(model, (self.right, self.wrong))
        rows = model.unembedding()
        right, wrong = model.token_strings([self.right, self.wrong])
        return [Target(f"{right} rather than {wrong}", None, 1.0, 1.0, rows[self.right] - rows[self.wrong])]


@dataclass(frozen=True, eq=False)
class Direction:
    """A direction of the stream behind the last block, "d_model", by a name."""

    name: str
    vector: Float[Tensor, " d_model"]

    def of(self, model: Model, logits: Float[Tensor, " vocab"]) -> list[Target]:
        """Raises BadInput for a vector of another width or of length 0."""
        vector = self.vector.to(model.device, torch.float32)
        if vector.shape != (model.d_model,) or not vector.isfinite().all() or not vector.any():
            raise BadInput(
                f"A direction of {model.name} has {model.d_model} finite numbers that are not all 0; received "
                f"{list(vector.shape)} numbers of length {float(vector.norm()):.3g}."
            )
        return [Target(self.name, None, 1.0, 1.0, vector)]


def _check(model: Model, ids: Sequence[int]) -> None:
    if not ids:
        raise BadInput("No token is named to trace. Name at least one.")
    if again := [i for i in ids if list(ids).count(i) > 1]:
        raise BadInput(
            f"Each token is traced once; token {again[0]} ({model.token_strings([again[0]])[0]!r}) comes twice."
        )
    if wrong := [i for i in ids if not 0 <= i < model.vocab_size]:
        raise BadInput(f"{model.name} has tokens 0 to {model.vocab_size - 1}; received {wrong[0]}.")


def _logits(model: Model, p: Tensor, ids: Sequence[int]) -> list[Target]:
    rows = model.unembedding()
    rows = rows[list(ids)] - rows.mean(0)
    weights = p[list(ids)] / p[list(ids)].sum()
    names = model.token_strings(ids)
    told = zip(names, ids, p[list(ids)].tolist(), weights.tolist(), rows, strict=True)
    return [Target(*each) for each in told]
