"""CX-08: a subspace whose patching moves the output as if it carried the signal, though nothing there does."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from physalis.lab.counterexamples.base import Counterexample, Gap

LAYER = 16


class Mediated(NamedTuple):
    """``y = 2 (dormant . layer) + mediator``: a signal x lies in the layer along a direction that nothing reads, and in
    the mediator beside it. What the layer's readout reads is 0 on every input."""

    disconnected: Float64[np.ndarray, " layer"]
    dormant: Float64[np.ndarray, " layer"]

    @classmethod
    def random(cls, *, seed: int) -> "Mediated":
        disconnected, dormant = np.linalg.qr(np.random.default_rng(seed).normal(size=(LAYER, 2)))[0].T
        return cls(disconnected, dormant)

    def states(self, x: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, "n units"]:
        """The layer's units and, last, the mediator."""
        return np.c_[np.outer(x, self.disconnected), x]

    @property
    def readout(self) -> Float64[np.ndarray, " units"]:
        return np.r_[2 * self.dormant, 1.0]

    @property
    def illusory(self) -> Float64[np.ndarray, " units"]:
        """Half along what carries and is not read, half along what is read and carries nothing."""
        return np.r_[(self.disconnected + self.dormant) / np.sqrt(2), 0.0]

    @property
    def mediator(self) -> Float64[np.ndarray, " units"]:
        return np.r_[np.zeros(LAYER), 1.0]

    def read_part(self, v: Float64[np.ndarray, " units"]) -> Float64[np.ndarray, " units"]:
        """A direction without what the readout of its layer cannot see."""
        kept = np.r_[self.dormant * (self.dormant @ v[:-1]), v[-1]]
        return kept / np.linalg.norm(kept)


def moved(
    model: Mediated,
    x: Float64[np.ndarray, " n"],
    source: Float64[np.ndarray, " n"],
    onto: Float64[np.ndarray, "units k"],
) -> float:
    """Patch what lies in the span of ``onto``'s orthonormal columns from other inputs: the share of the way from the
    output to the other input's that this moves it."""
    there = model.states(source) - model.states(x)
    change, full = (there @ onto) @ onto.T @ model.readout, there @ model.readout
    return float((change * full).sum() / np.square(full).sum())


def patched(seed: int) -> Gap:
    model, rng = Mediated.random(seed=seed), np.random.default_rng([seed, 1])
    x, source = rng.normal(size=(2, 1_000))
    along = [each[:, None] for each in (model.illusory, model.read_part(model.illusory))]
    control = [each[:, None] for each in (model.mediator, model.read_part(model.mediator))]
    whole = np.vstack([np.eye(LAYER), np.zeros(LAYER)])
    return Gap(
        naive=moved(model, x, source, along[0]),
        truth=moved(model, x, source, along[1]),
        control_naive=moved(model, x, source, control[0]),
        control_truth=moved(model, x, source, control[1]),
        beside={"moved by patching the whole layer": moved(model, x, source, whole)},
    )


CX_08 = Counterexample(
    id="CX-08",
    belief="Where patching a subspace moves the output as it should, that subspace carries the signal.",
    model="A layer that carries x along a direction nothing reads and reads a direction that is always 0, and "
    "beside it the mediator that does the work.",
    naive="Patching halfway between those two directions moves the output all the way: the signal was found.",
    truth="Take off what the readout cannot see and nothing moves, nor does it when the whole layer is patched: the "
    "patch wakes a direction that is never used.",
    scale="share of the way that a patch moves the output: of the direction (naive), of its part that is read (truth)",
    control="the mediator",
    source="Makelov, Lange and Nanda 2023, arXiv 2311.17030",
    warns="Nothing yet: physalis patches no subspaces.",
    run=patched,
    least=0.99,
    spared=1e-9,
    beside={"moved by patching the whole layer": (-1e-9, 1e-9)},
)
