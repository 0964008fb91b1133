"""CX-16: an algorithm found, with hardly an error, in a network that was never trained."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from physalis.lab.counterexamples.base import Counterexample, Gap

OBJECTS, SIZE, HIDDEN = 16, 4, 24
"""Objects and the length of each one's vector; units a layer."""
HALF = HIDDEN // 2
PAIRS = 20_000


class Task(NamedTuple):
    """Hierarchical equality: four objects, and whether (the first two are the same) is (the last two are)."""

    x: Float[Tensor, "n inputs"]
    first: Bool[Tensor, " n"]
    second: Bool[Tensor, " n"]

    @property
    def label(self) -> Bool[Tensor, " n"]:
        return self.first == self.second

    @classmethod
    def draw(cls, n: int, vectors: Float[Tensor, "objects size"], random: torch.Generator) -> "Task":
        ids = torch.randint(len(vectors), (n, 4), generator=random)
        same = torch.rand(n, 2, generator=random) < 0.5
        ids[:, 1::2] = torch.where(same, ids[:, 0::2], ids[:, 1::2])
        return cls(vectors[ids].flatten(1), ids[:, 0] == ids[:, 1], ids[:, 2] == ids[:, 3])


class Untrained(nn.Module):
    """Three layers at their random start."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4 * SIZE, HIDDEN)
        self.rest = nn.Sequential(nn.GELU(), nn.Linear(HIDDEN, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, 1))
        self.requires_grad_(False)

    def answer(self, hidden: Float[Tensor, "n hidden"], centre: Float[Tensor, ""]) -> Float[Tensor, " n"]:
        """The logit, about the one that half of the inputs exceed."""
        return self.rest(hidden)[:, 0] - centre


class Coupled(nn.Module):
    """A map that can be undone: half of the units are moved by a function of the others, then the other way round."""

    def __init__(self, steps: int, width: int) -> None:
        super().__init__()
        self.moves = nn.ModuleList(
            nn.Sequential(nn.Linear(HALF, width), nn.ReLU(), nn.Linear(width, HALF)) for _ in range(2 * steps)
        )

    def forward(self, h: Float[Tensor, "n hidden"]) -> Float[Tensor, "n hidden"]:
        a, b = h.chunk(2, 1)
        for move in self.moves:
            a, b = b, a + move(b)
        return torch.cat([a, b], 1)

    def undo(self, z: Float[Tensor, "n hidden"]) -> Float[Tensor, "n hidden"]:
        a, b = z.chunk(2, 1)
        for move in reversed(self.moves):
            a, b = b - move(a), a
        return torch.cat([a, b], 1)


class Rotation(nn.Module):
    """A linear map that can be undone, by its transpose."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = nn.Parameter(0.3 * torch.randn(HIDDEN, HIDDEN))

    def turn(self) -> Float[Tensor, "hidden hidden"]:
        return torch.linalg.matrix_exp(self.generator - self.generator.T)

    def forward(self, h: Float[Tensor, "n hidden"]) -> Float[Tensor, "n hidden"]:
        return h @ self.turn()

    def undo(self, z: Float[Tensor, "n hidden"]) -> Float[Tensor, "n hidden"]:
        return z @ self.turn().T


def interchanged(map_: Coupled | Rotation, base: Tensor, source: Tensor) -> Float[Tensor, "n hidden"]:
    """The base's hidden layer with the half of its mapped units that is to hold "the first two are the same" taken from
    the source."""
    return map_.undo(torch.cat([map_(source)[:, :HALF], map_(base)[:, HALF:]], 1))


def align(
    make: Callable[[], Coupled | Rotation], *, steps: int = 1_500, batch: int = 512, lr: float = 3e-3, seed: int
) -> tuple[float, float]:
    """Fit a map so that interchanges change the untrained network's answer as the algorithm has it; returns how often
    they do on fresh pairs (interchange intervention accuracy), and how often the network itself solves the task."""
    random = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        vectors, net, map_ = torch.randn(OBJECTS, SIZE), Untrained(), make()
    centre = net.rest(net.first(Task.draw(PAIRS, vectors, random).x))[:, 0].median()
    adam = torch.optim.Adam(map_.parameters(), lr=lr)
    scale = 1.0 / net.rest(net.first(Task.draw(PAIRS, vectors, random).x))[:, 0].std()
    for step in range(steps):
        base, source = (Task.draw(batch, vectors, random) for _ in range(2))
        logit = net.answer(interchanged(map_, net.first(base.x), net.first(source.x)), centre)
        loss = F.binary_cross_entropy_with_logits(4 * scale * logit, (source.first == base.second).float())
        adam.zero_grad()
        loss.backward()
        for group in adam.param_groups:
            group["lr"] = lr * (1 - step / steps)
        adam.step()
    with torch.no_grad():
        base, source = (Task.draw(PAIRS, vectors, random) for _ in range(2))
        logit = net.answer(interchanged(map_, net.first(base.x), net.first(source.x)), centre)
        iia = float(((logit > 0) == (source.first == base.second)).float().mean())
        solved = float(((net.answer(net.first(base.x), centre) > 0) == base.label).float().mean())
    return iia, max(solved, 1 - solved)


def aligned(seed: int) -> Gap:
    nonlinear, solved = align(lambda: Coupled(4, 64), seed=seed)
    linear, _ = align(Rotation, steps=300, seed=seed)
    return Gap(naive=nonlinear, truth=solved, control_naive=linear, control_truth=solved)


CX_16 = Counterexample(
    id="CX-16",
    belief="Where interchanges along a fitted map change the answer as an algorithm has it, the network runs it.",
    model="Hierarchical equality of four objects, a network of three layers at its random start, and an invertible map "
    "of its first hidden layer fitted to make interchanges come out right.",
    naive="On fresh pairs the interchanges come out right far more often than not: the algorithm is there.",
    truth="The network answers the task at chance. A map that may bend at will computes the algorithm itself.",
    scale="interchange intervention accuracy (naive); accuracy of the network on the task (truth)",
    control="a linear map of the same network",
    source="Sutter et al. 2025, arXiv 2507.08802",
    warns="Nothing yet: run the same search on an untrained copy.",
    run=aligned,
    least=0.25,
    spared=0.12,
    fast=False,
)
