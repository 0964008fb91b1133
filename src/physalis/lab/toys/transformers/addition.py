"""Addition: one-layer transformers that learn ``a + b mod p`` from a part of all pairs, read at "=" in ``a b =``
(Power et al. 2022; Nanda and Lieberum 2023, "Progress measures for grokking via mechanistic interpretability").

The query comes from "=" alone, so attention depends on a and b through a score each: heads are worked out once a token
instead of once a pair, and only the MLP sees pairs.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor
from torch.nn.functional import cross_entropy


@dataclass(frozen=True)
class Adder:
    """Weights, without LayerNorm."""

    embed: Float[Tensor, "p d"]
    equals: Float[Tensor, " d"]
    """What stands at "=", its position included."""
    position: Float[Tensor, "2 d"]
    """Of a and of b."""
    query: Float[Tensor, "heads d k"]
    key: Float[Tensor, "heads d k"]
    value: Float[Tensor, "heads d k"]
    output: Float[Tensor, "heads k d"]
    into: Float[Tensor, "d neurons"]
    bias: Float[Tensor, " neurons"]
    out: Float[Tensor, "neurons d"]
    unembed: Float[Tensor, "d p"]

    def tensors(self) -> dict[str, Tensor]:
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def mapped(self, change: Callable[[Tensor], Tensor]) -> "Adder":
        """The same with ``change`` made to each tensor."""
        return Adder(**{name: change(each) for name, each in self.tensors().items()})

    def attention(self) -> Float[Tensor, "heads p p 3"]:
        """From "=" to a, to b and to itself, for each pair."""
        asked = torch.einsum("d,hdk->hk", self.equals, self.query) / math.sqrt(self.query.shape[-1])
        wanted = torch.einsum("hk,hdk->hd", asked, self.key)
        first, second = (wanted @ (self.embed + place).T for place in self.position)
        p = len(self.embed)
        own = (wanted @ self.equals)[:, None, None].expand(-1, p, p)
        scores = [first[:, :, None].expand(-1, -1, p), second[:, None].expand(-1, p, -1), own]
        return torch.stack(scores, -1).softmax(-1)

    def read(self) -> Float[Tensor, "p p d"]:
        """What the MLP reads at "=" for each pair."""
        paid = self.attention()

        def moved(x: Tensor) -> Tensor:
            return torch.einsum("nd,hdk,hke->hne", x, self.value, self.output)

        first, second = (moved(self.embed + place) for place in self.position)
        said = torch.einsum("hab,had->abd", paid[..., 0], first) + torch.einsum("hab,hbd->abd", paid[..., 1], second)
        return self.equals + said + torch.einsum("hab,hd->abd", paid[..., 2], moved(self.equals[None])[:, 0])

    def neurons(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n neurons"]:
        return (x @ self.into + self.bias).relu()

    def logits(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n p"]:
        return (x + self.neurons(x) @ self.out) @ self.unembed

    @torch.no_grad()
    def table(self) -> Float[Tensor, "p p p"]:
        """Logits of every answer (last) for every pair."""
        x = self.read()
        return self.logits(x.flatten(0, 1)).view(*x.shape[:2], -1)


def adder(*, p: int, width: int, heads: int, neurons: int, seed: int = 0) -> Adder:
    """A fresh one: normal weights, of deviation ``1 / sqrt(what they read)``; the embedding's as if it were read."""
    generator = torch.Generator().manual_seed(seed)
    k = width // heads

    def normal(*shape: int, read: int) -> Tensor:
        return torch.randn(*shape, generator=generator) / math.sqrt(read)

    return Adder(
        embed=normal(p, width, read=width),
        equals=normal(width, read=width),
        position=normal(2, width, read=width),
        query=normal(heads, width, k, read=width),
        key=normal(heads, width, k, read=width),
        value=normal(heads, width, k, read=width),
        output=normal(heads, k, width, read=width),
        into=normal(width, neurons, read=width),
        bias=torch.zeros(neurons),
        out=normal(neurons, width, read=neurons),
        unembed=normal(width, p, read=width),
    )


@dataclass(frozen=True)
class Learning:
    """How an adder learned. Measured at ``steps``."""

    steps: list[int]
    kept: list[Adder]
    trained_on: Bool[Tensor, "p p"]
    train_loss: list[float]
    test_loss: list[float]
    train_accuracy: list[float]
    test_accuracy: list[float]

    def first(self, accuracies: list[float], least: float) -> float:
        """The step from which on the accuracy was first ``least`` or more; inf where it never was."""
        return next((float(s) for s, a in zip(self.steps, accuracies, strict=True) if a >= least), math.inf)


def answers(p: int) -> Tensor:
    """[p, p]: a + b mod p."""
    return (torch.arange(p)[:, None] + torch.arange(p)) % p


def learn(
    start: Adder, *, share: float, steps: int, lr: float = 1e-3, decay: float = 1.0, every: int = 100, seed: int = 0
) -> Learning:
    """AdamW on all training pairs at once: ``share`` of all pairs, drawn at random."""
    p = len(start.embed)
    right = answers(p)
    order = torch.randperm(p * p, generator=torch.Generator().manual_seed(seed))
    inside = torch.zeros(p * p, dtype=torch.bool)
    inside[order[: round(share * p * p)]] = True
    pairs = inside.nonzero()[:, 0]
    own = {name: each.clone().requires_grad_() for name, each in start.tensors().items()}
    model = Adder(**own)
    adam = torch.optim.AdamW(list(own.values()), lr=lr, betas=(0.9, 0.98), weight_decay=decay, fused=True)
    steps_at, kept, told = [], [], []
    for step in range(steps + 1):
        if step % every == 0:
            now = model.mapped(lambda each: each.detach().clone())
            table = now.table().flatten(0, 1).double()
            loss = cross_entropy(table, right.flatten(), reduction="none")
            hit = (table.argmax(-1) == right.flatten()).double()
            parts = [part[where].mean().item() for part in (loss, hit) for where in (inside, ~inside)]
            steps_at.append(step)
            kept.append(now)
            told.append(parts)
        for group in adam.param_groups:
            group["lr"] = lr * min(1, (step + 1) / 10)
        x = model.read().flatten(0, 1)[pairs]
        # in doubles: what is left of the loss once all is memorised is below what single precision tells from 0
        loss = cross_entropy(model.logits(x).double(), right.flatten()[pairs])
        adam.zero_grad()
        loss.backward()
        adam.step()
    columns = [list(column) for column in zip(*told, strict=True)]
    return Learning(steps_at, kept, inside.view(p, p), *columns)


def waves(p: int) -> tuple[Float64[np.ndarray, "k p"], Float64[np.ndarray, "k p"]]:
    """Cosines and sines of the frequencies 1 to (p - 1) / 2, of length 1: with the constant an orthonormal basis."""
    angle = 2 * np.pi * np.outer(np.arange(1, (p - 1) // 2 + 1), np.arange(p)) / p
    return np.cos(angle) * np.sqrt(2 / p), np.sin(angle) * np.sqrt(2 / p)


def spectrum(table: Float[Tensor, "p d"]) -> Float64[np.ndarray, " k"]:
    """Share of each frequency in the power of a table over residues, its mean left out; sums to 1."""
    values = table.double().numpy()
    power = np.sum([np.square(wave @ values).sum(1) for wave in waves(len(values))], axis=0)
    return power / power.sum()


def circular(logits: Float[Tensor, "p p p"]) -> Float64[np.ndarray, " k"]:
    """Share of the logits' variance that is ``cos(2 pi k (a + b - c) / p)`` times a number, for each frequency k. What
    all answers c of a pair share says nothing and is left out."""
    values = logits.double().numpy()
    values = values - values.mean(-1, keepdims=True)
    p = len(values)
    a, b, c = np.ogrid[:p, :p, :p]
    by_gap = np.bincount(((a + b - c) % p).ravel(), weights=values.ravel(), minlength=p)  # summed over a, b, c alike
    cosines = waves(p)[0]
    return np.square(cosines @ by_gap) / p**2 / np.square(values).sum()


def on_circle(table: Float[Tensor, "p d"], frequency: int) -> Float64[np.ndarray, "p 2"]:
    """Residues seen along the two directions that carry a frequency, both of length 1."""
    values = table.double().numpy()
    cosine, sine = (wave[frequency - 1] @ values for wave in waves(len(values)))
    return np.stack([values @ (each / np.linalg.norm(each)) for each in (cosine, sine)], 1)
