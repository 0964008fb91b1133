"""metric: what an effect is measured on: one number of each context, read at one position of one site.

A metric is a small record that names a site and a position and is called on the rows that a pass has there. It is
differentiable; ``measure`` and ``measure_with_gradients`` run a model for it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isclose
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from physalis.errors import BadInput
from physalis.models import Frozen, Model, Write
from physalis.models.freezing import NOTHING
from physalis.models.model import EVERYWHERE
from physalis.site import Site

LOGITS = Site("logits")
ROUNDING = 1e-6
LAST = -1
"""The position of a context's last token."""

Tokens = Int[Tensor, " contexts"] | int
"""One token id for each context, or one for all."""


@runtime_checkable
class Metric(Protocol):
    """One number of each context."""

    @property
    def site(self) -> Site:
        """Where it is read."""
        ...

    @property
    def position(self) -> int:
        """At which token; below 0 it counts from the end."""
        ...

    def __call__(self, x: Float[Tensor, "contexts width"], /) -> Float[Tensor, " contexts"]: ...


@dataclass(frozen=True, slots=True, eq=False)
class LogitDifference:
    """The logit of the right token less that of the wrong one. Raises BadInput for an id that has no logit."""

    right: Tokens
    wrong: Tokens
    position: int = LAST

    @property
    def site(self) -> Site:
        return LOGITS

    def __call__(self, x: Float[Tensor, "contexts width"], /) -> Float[Tensor, " contexts"]:
        if bool((torch.as_tensor(self.right) == torch.as_tensor(self.wrong)).all()):
            raise BadInput(f"A difference is of two tokens; received {self.right} twice.")
        return _picked(x.float(), self.right) - _picked(x.float(), self.wrong)


@dataclass(frozen=True, slots=True, eq=False)
class LogProbability:
    """The log-probability of a token, nats. Raises BadInput for an id that has no logit."""

    token: Tokens
    position: int = LAST

    @property
    def site(self) -> Site:
        return LOGITS

    def __call__(self, x: Float[Tensor, "contexts width"], /) -> Float[Tensor, " contexts"]:
        return _picked(x.float().log_softmax(-1), self.token)


@dataclass(frozen=True, slots=True, eq=False)
class Along:
    """How far a site's row reaches along a direction: their dot product. Raises BadInput for a direction of another
    width."""

    site: Site
    direction: Float[Tensor, " width"]
    position: int = LAST

    def __call__(self, x: Float[Tensor, "contexts width"], /) -> Float[Tensor, " contexts"]:
        if len(self.direction) != x.shape[-1]:
            raise BadInput(
                f"{self.site} is {x.shape[-1]} wide; received a direction of {len(self.direction)} numbers. "
                "Give one of the site's width."
            )
        return x.float() @ self.direction.to(x.device).float()


@dataclass(frozen=True, slots=True, eq=False)
class Copies:
    """A metric of several copies of its contexts, one after the other: of each as if there were no other."""

    metric: Metric
    copies: int

    @property
    def site(self) -> Site:
        return self.metric.site

    @property
    def position(self) -> int:
        return self.metric.position

    def __call__(self, x: Float[Tensor, "contexts width"], /) -> Float[Tensor, " contexts"]:
        return torch.cat([self.metric(rows) for rows in x.chunk(self.copies)])


def alike(first: float, second: float) -> bool:
    """Whether two means of a metric differ by no more than rounding does."""
    return isclose(first, second, rel_tol=ROUNDING, abs_tol=ROUNDING)


def _picked(x: Tensor, ids: Tokens) -> Tensor:
    rows = torch.as_tensor(ids, device=x.device)
    if rows.dim() and len(rows) != len(x):
        raise BadInput(
            f"There are {len(x)} contexts; received {len(rows)} token ids. Give one for each, or one for all."
        )
    if rows.numel() and not 0 <= int(rows.min()) <= int(rows.max()) < x.shape[-1]:
        raise BadInput(
            f"The model predicts ids 0 to {x.shape[-1] - 1}; received ids from {int(rows.min())} to {int(rows.max())}."
        )
    return x.gather(-1, rows.long().expand(len(x))[:, None])[:, 0]


def measure(
    model: Model,
    metric: Metric,
    tokens: Int[Tensor, "contexts context"],
    *,
    write: Mapping[Site, Write] = {},
    freeze: Frozen = NOTHING,
) -> Float[Tensor, " contexts"]:
    """The metric on one pass. Raises BadInput for a position that the contexts do not have, and as ``Model.run``."""
    with torch.no_grad():
        return measure_with_gradients(model, metric, tokens, write=write, freeze=freeze)


def measure_with_gradients(
    model: Model,
    metric: Metric,
    tokens: Int[Tensor, "contexts context"],
    *,
    write: Mapping[Site, Write] = {},
    freeze: Frozen = NOTHING,
) -> Float[Tensor, " contexts"]:
    """``measure``, to be differentiated with respect to what ``write`` put there."""
    check_tokens(model, tokens)
    n = tokens.shape[1]
    if not -n <= metric.position < n:
        raise BadInput(
            f"The contexts have {n} tokens; received position {metric.position} to measure at. "
            f"Positions are 0 to {n - 1}, or below 0 from the end."
        )
    at = metric.position % n
    here = slice(at, at + 1)
    narrow = metric.site == LOGITS
    got = model.run_with_gradients(
        tokens, read=[metric.site], write=write, freeze=freeze, logits_at=here if narrow else EVERYWHERE
    )[metric.site]
    if got.dim() != 3:
        raise BadInput(
            f"{metric.site} has no row for each position, so nothing is measured there. Choose another site."
        )
    return metric(got[:, 0] if narrow else got[:, at])


def check_tokens(model: Model, tokens: Tensor) -> None:
    """Raise BadInput for what is no row of token ids for each context, all of the model's."""
    if not isinstance(tokens, Tensor) or tokens.dim() != 2:
        got = list(tokens.shape) if isinstance(tokens, Tensor) else type(tokens).__name__
        raise BadInput(f"Contexts are a tensor of token ids, [contexts, context]; received {got}.")
    model.check_length(tokens.shape[1], "A context", "Give shorter ones.")
    if tokens.numel() and not 0 <= int(tokens.min()) <= int(tokens.max()) < model.vocab_size:
        raise BadInput(
            f"{model.name} reads ids 0 to {model.vocab_size - 1}; received ids from {int(tokens.min())} to "
            f"{int(tokens.max())}."
        )


def check_positions(positions: Sequence[slice], tokens: Tensor) -> None:
    """Raise BadInput for groups of positions that are not slices, or of which one has no token of the contexts."""
    n = tokens.shape[1]
    if not positions:
        raise BadInput("No group of positions was given. Give at least one slice, or leave them out.")
    for at in positions:
        if not isinstance(at, slice) or not len(range(n)[at]):
            raise BadInput(f"The contexts have {n} tokens, and {at} is none of them. Give slices, as slice(3, 4).")


def check_alike(first: Int[Tensor, "contexts context"], second: Tensor) -> None:
    """Raise BadInput for two runs whose positions do not stand for each other."""
    for each in (first, second):
        if not isinstance(each, Tensor) or each.dim() != 2:
            raise BadInput(f"Contexts are a tensor of token ids, [contexts, context]; received {each!r:.80}.")
    if first.shape != second.shape:
        raise BadInput(
            f"The two runs have {first.shape[0]} contexts of {first.shape[1]} tokens and shape {tuple(second.shape)}. "
            "Values of one are written at the same place of the other: give as many contexts of the same length."
        )
    if not first.numel():
        raise BadInput("The two runs have no tokens. Give at least one context of one token.")
