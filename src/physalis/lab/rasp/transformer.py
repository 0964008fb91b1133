"""transformer: a Tiny without norms, with ReLUs, and with heads as wide as what they compare or move.

Its config is in the model's fingerprint as far as it decides what is computed: whether positions see later ones.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from physalis.models.families import TINY
from physalis.models.tiny import Attention, Tiny, TinyConfig

FAMILY = replace(TINY, model_types=("physalis_rasp",))
CAUSAL, FULL = "causal_attention", "full_attention"


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledConfig(TinyConfig):
    """Sizes of a compiled transformer."""

    d_head: int
    layer_types: tuple[str, ...]
    """``CAUSAL`` or ``FULL``, a layer each."""
    model_type: str = FAMILY.model_types[0]


class CausalAttention(Attention):
    """Its heads need not be as wide, together, as the stream."""

    def __init__(self, config: CompiledConfig) -> None:
        super().__init__(config)
        width = config.n_heads * config.d_head
        self.qkv = nn.Linear(config.d_model, 3 * width)
        self.out = nn.Linear(width, config.d_model)


class FullAttention(CausalAttention):
    """Every position sees all."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v)

    def weights(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return (q @ k.transpose(2, 3) * q.shape[-1] ** -0.5).softmax(-1)


def empty_transformer(config: CompiledConfig) -> Tiny:
    """All of whose weights are 0."""
    with torch.device("meta"):  # what torch would draw is not drawn
        module: Any = Tiny(config)
        for block, kind in zip(blocks(module), config.layer_types, strict=True):
            block.attn_norm, block.mlp_norm, block.mlp[1] = nn.Identity(), nn.Identity(), nn.ReLU()
            block.attn = (FullAttention if kind == FULL else CausalAttention)(config)
    module.norm = nn.Identity()
    module = module.to_empty(device="cpu").requires_grad_(False)
    for parameter in module.parameters():
        parameter.zero_()
    return module


def blocks(module: Any) -> list[Any]:
    """Of a Tiny, or of a model's module that is one."""
    return list(module.blocks)
