"""Repeats: random tokens over and over, which only a look back can predict, and how transformers come to predict them
(Olsson et al. 2022, "In-context Learning and Induction Heads")."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64

from physalis.lab.toys.transformers.attention import Head, Tokens, Training, Transformers, train, transformers
from physalis.lab.toys.transformers.paths import prefix_matching, previous_token

VOCAB = 32
LENGTH = 32
SHORTEST = 4
"""Of what is repeated. Its length varies, so that no fixed distance says where to look."""
SIZE = 64
EVERY = 20
BySeed = Float64[np.ndarray, " seeds"]


def repeated(generator: torch.Generator, instances: int, size: int) -> Tokens:
    """[instances, size, LENGTH]: SHORTEST to LENGTH / 2 random tokens, again and again."""
    period = torch.randint(SHORTEST, LENGTH // 2 + 1, (instances, size, 1), generator=generator)
    tokens = torch.randint(VOCAB, (instances, size, LENGTH), generator=generator)
    return tokens.gather(-1, torch.arange(LENGTH) % period)


def twice(instances: int, size: int, seed: int = 0) -> Tokens:
    """[instances, size, LENGTH]: LENGTH / 2 different tokens in random order, then the same again; every instance gets
    the same."""
    order = torch.rand(1, size, VOCAB, generator=torch.Generator().manual_seed(1_000_003 + seed)).argsort(-1)
    return order[..., : LENGTH // 2].repeat(instances, 1, 2)


def halves(models: Transformers, tokens: Tokens, ablated: Sequence[Head] = ()) -> tuple[BySeed, BySeed]:
    """Mean loss in nats of each instance on tokens seen for the first time and on their repetition. The repetition's
    own first token is left out: nothing says that it comes."""
    losses, half = models.losses(tokens, ablated=ablated).double(), LENGTH // 2
    return losses[..., : half - 1].mean((1, 2)).numpy(), losses[..., half:].mean((1, 2)).numpy()


@dataclass(frozen=True)
class Course:
    """Training of several seeds, measured at ``training.steps``."""

    training: Training
    prefix: Float64[np.ndarray, "steps seeds layers heads"]
    previous: Float64[np.ndarray, "steps seeds layers heads"]
    fresh: Float64[np.ndarray, "steps seeds"]
    """Loss on tokens seen for the first time."""
    again: Float64[np.ndarray, "steps seeds"]
    """Loss on their repetition."""

    @property
    def learning(self) -> Float64[np.ndarray, "steps seeds"]:
        """In-context learning: by how many nats a repetition is easier."""
        return self.fresh - self.again

    @property
    def best(self) -> Float64[np.ndarray, "steps seeds"]:
        """Prefix matching of the head that matches most at the time."""
        return self.prefix.max((2, 3))

    def top(self, seed: int, scores: Float64[np.ndarray, "steps seeds layers heads"], count: int = 1) -> list[Head]:
        """The ``count`` heads of a seed with the largest scores at the end."""
        last = scores[-1, seed]
        order = np.argsort(-last, axis=None)[:count]
        return [(int(at) // last.shape[1], int(at) % last.shape[1]) for at in order]


def course(
    *, layers: int, smeared: bool = False, heads: int = 2, width: int = 32, steps: int = 1_000, seeds: int = 3,
    seed: int = 0,
) -> Course:  # fmt: skip
    """Train and measure. Seeds differ in their start and their data."""
    generator = torch.Generator().manual_seed(seed)
    start = transformers(
        instances=seeds, vocab=VOCAB, length=LENGTH, layers=layers, heads=heads, width=width, smeared=smeared, seed=seed
    )
    training = train(start, lambda step: repeated(generator, seeds, SIZE), steps=steps, lr=1e-2, every=EVERY)
    tokens = twice(seeds, 32)
    rows = []
    for models in training.kept:
        patterns = models.trace(tokens).patterns
        scores = [each.double().numpy() for each in (prefix_matching(patterns, tokens), previous_token(patterns))]
        rows.append((*scores, *halves(models, tokens)))
    return Course(training, *(np.stack(column) for column in zip(*rows, strict=True)))
