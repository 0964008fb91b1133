"""sweep(): a grid of dictionaries on one read of the activations, judged on held-out tokens, and its frontier drawn.

What an architecture is worth shows only at equal sparsity: FVU against L0, a curve for each architecture and width, its
seeds as a band. The picture is an SVG file that needs nothing else.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

from physalis import artifact, dictionaries
from physalis.activations import Activations
from physalis.artifact import Manifest
from physalis.errors import BadInput
from physalis.evaluation import PCA, reconstructions
from physalis.frontier import Curve, Dot, draw
from physalis.training import train

PICTURE, POINTS = "frontier.svg", "sweep.json"


@dataclass(frozen=True)
class Point:
    """One dictionary of a sweep. Metrics are ``{value, low, high}``, 95 %."""

    architecture: str
    n_features: int
    k: int
    seed: int
    folder: str
    """Under the sweep's folder."""
    fvu: dict[str, float]
    l0: dict[str, float]
    dead_fraction: dict[str, float]


@dataclass(frozen=True)
class Sweep:
    """What was found, and where the picture is."""

    points: list[Point]
    picture: str
    manifest: str

    def to_dict(self) -> dict[str, Any]:
        """The record as plain data."""
        return asdict(self)


def sweep(
    activations: Activations,
    out: str | Path,
    *,
    architectures: Sequence[str] = ("topk", "batchtopk", "jumprelu"),
    ks: Sequence[int] = (16, 32, 64),
    widths: Sequence[int] | None = None,
    seeds: Sequence[int] = (0,),
    epochs: int = 1,
    batch_size: int = 2048,
    firing_tokens: int = 100_000,
) -> Sweep:
    """Train every architecture at every k, width (8 times the site's unless given) and seed, all on the same batches,
    and draw their frontier into ``out``/frontier.svg.

    Each dictionary is a folder of its own that ``evaluate`` and ``build_atlas`` read. A sweep that was killed goes on
    where it stopped; one that is finished is only read. Raises BadInput for an unknown architecture, a k that is not
    below the width, nothing held out, or a folder that holds something else.
    """
    out = Path(out)
    d = activations.d
    widths = [8 * d] if widths is None else widths
    if activations.held_out.n_tokens == 0:
        raise BadInput(f"{activations.folder} holds nothing out, so nothing can be judged. Record with --held-out 0.1.")
    grid = list(product(architectures, widths, ks, seeds))
    if not grid:
        raise BadInput("A sweep needs at least one architecture, one k, one width and one seed.")
    shapes = [{"d_in": d, "d_out": d, "n_features": width, "k": k} for _, width, k, _ in grid]
    configs = [dictionaries.make(point[0], shape).config for point, shape in zip(grid, shapes, strict=True)]
    names = ["-".join(map(str, point)) for point in grid]
    job = {
        "grid": grid, "epochs": epochs, "batch_size": batch_size, "firing_tokens": firing_tokens,
        "inputs": activations.inputs,
    }  # fmt: skip
    with artifact.claim(out, "sweep", job) as done:
        if done is not None:
            return _read(out, done)
        folders = [out / name for name in names]
        options = {"epochs": epochs, "batch_size": batch_size, "seeds": [seed for *_, seed in grid]}
        trained = dict(zip(names, train(activations, configs, folders, **options), strict=True))
        found = reconstructions(activations, trained, PCA.fit(activations, max(ks)), firing_tokens, 0)
        points = [
            Point(
                architecture, width, k, seed, name,
                fvu=found[name]["fvu"], l0=found[name]["l0"], dead_fraction=found[name]["dead_fraction"],
            )
            for (architecture, width, k, seed), name in zip(grid, names, strict=True)
        ]  # fmt: skip
        about = f"{activations.site} of {activations.manifest.config['model']}, {activations.n_tokens:,} tokens"
        picture = draw(_curves(points), title="Variance unexplained against features that fire", about=about)
        artifact.write_atomic(out / PICTURE, lambda path: path.write_text(picture))
        artifact.write_json(out / POINTS, [asdict(point) for point in points])
        manifest = Manifest(kind="sweep", config={k: v for k, v in job.items() if k != "inputs"}, inputs=job["inputs"])
        return _read(out, artifact.finish(out, manifest, [PICTURE, POINTS]))


def _read(out: Path, manifest: Manifest) -> Sweep:
    points = [Point(**point) for point in json.loads((out / POINTS).read_text())]
    return Sweep(points, str(out / PICTURE), manifest.hash)


def _curves(points: Sequence[Point]) -> list[Curve]:
    """A curve for each architecture and width, a dot for each k; seeds are averaged, their extremes kept."""
    several = len({point.n_features for point in points}) > 1
    groups: dict[tuple[str, int], dict[int, list[Point]]] = {}
    for point in points:
        groups.setdefault((point.architecture, point.n_features), {}).setdefault(point.k, []).append(point)
    curves = []
    for (architecture, width), by_k in groups.items():
        dots = []
        for same in by_k.values():
            values = [point.fvu["value"] for point in same]
            # with one seed the band is what held-out contexts leave open; with several, what seeds do
            low = min(values) if len(same) > 1 else same[0].fvu["low"]
            high = max(values) if len(same) > 1 else same[0].fvu["high"]
            l0 = sum(point.l0["value"] for point in same) / len(same)
            dots.append(Dot(l0, sum(values) / len(values), low, high))
        name = f"{architecture}, {width:,}" if several else architecture
        curves.append(Curve(name, sorted(dots)))
    return curves
