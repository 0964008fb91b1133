"""trained: Toy, small transformers that were trained, whose programs nobody wrote: addition, sorting and brackets.

Each is a Model of the same family as compiled programs are, without norms, and is trained here in seconds; the same
seed trains the same.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from physalis.errors import BadInput
from physalis.lab.decompiling.programs.columns import Array
from physalis.lab.rasp.spelling import Spelling
from physalis.lab.rasp.transformer import CAUSAL, FAMILY, CompiledConfig, blocks, empty_transformer
from physalis.lab.toys.transformers import adder, learn
from physalis.models import Model
from physalis.models.tiny import Tiny

Batch = tuple[Array, Array]
"""Token ids ("inputs places"), and the right answers at those that are asked."""
BATCH = 256
"""Inputs of a step."""
LABELS = ("balanced", "open", "broken")


class Toy(NamedTuple):
    """A trained model, and what it was trained on."""

    name: str
    model: Model
    asked: slice
    """At which tokens of an input it answers."""
    draw: Callable[[np.random.Generator, int], Batch]

    def inputs(self, n: int, *, seed: int = 0) -> list[list[int]]:
        """Token ids of ``n`` random inputs. The same seed draws the same."""
        return self.draw(np.random.default_rng(seed), n)[0].tolist()

    def accuracy(self, n: int, *, seed: int = 0) -> float:
        """Share of ``n`` random inputs on which every answer is right."""
        tokens, right = self.draw(np.random.default_rng(seed), n)
        said = self.model.hf(torch.from_numpy(tokens)).logits[:, self.asked].argmax(-1).numpy()
        return float((said == right).all(1).mean())


def addition(
    *, p: int = 31, width: int = 64, heads: int = 4, neurons: int = 128, share: float = 0.7, steps: int = 1200,
    seed: int = 0,
) -> Toy:  # fmt: skip
    """``a b =``, and the answer a + b modulo ``p``. One layer, trained on a ``share`` of all pairs, as in
    ``toys.transformers``; inputs are all pairs, drawn without repeats."""
    learned = learn(adder(p=p, width=width, heads=heads, neurons=neurons, seed=seed), share=share, steps=steps, lr=3e-3,
                    every=steps, seed=seed).kept[-1]  # fmt: skip
    words = [*map(str, range(p)), "="]
    module = empty_transformer(
        CompiledConfig(
            n_layers=1, d_model=width, n_heads=heads, d_head=width // heads, d_mlp=neurons, vocab_size=len(words) + 1,
            context=3, layer_types=(CAUSAL,),
        )
    )  # fmt: skip
    block: Any = blocks(module)[0]
    module.embed.weight[:p], module.embed.weight[p] = learned.embed, learned.equals
    module.positions.weight[:2] = learned.position
    for part, of in enumerate((learned.query, learned.key, learned.value)):
        block.attn.qkv.weight[part * width : (part + 1) * width] = of.movedim(1, 2).flatten(0, 1)
    block.attn.out.weight.copy_(learned.output.flatten(0, 1).T)
    block.mlp[0].weight.copy_(learned.into.T)
    block.mlp[0].bias.copy_(learned.bias)
    block.mlp[2].weight.copy_(learned.out.T)
    module.unembed.weight[:p] = learned.unembed.T

    def draw(random: np.random.Generator, n: int) -> Batch:
        a, b = np.divmod(random.permutation(p * p)[:n], p)
        return np.stack([a, b, np.full_like(a, p)], 1), ((a + b) % p)[:, None]

    return Toy("addition", _model(module, words, "addition"), slice(-1, None), draw)


def sorting(
    *, n_letters: int = 16, length: int = 6, width: int = 32, steps: int = 800, lr: float = 1e-2, seed: int = 0
) -> Toy:
    """``f a c > a c f``: different letters, and after ">" the same in their order, each the answer at the token before
    it. One layer of one head; its MLP has one neuron. Raises BadInput for more letters than there are."""
    if not 1 < length <= n_letters <= 26:
        raise BadInput(
            f"Two letters or more are sorted, of up to 26; received a length of {length} of {n_letters} letters."
        )
    words = [*"abcdefghijklmnopqrstuvwxyz"[:n_letters], ">"]
    start = len(words)

    def draw(random: np.random.Generator, n: int) -> Batch:
        letters = random.permuted(np.tile(np.arange(n_letters), (n, 1)), axis=1)[:, :length]
        ordered = np.sort(letters, 1)
        ends = np.full((n, 1), start), np.full((n, 1), n_letters)
        return np.concatenate([ends[0], letters, ends[1], ordered[:, :-1]], 1), ordered

    asked = slice(length + 1, None)
    config = CompiledConfig(
        n_layers=1, d_model=width, n_heads=1, d_head=width, d_mlp=1, vocab_size=start + 1, context=2 * length + 1,
        layer_types=(CAUSAL,),
    )  # fmt: skip
    return Toy("sorting", _model(_trained(config, draw, asked, steps, lr, seed), words, "sorting"), asked, draw)


def brackets(
    *, length: int = 14, width: int = 32, neurons: int = 64, steps: int = 800, lr: float = 3e-3, seed: int = 0
) -> Toy:
    """Of each beginning of a string of brackets: "balanced", "open" or "broken", as ``rasp.dyck1`` has it. Inputs are
    balanced, or begin as a balanced one does and go on at random. Two layers of one head."""
    words = ["(", ")", *LABELS]

    def draw(random: np.random.Generator, n: int) -> Batch:
        closes = _closing(random, n, length)
        height = np.cumsum(np.where(closes, -1, 1), 1)
        broken = np.minimum.accumulate(height, 1) < 0
        right = 2 + np.where(broken, LABELS.index("broken"), np.where(height > 0, LABELS.index("open"), 0))
        return np.concatenate([np.full((n, 1), len(words)), closes], 1), right

    asked = slice(1, None)
    config = CompiledConfig(
        n_layers=2, d_model=width, n_heads=1, d_head=width // 2, d_mlp=neurons, vocab_size=len(words) + 1,
        context=length + 1, layer_types=(CAUSAL, CAUSAL),
    )  # fmt: skip
    return Toy("brackets", _model(_trained(config, draw, asked, steps, lr, seed), words, "brackets"), asked, draw)


TOYS: tuple[Callable[[], Toy], ...] = (addition, sorting, brackets)
"""Every one, at the sizes that it has by default."""


def _closing(random: np.random.Generator, n: int, length: int) -> Array:
    """Which brackets close. Half of the strings are random from somewhere on: those are soon broken."""
    good = np.where(random.random(n) < 0.5, length, random.integers(0, length, n))
    closes, height = np.zeros((n, length), bool), np.zeros(n, int)
    for i in range(length):
        opens = random.random(n) < 0.5
        opens = np.where(i < good, (height == 0) | opens & (height < length - i), opens)
        closes[:, i] = ~opens
        height += np.where(opens, 1, -1)
    return closes


def _model(module: Tiny, words: Sequence[str], name: str) -> Model:
    return Model(module, Spelling(words), name=name, family=FAMILY)


def _trained(
    config: CompiledConfig, draw: Callable[[np.random.Generator, int], Batch], asked: slice, steps: int, lr: float,
    seed: int,
) -> Tiny:  # fmt: skip
    """By AdamW on fresh inputs, at a rate that rises for 50 steps and falls along a cosine. Weights begin normal, of
    deviation ``1 / sqrt(what they read)``."""
    module = empty_transformer(config).requires_grad_(True)
    generator, random = torch.Generator().manual_seed(seed), np.random.default_rng([seed, 1])
    with torch.no_grad():
        for weight in module.parameters():
            if weight.ndim == 2:
                weight.normal_(0, weight.shape[1] ** -0.5, generator=generator)
    adam = torch.optim.AdamW(module.parameters(), lr=lr, betas=(0.9, 0.98), weight_decay=0.01)
    for step in range(steps):
        for group in adam.param_groups:
            group["lr"] = lr * min(1, (step + 1) / 50) * (0.525 + 0.475 * math.cos(math.pi * step / steps))
        tokens, right = map(torch.from_numpy, draw(random, BATCH))
        loss = cross_entropy(module(tokens).logits[:, asked].flatten(0, 1), right.flatten())
        adam.zero_grad()
        loss.backward()
        adam.step()
    return module.requires_grad_(False)
