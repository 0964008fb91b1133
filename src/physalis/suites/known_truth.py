"""known_truth: how an architecture fares where the true features are known: trained anew, at the same k as all others,
on samples of a small world, from another seed each round, and held against the truth (``lab.truth``).

That says something of an architecture and its settings. Of the dictionary that was trained on a model it says nothing.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from physalis import dictionaries
from physalis.dictionaries import Dictionary
from physalis.lab.fitting import ARCHITECTURES_OF_ONE_SITE
from physalis.lab.oracles import oracle
from physalis.lab.recipes import Recipe
from physalis.lab.truth import Reader, Truth, as_reader, score
from physalis.lab.worlds import World
from physalis.suites.diagnostics import BestK, Permuted, random_like
from physalis.suites.groups import Group
from physalis.suites.records import Measured, Metric
from physalis.training.training import train
from physalis.types import Codes

METRICS = [
    Metric(name="world_f1", title="F1 of features as detectors of true ones", higher_is_better=True, truth=True),
    Metric(name="world_mcc", title="cosine of matched features and true ones (MCC)", higher_is_better=True, truth=True),
    Metric(
        name="world_unique", title="different true features among those that features resemble most, a feature",
        higher_is_better=True, truth=True,
    ),
    Metric(
        name="world_absorption", title="recall that a parent's feature loses where a child fires (absorption)",
        higher_is_better=False, truth=True,
    ),
    Metric(
        name="world_parents", title="recall of a parent's feature where a child fires, less its false alarms",
        higher_is_better=True, truth=True,
    ),
]  # fmt: skip
RECIPE = Recipe(n_features=256, d=48, n_roots=6, branching=3, depth=2, rank=8, p_min=2e-3)
"""78 of its features stand in trees."""
FEATURES, K = 96, 8
SAMPLES, BATCH = 200_000, 1_024
JUDGED = 20_000
SHAPE = ("d_in", "d_out", "n_features", "k", "skip", "layer_norm", "widths", "sites", "layers")
"""Settings that belong to a dictionary's size and place: the world has its own."""


def learns(group: Group) -> bool:
    """Whether dictionaries of this kind can be trained on a world: those of one site can."""
    return str(group.manifests[0].config["architecture"]).lower() in ARCHITECTURES_OF_ONE_SITE


def known_truth(groups: Sequence[Group], round: int, folder: Path, *, samples: int = SAMPLES) -> Iterator[Measured]:
    """Every metric of every group's architecture and of the four diagnostics, the learned ones made of the first
    group's. ``folder`` keeps what is trained."""
    world = World.make(RECIPE)
    judged: dict[str, Dictionary | Reader] = {}
    configs, outs = [], []
    for number, group in enumerate(groups):
        about = group.manifests[0].config
        own = {key: value for key, value in about["dictionary"].items() if key not in SHAPE}
        shape = {"d_in": world.d, "d_out": world.d, "n_features": FEATURES, "k": K}
        configs.append(dictionaries.make(about["architecture"], {**own, **shape}).config)
        outs.append(folder / f"{number}-{round}")
    source = world.samples(samples, seed=round)
    made = train(source, configs, outs, epochs=1, batch_size=BATCH, seed=round, device="cpu")
    judged |= {group.name: each for group, each in zip(groups, made, strict=True)}
    x = world.sample(JUDGED // 5, seed=2 * round + 1).x
    judged |= {
        "oracle": oracle(world, FEATURES), "best k": BestK.chosen(made[0], x),
        "random": random_like(made[0], source.frame, seed=round),
        "permuted": Permuted(made[0], source.frame.mean_in, seed=round),
    }  # fmt: skip
    for name, each in judged.items():
        values = _values(each, world, round)
        for metric in METRICS:
            value = values[metric.name]
            yield Measured(
                metric=metric.name, subject=name, role="dictionary", round=round,
                value=None if np.isnan(value) else float(value),
            )  # fmt: skip


def _values(judged: Dictionary | Reader, world: World, round: int) -> dict[str, float]:
    truth = score(judged, world, samples=JUDGED, seed=2 * round)
    return {
        "world_f1": truth.f1, "world_mcc": truth.mcc, "world_unique": truth.uniqueness,
        "world_absorption": truth.absorption, "world_parents": _parents(judged, world, truth, round),
    }  # fmt: skip


def _parents(judged: Dictionary | Reader, world: World, truth: Truth, round: int) -> float:
    """Over all pairs of a parent and its child: how often the feature that resembles the parent most fires where both
    do, less how often it fires where the parent does not. 0 for a feature that fires at random."""
    sample = world.sample(JUDGED, seed=2 * round)
    fires = _fires(as_reader(judged).read(sample).codes, len(truth.learned.match))
    true = _fires(sample.codes, world.n_features)
    parents = world.parent.numpy()
    found = []
    for child in np.flatnonzero(parents >= 0):
        parent = parents[child]
        both, none = true[:, child] & true[:, parent], ~true[:, parent]
        if both.any() and none.any():
            of = fires[:, truth.found.by[parent]]
            found.append(of[both].mean() - of[none].mean())
    return float(np.mean(found)) if found else float("nan")


def _fires(codes: Codes, n: int) -> Bool[np.ndarray, "tokens n"]:
    return codes.dense(n).numpy() > 0
