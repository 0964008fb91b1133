"""ToyModels: sparse inputs through a bottleneck and back, many models at once (Elhage et al. 2022, "Toy Models of
Superposition", arXiv 2209.10652).

``x' = relu(W^T W x + b)``, with W [m, n] and n features more than m dimensions; the loss is
``sum_i importance_i (x_i - x'_i)^2``, averaged over inputs. Each instance has its own importances, densities, start and
seed, so a sweep over densities with many seeds is one call.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from physalis.errors import BadInput
from physalis.lab.toys import descent
from physalis.lab.toys.inputs import Inputs, independent

Weights = Float64[np.ndarray, "instances m n"]
REPRESENTED = 0.5
"""The length from which on a feature counts as represented."""


@dataclass(frozen=True)
class ToyModels:
    """Trained models, and how they came to be."""

    W: Weights
    b: Float64[np.ndarray, "instances n"]
    importance: Float64[np.ndarray, "instances n"]
    inputs: Inputs
    relu: Bool[np.ndarray, " instances"]
    """Whether the output goes through a ReLU; without one it is the linear model, the control that never superposes."""
    kept: Float64[np.ndarray, "instances snapshots m n"]
    """Weights during training, at even intervals; the last are W."""
    kept_b: Float64[np.ndarray, "instances snapshots n"]
    losses: Float64[np.ndarray, "instances snapshots"]
    """Mean training loss since the snapshot before."""

    def measured(self, *, samples: int = 100_000, seed: int = 1_000_003) -> Float64[np.ndarray, " instances"]:
        """Mean loss of each on fresh inputs."""
        return self._measured(self.W[:, None], self.b[:, None], samples, seed)[:, 0]

    def measured_during(
        self, *, samples: int = 100_000, seed: int = 1_000_003
    ) -> Float64[np.ndarray, "instances snapshots"]:
        """Mean loss of each snapshot, all on the same fresh inputs: a curve without the noise of batches."""
        return self._measured(self.kept, self.kept_b, samples, seed)

    def _measured(self, w: np.ndarray, b: np.ndarray, samples: int, seed: int) -> np.ndarray:
        each = w.shape[1]
        losses = np.zeros(len(w) * each)
        relu, importance, density = (
            np.repeat(part, each, 0) for part in (self.relu, self.importance, self.inputs.density)
        )
        about = (relu, importance, self.inputs.start, self.inputs.one_of, density)
        w, b = (np.ascontiguousarray(part.reshape(-1, *part.shape[2:])) for part in (w, b))
        descent.measure(w, b, *about, seed, samples, losses)
        return losses.reshape(-1, each)


def train_toys(
    m: int,
    inputs: Inputs | Float64[np.ndarray, "instances n"],
    importance: Float64[np.ndarray, " n"] | Float64[np.ndarray, "instances n"] | None = None,
    *,
    relu: bool | Bool[np.ndarray, " instances"] = True,
    steps: int = 5_000,
    batch: int = 1_024,
    lr: float = 3e-3,
    spread: float | None = None,
    snapshots: int = 1,
    seed: int = 0,
) -> ToyModels:
    """Train one model for each row of densities, with Adam at a rate that falls from ``lr`` to 0.

    ``inputs`` is the density of each feature where they are independent. Weights start normal with deviation
    ``spread``, ``sqrt(2 / (n + m))`` (Xavier) unless given, biases at 0. The same arguments give the same bytes,
    whatever the number of threads. Raises BadInput for densities outside 0 to 1, and where there are no instances or no
    dimensions.
    """
    inputs = inputs if isinstance(inputs, Inputs) else independent(inputs)
    instances, n = len(inputs.density), inputs.n
    if m < 1 or instances < 1 or steps < snapshots:
        raise BadInput(f"A toy needs dimensions, instances and steps; received m={m}, {instances} instances, {steps}.")
    weight = np.ones(n) if importance is None else np.asarray(importance, np.float64)
    weight = np.ascontiguousarray(np.broadcast_to(weight, (instances, n)))
    opens = np.ascontiguousarray(np.broadcast_to(np.asarray(relu, bool), (instances,)))
    w = np.random.default_rng(seed).normal(size=(instances, m, n)) * (
        np.sqrt(2 / (n + m)) if spread is None else spread
    )
    b, losses = np.zeros((instances, n)), np.zeros((instances, snapshots))
    kept, kept_b = np.zeros((instances, snapshots, m, n)), np.zeros((instances, snapshots, n))
    seeds = np.random.SeedSequence(seed).generate_state(instances).astype(np.int64)
    descent.descend(
        w, b, opens, weight, inputs.start, inputs.one_of, inputs.density, seeds, steps, batch, lr, steps // snapshots,
        kept, kept_b, losses,
    )  # fmt: skip
    return ToyModels(w, b, weight, inputs, opens, kept, kept_b, losses)


def represented(w: Weights) -> np.ndarray:
    """[instances, n]: which features have a direction of length above REPRESENTED."""
    return np.linalg.norm(w, axis=1) > REPRESENTED


def dimensions_per_feature(w: Weights) -> Float64[np.ndarray, " instances"]:
    """``m / |W|_F^2``: 1 where each feature has a dimension of its own."""
    return w.shape[1] / np.square(w).sum((1, 2))


def dimensionality(w: Weights) -> Float64[np.ndarray, "instances n"]:
    """``|W_i|^2 / sum_j (W_i/|W_i| . W_j)^2``: the share of a dimension that each feature has to itself; 0 where it has
    no direction at all."""
    length = np.linalg.norm(w, axis=1)
    unit = w / np.maximum(length, 1e-12)[:, None]
    shared = np.square(np.einsum("iaf,iag->ifg", unit, w)).sum(2)
    return np.where(length > 1e-6, length**2 / np.maximum(shared, 1e-12), 0.0)


def interference(w: Weights) -> Float64[np.ndarray, "instances n"]:
    """``sum over j != i of (W_i/|W_i| . W_j)^2``: how much other features write where this one is read."""
    length = np.linalg.norm(w, axis=1)
    unit = w / np.maximum(length, 1e-12)[:, None]
    return np.square(np.einsum("iaf,iag->ifg", unit, w)).sum(2) - length**2
