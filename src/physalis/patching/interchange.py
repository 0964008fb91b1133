"""interchange: interchange interventions: whether part of a model plays the role of a variable of an algorithm.

(Geiger et al. 2021, arXiv 2106.02997.) The model reads a base; a part of it gets what it has where the model reads a
source. The algorithm does the same with its variable. How often both then say the same is the accuracy: 1 where the
part is the variable, as far as these inputs tell.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from physalis.errors import BadInput
from physalis.models import Model
from physalis.models.model import EVERYWHERE
from physalis.patching.metric import LAST, LOGITS, check_alike, check_tokens
from physalis.patching.nodes import Node, check_nodes, read_nodes


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Algorithm:
    """A causal model of one variable."""

    variable: Callable[[Tensor], Tensor]
    """From contexts [contexts, context] to the variable's value in each, [contexts]."""
    answer: Callable[[Tensor, Tensor], Tensor]
    """From contexts and values of the variable to the token that follows each, [contexts]."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Interchange:
    """What the model and the algorithm said."""

    said: Int[Tensor, " contexts"]
    """The model, after the interchange."""
    expected: Int[Tensor, " contexts"]
    """The algorithm, after the interchange."""
    before: Int[Tensor, " contexts"]
    """The model, on the base as it is."""
    matters: Bool[Tensor, " contexts"]
    """Where the interchange changes what the algorithm says: elsewhere a part that does nothing is right too."""

    def __repr__(self) -> str:
        return f"Interchange({self.accuracy:.3f} of {len(self.said)}, {self.unchanged:.3f} without it)"

    @property
    def accuracy(self) -> float:
        """How often both said the same."""
        return float((self.said == self.expected).float().mean())

    @property
    def unchanged(self) -> float:
        """The baseline: how often the model says the same where nothing is interchanged."""
        return float((self.before == self.expected).float().mean())


@torch.no_grad()
def interchange_values(
    model: Model,
    base: Int[Tensor, "contexts context"],
    source: Int[Tensor, "_ _"],
    node: Node,
    algorithm: Algorithm,
    *,
    subspace: Float[Tensor, "rank columns"] | None = None,
    positions: slice = EVERYWHERE,
    at: int = LAST,
) -> Interchange:
    """The model's answer is its likeliest token after position ``at``. ``subspace`` is spanned by its rows, which need
    be neither orthogonal nor of length 1; all of the node is exchanged unless it is given.

    Raises BadInput for runs of different shapes, for a node that the model does not have, a subspace of another width
    or whose rows depend on each other, and an algorithm that does not give one value for each context."""
    check_alike(base, source)
    check_tokens(model, base)
    check_tokens(model, source)
    check_nodes(model, [node])
    if not -base.shape[1] <= at < base.shape[1]:
        raise BadInput(f"The contexts have {base.shape[1]} tokens; received position {at} to answer at.")
    here, there = (read_nodes(model, tokens, [node])[node] for tokens in (base, source))
    spanned = None if subspace is None else _projector(subspace, here.shape[-1]).to(here.device)
    moved = _one_each(algorithm.answer(base, _one_each(algorithm.variable(source), base)), base)
    own = _one_each(algorithm.answer(base, _one_each(algorithm.variable(base), base)), base)
    write = {node.site: partial(_exchanged, node, there, spanned, positions)}
    said, before = (model.run(base, read=[LOGITS], write=each)[LOGITS][:, at].argmax(-1).cpu() for each in (write, {}))
    return Interchange(said=said, expected=moved, before=before, matters=moved != own)


def _exchanged(node: Node, there: Tensor, spanned: Tensor | None, positions: slice, x: Tensor) -> Tensor:
    own = x[:, positions, node.span]
    change = (there[:, positions] - own).float()
    new = there[:, positions] if spanned is None else (own.float() + change @ spanned).to(x.dtype)
    x[:, positions, node.span] = new
    return x


def _projector(rows: Tensor, width: int) -> Tensor:
    if rows.shape[1] != width:
        raise BadInput(f"The node has {width} columns; received a subspace of rows {rows.shape[1]} wide.")
    if int(torch.linalg.matrix_rank(rows.float())) < len(rows):
        raise BadInput(f"The {len(rows)} rows of the subspace depend on each other. Give as many as it has dimensions.")
    basis = torch.linalg.qr(rows.float().T).Q
    return basis @ basis.T


def _one_each(values: Tensor, contexts: Tensor) -> Tensor:
    if values.shape != contexts.shape[:1]:
        raise BadInput(
            f"The algorithm gives one value for each of {len(contexts)} contexts; received shape {tuple(values.shape)}."
        )
    return values.cpu()
