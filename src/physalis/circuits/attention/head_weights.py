"""head_weights: Circuit, what a head moves (OV) and what makes it look (QK), as matrices of low rank.

Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits". What a head reads is the stream through the
norm before it, of which the gain (and the centring) is in the matrices and the scale is not: they are those of a stream
whose root mean square is 1, and to know them at another divide. So it is with a norm behind attention (Gemma).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from physalis.circuits.attention.block_maps import block_maps
from physalis.circuits.attention.head_scores import Head
from physalis.errors import BadInput
from physalis.models import Model
from physalis.site import Site


@dataclass(frozen=True, eq=False, slots=True)
class Circuit:
    """``x @ left @ right``: a matrix of the stream to itself by way of the few numbers that a head has."""

    left: Float[Tensor, "d_model rank"]
    right: Float[Tensor, "rank d_model"]

    def __repr__(self) -> str:
        return f"Circuit({self.left.shape[0]} by {self.right.shape[1]}, rank {self.left.shape[1]})"

    def matrix(self) -> Float[Tensor, "d_model d_model"]:
        """All of it."""
        return self.left @ self.right

    def norm(self) -> float:
        """Frobenius norm, by the small matrices."""
        squares = (self.left.T @ self.left) @ (self.right @ self.right.T)
        return float(squares.trace().clamp_min(0).sqrt())

    def eigenvalues(self, through: Float[Tensor, "d_model d_model"] | None = None) -> Complex[Tensor, " rank"]:
        """Those that are not 0 (of ``matrix() @ through``, where that is given), by a matrix of its rank."""
        right = self.right if through is None else self.right @ through
        return torch.linalg.eigvals((right @ self.left).cpu())


def ov_circuits(model: Model, layers: Sequence[int]) -> dict[Head, Circuit]:
    """What each head of ``layers`` writes into the stream, of what stands where it looks: ``W_V W_O``, without biases.

    Two passes over as many tokens as the stream, and the heads, are wide. Raises BadInput for a model whose values
    cannot be read, and for one in which they are not linear in the stream."""
    values = block_maps(model, "resid_pre", ["v"], layers)
    outputs = block_maps(model, "z", ["attn_out"], layers)
    found = {}
    for layer in layers:
        v, out = values[Site("v", layer)][0], outputs[Site("attn_out", layer)][0]
        n = _n_heads(model, layer)
        v = _by_head(v, n, len(out) // n)
        for head, rows in enumerate(out.unflatten(0, (n, -1))):
            found[Head(layer, head)] = Circuit(v[head], rows)
    return found


def qk_circuits(model: Model, layers: Sequence[int], *, offset: int = 0) -> dict[Head, Circuit]:
    """How much each head of ``layers`` looks from a position (rows) to one ``offset`` before it (columns): ``W_Q``
    times ``W_K`` transposed, scaled as the model scales it, rotary positions in it, without biases. A model with
    learned positions has them in its stream: there every offset is the same.

    Raises BadInput for a model whose queries cannot be read, and for one that normalises them (Qwen 3, Gemma 3)."""
    if offset < 0:
        raise BadInput(f"A head looks back, by 0 positions or more; received {offset}.")
    found = {}
    maps = block_maps(model, "resid_pre", ["q", "k"], layers, context=offset + 1)
    for layer in layers:
        q, k = maps[Site("q", layer)][1], maps[Site("k", layer)][0]
        n = _n_heads(model, layer)
        scale, d = model.attention_scale(layer), q.shape[1] // n
        for head, (left, right) in enumerate(zip(_by_head(q, n, d), _by_head(k, n, d), strict=True)):
            found[Head(layer, head)] = Circuit(left * scale, right.T)
    return found


def _n_heads(model: Model, layer: int) -> int:
    site = Site("attn_pattern", layer)
    return model.run(torch.zeros(1, 1, dtype=torch.long), read=[site])[site].shape[1]


def _by_head(weight: Float[Tensor, "d_model width"], n: int, d: int) -> Float[Tensor, "heads d_model d"]:
    """A matrix for every head, those of a group the same."""
    own = weight.unflatten(1, (-1, d)).transpose(0, 1)
    return own.repeat_interleave(n // len(own), 0)
