"""hiding: hidden, the same model in other coordinates, of which none means anything, in the stream or in a head.

The stream is turned by a random orthogonal matrix, and in each head what is compared and what is moved by two others:
whatever reads or writes turns with it, so that every output stays. Where each variable stands is still known: ``basis``
is turned too. Neurons stay what they are, for a ReLU has a basis of its own.
"""

from copy import deepcopy
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from physalis.lab.rasp.compiling import Compiled
from physalis.lab.rasp.transformer import blocks
from physalis.models import Model


def hidden(compiled: Compiled, seed: int = 0) -> Compiled:
    """A compiled model whose coordinates are turned. The same seed turns it in the same way."""
    module: Any = deepcopy(compiled.model.hf)
    random = torch.Generator().manual_seed(seed)
    turn = orthogonal(compiled.model.d_model, random)
    for table in (module.embed, module.positions, module.unembed):
        table.weight.copy_(table.weight.double() @ turn)
    for block in blocks(module):
        _turn_heads(block.attn, random)
        for reads, writes in ((block.attn.qkv, block.attn.out), (block.mlp[0], block.mlp[2])):
            reads.weight.copy_(reads.weight.double() @ turn)
            writes.weight.copy_(turn.T @ writes.weight.double())
            writes.bias.copy_(writes.bias.double() @ turn)
    model = Model(module, compiled.model.corpus, name=f"{compiled.model.name}, hidden", family=compiled.model.family)
    return replace(compiled, model=model, basis=(compiled.basis.double() @ turn).float())


def orthogonal(d: int, random: torch.Generator) -> Float[Tensor, "d d"]:
    """An orthogonal matrix, each as likely as any other (Mezzadri 2007), in float64."""
    q, r = torch.linalg.qr(torch.randn(d, d, generator=random, dtype=torch.float64))
    return q * r.diagonal().sign()


def _turn_heads(attention: Any, random: torch.Generator) -> None:
    """Of each head, queries and keys by one matrix, and values and what reads them by another."""
    width = attention.out.in_features
    d_head = width // attention.n_heads
    for start in range(0, width, d_head):
        compared, moved = orthogonal(d_head, random), orthogonal(d_head, random)
        for part, turn in enumerate((compared, compared, moved)):
            rows = slice(part * width + start, part * width + start + d_head)
            attention.qkv.weight[rows] = (turn.T @ attention.qkv.weight[rows].double()).float()
            attention.qkv.bias[rows] = (attention.qkv.bias[rows].double() @ turn).float()
        columns = slice(start, start + d_head)
        attention.out.weight[:, columns] = (attention.out.weight[:, columns].double() @ moved).float()
