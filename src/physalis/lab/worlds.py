"""World: synthetic activations whose features are known, as in SynthSAEBench (arXiv 2602.14687).

A sample is ``bias + sum over the features that fire of magnitude * direction``. Which features fire:

1. Every feature has a normal variable; features share part of theirs (``factor``), so some fire together more often
   than chance has it. A feature is drawn where its variable exceeds the threshold that its probability gives.
2. Its magnitude is normal around its mean; at 0 or below it does not fire.
3. From the roots down, a feature whose parent does not fire does not fire either. Of children that exclude one another
   and would fire together, one does, each as likely. Where the parent says so, their magnitudes are multiplied by the
   parent's over its mean.

``World.make`` is the benchmark at laptop size, ``World.synthsaebench`` at its own, ``World.from_arrays`` anyone's.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64, Int64
from safetensors.torch import load_file, save_file
from torch import Tensor

from physalis import artifact
from physalis.artifact import Manifest
from physalis.errors import BadInput
from physalis.lab import recipes, sampling
from physalis.lab.recipes import Recipe
from physalis.types import Batch, Codes, Frame

KIND, ARRAYS = "world", "world.safetensors"
FRAME_SAMPLES = 65_536
_AHEAD = 16_384  # samples drawn at a time for training
_SCALED = Recipe()


class Sample(NamedTuple):
    """Activations and which features made them."""

    x: Float32[Tensor, "tokens d"]
    codes: Codes


@dataclass(frozen=True, kw_only=True, eq=False)
class World:
    """Features with known directions, and the law by which they fire. Made once, sampled without end."""

    directions: Float32[Tensor, "features d"]
    """Of length 1."""
    bias: Float32[Tensor, " d"]
    probabilities: Float64[Tensor, " features"]
    """That a feature is drawn; one with a parent fires less often."""
    mean: Float32[Tensor, " features"]
    """Mean magnitude where drawn."""
    std: Float32[Tensor, " features"]
    parent: Int64[Tensor, " features"]
    """-1 for none."""
    exclusive: Bool[Tensor, " features"]
    """Whether at most one of the feature's children fires."""
    scaled: Bool[Tensor, " features"]
    """Whether the feature's magnitude over its mean multiplies its children's."""
    factor: Float32[Tensor, "features rank"]
    """Dot products of rows are the correlations of the features' normal variables."""
    config: dict[str, Any] = field(default_factory=dict)
    """How it was made."""

    def __post_init__(self) -> None:
        n = self.n_features
        if not bool(((self.parent >= -1) & (self.parent < n)).all()):
            raise BadInput(f"A parent must be -1 or one of the {n} features; received {self.parent.unique().tolist()}.")
        above = self.parent
        for _ in range(n):
            if bool((above < 0).all()):
                break
            above = torch.where(above >= 0, self.parent[above.clamp_min(0)], above)
        else:
            raise BadInput("Some feature is its own ancestor. Parents must form trees.")
        if not bool(((self.probabilities >= 0) & (self.probabilities <= 1)).all()):
            raise BadInput("Every probability must be from 0 to 1.")
        most = float(self.factor.square().sum(1).max()) if self.factor.numel() else 0.0
        if most >= 1:
            raise BadInput(f"A row of the correlation factor has squared length {most:.3f}; it must stay below 1.")

    @classmethod
    def make(cls, recipe: Recipe = _SCALED) -> "World":
        """A world by SynthSAEBench's recipe."""
        p = recipes.zipf(recipe.n_features, exponent=recipe.exponent, p_max=recipe.p_max, p_min=recipe.p_min)
        generator = recipes.generator("world", recipe.seed)
        directions = recipes.nearly_orthogonal(
            recipe.n_features, recipe.d, steps=recipe.orthogonal_steps, lr=recipe.orthogonal_lr, generator=generator
        )
        offset = recipe.bias * torch.nn.functional.normalize(torch.randn(recipe.d, generator=generator), dim=0)
        parent = recipes.forest(recipe.n_features, roots=recipe.n_roots, branching=recipe.branching, depth=recipe.depth)
        if recipe.compensate_probabilities:
            p = recipes.compensated(p, parent, exclusive=recipe.mutually_exclusive)
        children = torch.bincount(parent[parent >= 0], minlength=recipe.n_features)
        least, spread = recipe.std
        return cls(
            directions=directions,
            bias=offset,
            probabilities=p,
            mean=torch.linspace(*recipe.mean, recipe.n_features),
            std=(least + spread * torch.randn(recipe.n_features, generator=generator)).abs(),
            parent=parent,
            exclusive=(children > 1) & recipe.mutually_exclusive,
            scaled=(children > 0) & recipe.scale_children_by_parent,
            factor=recipes.low_rank(recipe.n_features, rank=recipe.rank, scale=recipe.correlation, generator=generator),
            config={key: list(value) if isinstance(value, tuple) else value for key, value in asdict(recipe).items()},
        )

    @classmethod
    def synthsaebench(cls, *, scale_children_by_parent: bool = True, seed: int = 42) -> "World":
        """SynthSAEBench-16k by its recipe: 16,384 features in 768 dimensions, 128 roots. A minute to make.

        Not the artifact's very numbers, which no recipe gives: retrain what you compare with. Children are scaled by
        their parent as in the paper and in the artifact's v2; False is its v1.
        """
        scaled = scale_children_by_parent
        return cls.make(Recipe(n_features=16_384, d=768, n_roots=128, scale_children_by_parent=scaled, seed=seed))

    @classmethod
    def from_arrays(
        cls,
        directions: Float32[Tensor, "features d"],
        probabilities: Float32[Tensor, " features"] | Float64[Tensor, " features"],
        *,
        mean: Float32[Tensor, " features"],
        std: Float32[Tensor, " features"],
        parent: Int64[Tensor, " features"] | None = None,
        exclusive: Bool[Tensor, " features"] | None = None,
        scaled: Bool[Tensor, " features"] | None = None,
        factor: Float32[Tensor, "features rank"] | None = None,
        bias: Float32[Tensor, " d"] | None = None,
        about: dict[str, Any] | None = None,
    ) -> "World":
        """The world that these arrays describe: one exported from another tool, or a toy. ``probabilities`` are those
        of being drawn, after any compensation; what is left out is absent. ``about`` goes into the manifest."""
        n, d = directions.shape
        none = torch.zeros(n, dtype=torch.bool)
        return cls(
            directions=directions.contiguous(),
            bias=torch.zeros(d) if bias is None else bias,
            probabilities=probabilities.double(),
            mean=mean,
            std=std,
            parent=torch.full((n,), -1) if parent is None else parent,
            exclusive=none if exclusive is None else exclusive,
            scaled=none if scaled is None else scaled,
            factor=torch.zeros(n, 0) if factor is None else factor,
            config=about or {},
        )

    def save(self, folder: str | Path) -> None:
        """Write it as an artefact of kind "world". Raises BadInput if the folder holds something else."""
        folder = Path(folder)
        with artifact.claim(folder, KIND, {"world": self.digest}) as done:
            if done is None:
                artifact.write_atomic(folder / ARRAYS, lambda path: save_file(self._arrays(), path))
                facts = {"n_features": self.n_features, "d": self.d, "digest": self.digest}
                artifact.finish(folder, Manifest(kind=KIND, config=self.config, facts=facts), [ARRAYS])

    @classmethod
    def open(cls, folder: str | Path) -> "World":
        """Read a saved world. Raises BadInput if the folder holds none."""
        folder = Path(folder)
        manifest = artifact.read(folder, KIND)
        return cls(**load_file(folder / ARRAYS), config=manifest.config)

    def _arrays(self) -> dict[str, Tensor]:
        names = ("directions", "bias", "probabilities", "mean", "std", "parent", "exclusive", "scaled", "factor")
        return {name: getattr(self, name).contiguous() for name in names}

    def __repr__(self) -> str:
        return f"World({self.n_features:,} features, d {self.d}, {self.digest[:8]})"

    @property
    def n_features(self) -> int:
        return len(self.directions)

    @property
    def d(self) -> int:
        return self.directions.shape[1]

    @cached_property
    def digest(self) -> str:
        """sha256 of the arrays."""
        said = {name: sha256(value.numpy().tobytes()).hexdigest() for name, value in self._arrays().items()}
        return artifact.digest(said)

    @cached_property
    def _plan(self) -> sampling.Plan:
        arrays = {name: value.numpy() for name, value in self._arrays().items()}
        return sampling.plan(**arrays | {"factor": arrays["factor"].astype(np.float64)})

    def sample(self, n: int, *, seed: int, start: int = 0) -> Sample:
        """Samples ``start`` to ``start + n`` of the stream named ``seed`` (0 or more). Sample i is the same however
        many are drawn and on however many threads. No stream shares a sample with those of ``samples``."""
        if n < 1 or seed < 0:
            raise BadInput(f"A world is sampled at least once, with a seed of 0 or more; received n={n}, seed={seed}.")
        return self._draw(np.arange(start, start + n), 2 * seed)

    def samples(self, n: int, *, seed: int = 0) -> "Samples":
        """``n`` samples to train on."""
        return Samples(self, n, seed)

    def _draw(self, index: Int64[np.ndarray, " n"], stream: int) -> Sample:
        """Samples with these numbers of a stream."""
        # a little more than the features that fire at a time; who needs more room is drawn again
        return self._drawn(index, stream, 16 + 4 * int(self.probabilities[self.parent < 0].sum()))

    def _drawn(self, index: Int64[np.ndarray, " n"], stream: int, width: int) -> Sample:
        key, n = np.uint64(int(artifact.digest({"stream": stream})[:16], 16)), len(index)
        x, counts = torch.empty(n, self.d), np.empty(n, np.int64)
        values, ids = torch.empty(n, width), torch.empty(n, width, dtype=torch.int32)
        sampling.draw_samples(self._plan, key, index, x.numpy(), values.numpy(), ids.numpy(), counts)
        over = np.flatnonzero(counts > width)
        if len(over):
            again = self._drawn(index[over], stream, 2 * width)
            more = again.codes.ids.shape[1] - width
            values, ids = (torch.nn.functional.pad(t, (0, more)) for t in (values, ids))
            x[over], values[over], ids[over] = again.x, again.codes.values, again.codes.ids
        else:
            used = max(1, int(counts.max()))
            values, ids = values[:, :used].contiguous(), ids[:, :used].contiguous()
        return Sample(x, Codes(values, ids))


class Samples:
    """``n`` samples of a world, drawn as they are read: what ``train`` reads (a ``training.Source``)."""

    def __init__(self, world: World, n: int, seed: int) -> None:
        """Use ``World.samples``."""
        if n < 1 or seed < 0:
            raise BadInput(f"There must be a sample, and a seed of 0 or more; received n={n}, seed={seed}.")
        self.world, self.n_tokens, self.seed = world, n, seed

    def __repr__(self) -> str:
        return f"Samples({self.world!r}, {self.n_tokens:,}, seed {self.seed})"

    @property
    def train(self) -> "Samples":
        """All of them: to judge, draw others with ``World.sample``."""
        return self

    @property
    def d_in(self) -> int:
        return self.world.d

    @property
    def d_out(self) -> int:
        return self.world.d

    @property
    def origin(self) -> dict[str, Any]:
        return {"world": self.world.config, "samples": self.n_tokens, "samples_seed": self.seed}

    @property
    def inputs(self) -> dict[str, str]:
        return {"world": self.world.digest}

    @property
    def frame(self) -> Frame:
        """Mean and scale of the first 65,536 samples, whatever n is."""
        return self._frame

    @cached_property
    def _frame(self) -> Frame:
        x = self.world._draw(np.arange(FRAME_SAMPLES), 2 * self.seed + 1).x
        mean = x.mean(0)
        scale = float((x - mean).square().mean().rsqrt())
        each = torch.full_like(mean, scale)
        return Frame(mean, each, mean, each)

    def n_batches(self, size: int, *, epochs: int = 1) -> int:
        """How many batches ``batches`` yields."""
        return self.n_tokens * epochs // size

    def batches(self, size: int, *, seed: int, epochs: int = 1, start: int = 0) -> Iterator[Batch]:
        """Batches of exactly ``size`` rows, float32, each epoch in another order; ``y is x``. A batch may span two
        epochs; the rows left at the very end are dropped. ``start`` batches are passed over without being drawn."""
        n_batches = self.n_batches(size, epochs=epochs)
        together = max(1, _AHEAD // size)
        for first in range(start, n_batches, together):
            last = min(first + together, n_batches)
            drawn = self.world._draw(self._order(np.arange(first * size, last * size), seed), 2 * self.seed + 1).x
            for x in drawn.split(size):
                yield Batch(x, x)

    def _order(self, at: np.ndarray, seed: int) -> np.ndarray:
        """Which sample stands at each place of the epochs: samples are independent, so a stride and an offset are as
        good as any shuffle, and need no memory."""
        epoch, place = np.divmod(at, self.n_tokens)
        chosen = np.empty_like(at)
        for e in np.unique(epoch):
            rng = np.random.default_rng([seed, int(e)])
            stride = int(rng.integers(1, self.n_tokens + 1))
            while np.gcd(stride, self.n_tokens) != 1:
                stride += 1
            inside = epoch == e
            chosen[inside] = (place[inside] * stride + int(rng.integers(self.n_tokens))) % self.n_tokens
        return chosen
