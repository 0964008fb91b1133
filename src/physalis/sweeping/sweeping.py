"""sweep(): a grid of dictionaries on one read of the activations, judged on held-out tokens, and its frontier drawn.

What an architecture is worth shows only at equal sparsity: FVU against L0, a curve for each architecture and width, its
seeds as a band, beside the best linear map that has as many components. Dictionaries that differ only in architecture
are compared document by document. The picture is an SVG file that needs nothing else.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError

from physalis import artifact, dictionaries
from physalis.activations import Stored
from physalis.artifact import Manifest, kinds
from physalis.display import tables
from physalis.errors import BadInput
from physalis.evaluation import LinearMap, reconstructions, too_wide
from physalis.metrics import Interval, Sums, difference
from physalis.runtime.device import chosen
from physalis.sweeping.frontier import Curve, Dot, draw
from physalis.training.options import Training
from physalis.training.training import train

PICTURE, POINTS = "frontier.svg", "sweep.json"


@dataclass(frozen=True)
class Point:
    """One dictionary of a sweep. Metrics are ``{value, low, high}``, 95 %, over documents; no ends where too few of
    them were held out."""

    architecture: str
    n_features: int
    k: int
    seed: int
    folder: str
    """Under the sweep's folder."""
    fvu: Interval
    l0: Interval
    dead_fraction: Interval
    difference: Interval | None
    """Its FVU less that of the first architecture at the same width, k and seed, on the same documents: known better
    than either is. None for the first architecture."""


@dataclass(frozen=True)
class Baseline:
    """The best linear map of rank k: PCA where a dictionary predicts what it reads."""

    k: int
    fvu: Interval


class _Read(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")


class _Point(_Read):
    architecture: str
    n_features: int
    k: int
    seed: int
    folder: str
    fvu: kinds.Interval
    l0: kinds.Interval
    dead_fraction: kinds.Interval
    difference: kinds.Interval | None


class _Baseline(_Read):
    k: int
    fvu: kinds.Interval


class _Found(_Read):
    """What sweep.json holds."""

    points: list[_Point]
    baselines: list[_Baseline]


@dataclass(frozen=True)
class Sweep:
    """What was found, and where the picture is."""

    points: list[Point]
    baselines: list[Baseline]
    picture: str
    manifest: str

    def __repr__(self) -> str:
        return f"Sweep({len(self.points)} dictionaries, {len(self.baselines)} baselines, drawn in {self.picture!r})"

    def table(self) -> Any:
        """A pandas DataFrame with a row a dictionary. Raises BadInput without pandas."""
        return tables.table(self.points)

    def to_dict(self) -> dict[str, Any]:
        """The record as plain data."""
        return asdict(self)


def sweep(
    activations: Stored,
    out: str | Path,
    *,
    architectures: Sequence[str] = ("topk", "batchtopk", "jumprelu"),
    ks: Sequence[int] = (16, 32, 64),
    widths: Sequence[int] | None = None,
    seeds: Sequence[int] = (0,),
    skip: bool = False,
    settings: Mapping[str, Any] = {},
    epochs: int = 1,
    batch_size: int = Training.batch_size,
    firing_tokens: int = 100_000,
    device: torch.device | str | None = None,
) -> Sweep:
    """Train every architecture at every k, width (8 times what is read unless given) and seed, all on the same batches,
    and draw their frontier into ``out``/frontier.svg. ``Pairs`` make transcoders, crosscoders and cross-layer ones,
    ``skip`` gives each a linear path beside its features; ``settings`` are further fields of their configs, each given
    to the architectures that have it. All of it happens on ``device``, the best that there is
    unless given.

    Each dictionary is a folder of its own that ``evaluate`` and ``build_atlas`` read. A sweep that was killed goes on
    where it stopped; one that is finished is only read. Raises BadInput for an unknown architecture, a k that is not
    below the width, nothing held out, or a folder that holds something else.
    """
    out, device = Path(out), chosen(device)
    widths = [8 * activations.d_in] if widths is None else widths
    if activations.held_out.n_tokens == 0:
        raise BadInput(
            f"{activations.reads[0].folder} holds nothing out, so nothing can be judged. Record with --held-out 0.1."
        )
    grid = list(product(architectures, widths, ks, seeds))
    if not grid:
        raise BadInput("A sweep needs at least one architecture, one k, one width and one seed.")
    sides = [[len(part.mean) for part in side] for side in activations.parts]
    beside = {"skip": True} if skip else {}
    own = {name: dictionaries.having(name, settings) for name in architectures}
    for each in settings:
        if not any(each in fields for fields in own.values()):
            raise BadInput(f"None of {', '.join(architectures)} has a setting {each!r}. Leave it out, or correct it.")
    shapes = [
        dictionaries.across(name, *sides) | own[name] | {"n_features": width, "k": k} | beside
        for name, width, k, _ in grid
    ]
    configs = [dictionaries.make(point[0], shape).config for point, shape in zip(grid, shapes, strict=True)]
    names = ["-".join(map(str, point)) for point in grid]
    job: dict[str, Any] = {
        "grid": grid, "epochs": epochs, "batch_size": batch_size, "firing_tokens": firing_tokens,
        "inputs": activations.inputs,
    } | beside | ({"settings": dict(settings)} if settings else {})  # fmt: skip
    with artifact.claim(out, "sweep", job) as done:
        if done is not None:
            return _read(out, done)
        folders = [out / name for name in names]
        seeds = [seed for *_, seed in grid]
        options = {"epochs": epochs, "batch_size": batch_size, "seeds": seeds, "device": device}
        trained = dict(zip(names, train(activations, configs, folders, **options), strict=True))
        ranks = [min(activations.d_in, activations.d_out)] * len(ks) if skip else ks  # what a skip path has anyway
        fitted = [] if too_wide(activations) else LinearMap.fit(activations, ranks, device=device)
        maps = dict(zip(map(str, ks), fitted, strict=False))
        sums, shares, _ = reconstructions(activations, trained, maps, firing_tokens=firing_tokens)
        points = [
            Point(
                architecture, width, k, seed, name,
                fvu=sums[name]["fvu"].estimate(), l0=sums[name]["l0"].estimate(),
                dead_fraction=shares[name]["dead_fraction"],
                difference=_difference(sums, name, "-".join(map(str, (architectures[0], width, k, seed)))),
            )
            for (architecture, width, k, seed), name in zip(grid, names, strict=True)
        ]  # fmt: skip
        baselines = [Baseline(k, sums[str(k)]["fvu"].estimate()) for k in sorted(set(ks)) if str(k) in maps]
        said = activations.origin
        where = f"{_listed(said['site'])}{' to ' + _listed(said['writes']) if 'writes' in said else ''}"
        about = f"{where} of {_listed(said['model'])}, {activations.n_tokens:,} tokens"
        curves = _curves(points) + _baseline(baselines, "writes" in said)
        picture = draw(curves, title="Variance unexplained against features that fire", about=about)
        artifact.write_atomic(out / PICTURE, lambda path: path.write_text(picture))
        found = {"points": [asdict(each) for each in points], "baselines": [asdict(each) for each in baselines]}
        artifact.write_json(out / POINTS, found)
        manifest = Manifest(
            kind="sweep", config={k: v for k, v in job.items() if k != "inputs"}, inputs=activations.inputs
        )
        return _read(out, artifact.finish(out, manifest, [PICTURE, POINTS]))


def _difference(sums: Mapping[str, Mapping[str, Sums]], name: str, first: str) -> Interval | None:
    return None if name == first else difference(sums[name]["fvu"], sums[first]["fvu"])


def _listed(said: str | list[str]) -> str:
    return said if isinstance(said, str) else ", ".join(dict.fromkeys(said))


def _read(out: Path, manifest: Manifest) -> Sweep:
    artifact.check_digest(out / POINTS, manifest)
    try:
        found = _Found.model_validate(artifact.read_json(out / POINTS)).model_dump()
    except ValidationError as error:
        raise BadInput(f"{out / POINTS}: {artifact.wrong(error)}. {artifact.MISFIT}") from error
    points = [Point(**each) for each in found["points"]]
    baselines = [Baseline(**each) for each in found["baselines"]]
    return Sweep(points, baselines, str(out / PICTURE), manifest.hash)


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
            l0 = sum(point.l0["value"] for point in same) / len(same)
            # with one seed the band is what held-out documents leave open; with several, what seeds do
            one = _dot(l0, same[0].fvu)
            dots.append(one if len(same) == 1 else Dot(l0, sum(values) / len(values), min(values), max(values)))
        name = f"{architecture}, {width:,}" if several else architecture
        curves.append(Curve(name, sorted(dots)))
    return curves


def _baseline(baselines: Sequence[Baseline], transcoder: bool) -> list[Curve]:
    name = "best linear map" if transcoder else "PCA"
    return [Curve(name, [_dot(each.k, each.fvu) for each in baselines])] if baselines else []


def _dot(l0: float, fvu: Interval) -> Dot:
    """Without a band where too few documents were held out for one."""
    low, high = (fvu["value"] if end is None else end for end in (fvu["low"], fvu["high"]))
    return Dot(l0, fvu["value"], low, high)
