"""Regimes: what models trained on more and more points store, from the points to their features, and how they do on
fresh points in between."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from physalis.lab.toys.memorization import Memorizers, draw_points, loss_on, memorize
from physalis.lab.toys.superposition.models import dimensionality

N, DENSITY = 1_000, 0.01
"""Hobbhahn's size of the experiment, a tenth of the paper's."""
FRESH, FRESH_SEED = 4_000, 1_000_003


@dataclass(frozen=True)
class Regimes:
    """For each number of training points a model for each of several draws of them."""

    counts: tuple[int, ...]
    models: tuple[Memorizers, ...]
    """One for each count, their instances trained on different points."""
    test: Float64[np.ndarray, "counts draws"]
    """Loss on fresh points, the same for all; always answering 0 makes 1."""

    @property
    def train(self) -> Float64[np.ndarray, "counts draws"]:
        return np.stack([each.losses[:, -1] for each in self.models])

    @property
    def best_feature(self) -> Float64[np.ndarray, "counts draws"]:
        """The highest dimensionality of a feature."""
        return np.stack([[dimensionality(w[None].astype(float)).max() for w in each.W] for each in self.models])

    @property
    def errors(self) -> Float64[np.ndarray, " counts"]:
        """Standard errors of the mean test loss over draws."""
        return self.test.std(1, ddof=1) / np.sqrt(self.test.shape[1])

    @property
    def peak(self) -> int:
        """Where, between the ends, the mean test loss is highest."""
        return 1 + int(self.test.mean(1)[1:-1].argmax())

    @property
    def harm(self) -> float:
        """By how much the peak's mean test loss is above that of no answer."""
        return float(self.test.mean(1)[self.peak] - 1)

    @property
    def significance(self) -> float:
        """The peak's excess over each end in standard errors of their difference, the smaller of the two."""
        mean, error, peak = self.test.mean(1), self.errors, self.peak
        return float(min((mean[peak] - mean[end]) / np.hypot(error[peak], error[end]) for end in (0, -1)))


def train_regimes(
    counts: tuple[int, ...],
    m: int,
    *,
    draws: int = 4,
    steps: int = 4_000,
    lr: float = 3e-3,
    decay: float = 1e-2,
    seed: int = 0,
) -> Regimes:
    """Train ``draws`` models of ``m`` dimensions on each number of points."""
    fresh = draw_points(FRESH, N, DENSITY, seed=FRESH_SEED)
    models, test = [], []
    for count in counts:
        seeds = np.random.SeedSequence([seed, count]).generate_state(draws + 1)
        points = np.stack([draw_points(count, N, DENSITY, seed=int(each)) for each in seeds[1:]])
        models.append(memorize(points, m, steps=steps, lr=lr, decay=decay, seed=int(seeds[0])))
        test.append([loss_on(w, b, fresh) for w, b in zip(models[-1].W, models[-1].b, strict=True)])
    return Regimes(counts, tuple(models), np.array(test))
