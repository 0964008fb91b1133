"""Transformers: small attention-only transformers, several instances of one shape in the same tensors.

Without LayerNorm and MLPs everything between the embedding and the logits is linear but the attention patterns, so
that a model comes apart exactly into paths (see ``physalis.lab.toys.transformers.paths``). Positions are learned and
added to what queries and keys read, not to the residual stream (Press et al. 2020, "Shortformer", as in Olsson et al.
2022): what a head moves is tokens alone.

Instances differ in their start and their data; an operation on all of them costs little more to begin than on one.
"""

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from physalis.errors import BadInput

Tokens = Int[Tensor, "i b t"]
Patterns = Float[Tensor, "i layers b heads t t"]
"""From the position of the query (row) to that of the key."""
Head = tuple[int, int]
"""(layer, head), counted from 0."""


@dataclass(frozen=True)
class Trace:
    """What a forward pass did."""

    logits: Float[Tensor, "i b t v"]
    patterns: Patterns
    outputs: Float[Tensor, "i layers b heads t d"]
    """What each head adds to the residual stream."""


@dataclass(frozen=True)
class Transformers:
    """Weights of ``i`` instances with the same number of layers (0 or more)."""

    embed: Float[Tensor, "i v d"]
    position: Float[Tensor, "i t d"]
    """Added to what queries and keys read."""
    query: Float[Tensor, "i layers heads d k"]
    key: Float[Tensor, "i layers heads d k"]
    value: Float[Tensor, "i layers heads d k"]
    output: Float[Tensor, "i layers heads k d"]
    unembed: Float[Tensor, "i d v"]
    smear: Float[Tensor, "i layers heads"] | None = None
    """Smeared keys: sigmoid(smear) of a position's key is its own, the rest that of the position before. Plain keys
    where None."""

    @property
    def layers(self) -> int:
        return self.query.shape[1]

    @property
    def heads(self) -> list[Head]:
        return [(layer, head) for layer in range(self.layers) for head in range(self.query.shape[2])]

    def tensors(self) -> dict[str, Tensor]:
        """By name, without those that are not there."""
        return {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) is not None}

    def mapped(self, change: Callable[[Tensor], Tensor]) -> "Transformers":
        """The same with ``change`` made to each tensor."""
        return replace(self, **{name: change(each) for name, each in self.tensors().items()})

    def instance(self, i: int) -> "Transformers":
        """One of them, still with its instance dimension."""
        return self.mapped(lambda each: each[i : i + 1])

    def _attend(self, layer: int, x: Float[Tensor, "i b t d"]) -> Float[Tensor, "i b heads t t"]:
        """Patterns of a layer that reads x."""
        placed = x + self.position[:, None, : x.shape[2]]
        queries = torch.einsum("ibtd,ihdk->ibhtk", placed, self.query[:, layer])
        keys = torch.einsum("ibtd,ihdk->ibhtk", placed, self.key[:, layer])
        if self.smear is not None:
            own = torch.sigmoid(self.smear[:, layer])[:, None, :, None, None]
            before = torch.cat([keys[..., :1, :], keys[..., :-1, :]], -2)
            keys = own * keys + (1 - own) * before
        scores = queries @ keys.transpose(-1, -2) / math.sqrt(queries.shape[-1])
        future = torch.ones(x.shape[2], x.shape[2], dtype=torch.bool).triu(1)
        return scores.masked_fill(future, float("-inf")).softmax(-1)

    def logits(self, tokens: Tokens) -> Float[Tensor, "i b t v"]:
        """The next token's; what training runs."""
        x = self.read(tokens)
        for layer in range(self.layers):
            pattern = self._attend(layer, x)
            mixed = pattern @ torch.einsum("ibtd,ihdk->ibhtk", x, self.value[:, layer])
            x = x + torch.einsum("ibhtk,ihkd->ibtd", mixed, self.output[:, layer])
        return torch.einsum("ibtd,idv->ibtv", x, self.unembed)

    def read(self, tokens: Tokens) -> Float[Tensor, "i b t d"]:
        """The residual stream's start."""
        return torch.stack([table[each] for table, each in zip(self.embed, tokens, strict=True)])

    @torch.no_grad()
    def trace(self, tokens: Tokens, *, ablated: Collection[Head] = (), patterns: Patterns | None = None) -> Trace:
        """A forward pass with all that happens in it. Heads in ``ablated`` write nothing; given ``patterns`` take the
        place of the model's own."""
        x, seen, written = self.read(tokens), [], []
        for layer in range(self.layers):
            pattern = self._attend(layer, x) if patterns is None else patterns[:, layer]
            mixed = pattern @ torch.einsum("ibtd,ihdk->ibhtk", x, self.value[:, layer])
            out = torch.einsum("ibhtk,ihkd->ibhtd", mixed, self.output[:, layer])
            for head in (head for at, head in ablated if at == layer):
                out[:, :, head] = 0
            seen.append(pattern)
            written.append(out)
            x = x + out.sum(2)
        instances, batch, length, width = x.shape
        none = x.new_zeros(instances, 0, batch, self.query.shape[2], length)
        return Trace(
            logits=torch.einsum("ibtd,idv->ibtv", x, self.unembed),
            patterns=torch.stack(seen, 1) if seen else none[..., None].expand(*none.shape, length),
            outputs=torch.stack(written, 1) if written else none[..., None].expand(*none.shape, width),
        )

    @torch.no_grad()
    def losses(self, tokens: Tokens, *, ablated: Collection[Head] = ()) -> Float[Tensor, "i b s"]:
        """Cross-entropy in nats of each token from the second on."""
        logits = self.trace(tokens, ablated=ablated).logits if ablated else self.logits(tokens)
        return cross_entropy(logits[:, :, :-1].movedim(-1, 1), tokens[:, :, 1:], reduction="none")


def transformers(
    *, instances: int, vocab: int, length: int, layers: int, heads: int = 1, width: int = 64, smeared: bool = False,
    seed: int = 0,
) -> Transformers:  # fmt: skip
    """Fresh ones: normal weights, of deviation ``1 / sqrt(what they read)``; heads share the width evenly. Smeared keys
    start half and half. Raises BadInput where heads do not divide the width."""
    if width % heads:
        raise BadInput(f"Heads share the width evenly; received width {width} for {heads} heads.")
    generator = torch.Generator().manual_seed(seed)
    k = width // heads

    def normal(*shape: int, read: int) -> Tensor:
        return torch.randn(instances, *shape, generator=generator) / math.sqrt(read)

    return Transformers(
        embed=normal(vocab, width, read=width),
        position=normal(length, width, read=width),
        query=normal(layers, heads, width, k, read=width),
        key=normal(layers, heads, width, k, read=width),
        value=normal(layers, heads, width, k, read=width),
        output=normal(layers, heads, k, width, read=width),
        unembed=normal(width, vocab, read=width),
        smear=torch.zeros(instances, layers, heads) if smeared else None,
    )


@dataclass(frozen=True)
class Training:
    """Trained instances, and how they came to be."""

    models: Transformers
    steps: list[int]
    """At which ``kept`` was kept, the start among them."""
    kept: list[Transformers]
    losses: Float[np.ndarray, "steps i"]
    """Mean loss of each instance on each step's batch."""


def train(
    models: Transformers,
    batches: Callable[[int], Tokens],
    *,
    steps: int,
    lr: float = 1e-3,
    decay: float = 0.0,
    every: int | None = None,
    warmup: int = 50,
) -> Training:
    """AdamW on the next token's loss, at a rate that rises over ``warmup`` steps and falls to a tenth along a cosine.

    ``batches(step)`` gives each instance tokens of its own; ``every`` so many steps the weights are kept.
    """
    own = {name: each.detach().clone().requires_grad_() for name, each in models.tensors().items()}
    running = replace(models, **own)
    adam = torch.optim.AdamW(list(own.values()), lr=lr, betas=(0.9, 0.98), weight_decay=decay, fused=True)
    kept, at, losses = [models], [0], np.zeros((steps, len(models.embed)))
    for step in range(steps):
        for group in adam.param_groups:
            fall = 0.55 + 0.45 * math.cos(math.pi * step / steps)
            group["lr"] = lr * min(1, (step + 1) / warmup) * fall
        tokens = batches(step)
        logits = running.logits(tokens)[:, :, :-1]
        each = cross_entropy(logits.flatten(0, 2), tokens[:, :, 1:].flatten(), reduction="none")
        each = each.view(len(tokens), -1).mean(1)
        adam.zero_grad()
        each.sum().backward()
        adam.step()
        losses[step] = each.detach().numpy()
        if every and (step + 1) % every == 0:
            at.append(step + 1)
            kept.append(running.mapped(lambda one: one.detach().clone()))
    return Training(running.mapped(lambda one: one.detach().clone()), at, kept, losses)
