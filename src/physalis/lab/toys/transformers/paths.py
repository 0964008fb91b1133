"""Paths: an attention-only transformer taken apart exactly, and scores of what its heads do (Elhage et al. 2021, "A
Mathematical Framework for Transformer Circuits"; Olsson et al. 2022, "In-context Learning and Induction Heads").

With its patterns frozen a model without LayerNorm is linear, so its logits are a sum over the paths from embedding to
unembedding: the direct one, one through each head, and in two layers one through each pair of heads.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from physalis.errors import BadInput
from physalis.lab.toys.transformers.attention import Head, Patterns, Tokens, Transformers

Logits = Float[Tensor, "i b t v"]
HeadScores = Float[Tensor, "i layers heads"]


@dataclass(frozen=True)
class Paths:
    """Terms that add up to the logits."""

    direct: Logits
    """Embedding straight to unembedding: what the current token alone says, a bigram table."""
    heads: dict[Head, Logits]
    """Through one head alone."""
    pairs: dict[tuple[Head, Head], Logits]
    """Through a head of the first layer and then one of the second: virtual heads."""

    def total(self) -> Logits:
        return self.direct + sum(self.heads.values()) + sum(self.pairs.values())


@torch.no_grad()
def expand(models: Transformers, tokens: Tokens, patterns: Patterns | None = None) -> Paths:
    """Take the logits apart, with the patterns that the models have on these tokens unless others are given. Raises
    BadInput for more than two layers."""
    if models.layers > 2:
        raise BadInput(f"Paths are written out for two layers at most; received {models.layers}.")
    if patterns is None:
        patterns = models.trace(tokens).patterns
    start = models.read(tokens)

    def through(head: Head, x: Tensor) -> Tensor:
        """What the head moves of x [i, b, t, d]."""
        layer, h = head
        moved = patterns[:, layer, :, h] @ x
        return moved @ models.value[:, layer, h][:, None] @ models.output[:, layer, h][:, None]

    def said(x: Tensor) -> Tensor:
        return x @ models.unembed[:, None]

    moved = {head: through(head, start) for head in models.heads}
    pairs = {
        (first, second): said(through(second, moved[first]))
        for first in models.heads
        for second in models.heads
        if first[0] < second[0]
    }
    return Paths(said(start), {head: said(each) for head, each in moved.items()}, pairs)


def bigrams(models: Transformers) -> Float[Tensor, "i v v"]:
    """The direct path as a table: how much a token (row) raises the next (column)."""
    return models.embed @ models.unembed


def ov_circuit(models: Transformers, head: Head) -> Float[Tensor, "i v v"]:
    """How much attending to a token (row) raises each token's logit (column)."""
    layer, h = head
    return models.embed @ models.value[:, layer, h] @ models.output[:, layer, h] @ models.unembed


def qk_circuit(models: Transformers, head: Head) -> Float[Tensor, "i v v"]:
    """How much a token (row) wants to attend to another (column), positions left out, as it enters the softmax."""
    layer, h = head
    scores = models.embed @ models.query[:, layer, h] @ (models.embed @ models.key[:, layer, h]).mT
    return scores / models.query.shape[-1] ** 0.5


def ov_eigenvalues(models: Transformers, head: Head) -> Complex[Tensor, "i k"]:
    """Those of the OV circuit that are not zero because of its rank: a [v, v] matrix A B has those of B A [k, k]."""
    layer, h = head
    reads = models.embed @ models.value[:, layer, h]
    writes = models.output[:, layer, h] @ models.unembed
    return torch.linalg.eigvals(writes @ reads)


def positive_share(eigenvalues: Complex[Tensor, "i k"]) -> Float[Tensor, " i"]:
    """``sum of lambda / sum of |lambda|``: 1 where tokens raise themselves, -1 where they lower themselves. A summary,
    no proof of copying: where eigenvectors are far from orthogonal it can be positive without."""
    return eigenvalues.real.sum(-1) / eigenvalues.abs().sum(-1)


@dataclass(frozen=True)
class Composition:
    """How much heads of layer 1 (rows of heads) read what heads of layer 0 (columns) write, for each of three uses:
    ``|A B| / (|A| |B|)``, in Frobenius norms. Random heads share about ``1 / sqrt(d)``, not 0."""

    query: Float[Tensor, "i heads heads"]
    key: Float[Tensor, "i heads heads"]
    value: Float[Tensor, "i heads heads"]


def composition(models: Transformers) -> Composition:
    """Raises BadInput for models that have not two layers."""
    if models.layers != 2:
        raise BadInput(f"Heads compose between two layers; received {models.layers}.")
    wrote = torch.einsum("ihdk,ihke->ihde", models.value[:, 0], models.output[:, 0])
    asked = torch.einsum("ihdk,ihek->ihde", models.query[:, 1], models.key[:, 1])
    moved = torch.einsum("ihdk,ihke->ihde", models.value[:, 1], models.output[:, 1])

    def share(writes: Tensor, reads: Tensor) -> Tensor:
        """writes and reads [i, heads, d, d], rows what goes in."""
        both = torch.linalg.matrix_norm(torch.einsum("igde,ihef->ihgdf", writes, reads))
        apart = torch.linalg.matrix_norm(reads)[:, :, None] * torch.linalg.matrix_norm(writes)[:, None]
        return both / apart

    return Composition(share(wrote, asked), share(wrote, asked.mT), share(wrote, moved))


def _mean_over(patterns: Patterns, targets: Float[Tensor, "i b t t"]) -> HeadScores:
    """Attention to targets, averaged over the positions that have any."""
    there = targets.any(-1)
    paid = torch.einsum("ilbhqk,ibqk->ilh", patterns, targets)
    return paid / there.sum((1, 2))[:, None, None].clamp(min=1)


def induction_targets(tokens: Tokens) -> Float[Tensor, "i b t t"]:
    """1 where the key's position comes right after an earlier occurrence of the query's token, else 0."""
    same = (tokens[:, :, :, None] == tokens[:, :, None, :]).float()
    after = torch.zeros_like(same)
    after[..., 1:] = same[..., :-1]
    return after.tril()


def prefix_matching(patterns: Patterns, tokens: Tokens) -> HeadScores:
    """Attention to the position right AFTER the previous occurrence of the current token, averaged over positions whose
    token has occurred before; all its occurrences count. Measure it on random tokens, whose statistics say nothing."""
    return _mean_over(patterns, induction_targets(tokens))


def previous_token(patterns: Patterns) -> HeadScores:
    """Attention to the position before, averaged over all but the first."""
    return patterns.diagonal(offset=-1, dim1=-2, dim2=-1).mean((2, 4))


@torch.no_grad()
def copying(models: Transformers, tokens: Int[Tensor, "i b t"]) -> HeadScores:
    """By how many nats a head raises the logit of the tokens that it attends to, above the mean token: its output is
    unembedded, and logits of attended tokens are weighted by attention."""
    trace = models.trace(tokens)
    raised = torch.einsum("ilbhtd,idv->ilbhtv", trace.outputs, models.unembed)
    raised = raised - raised.mean(-1, keepdim=True)
    keys = tokens[:, None, :, None, None, :].expand(*trace.patterns.shape)
    return (trace.patterns * raised.gather(-1, keys)).sum(-1).mean((2, 4))
