"""evaluate(): the only evaluation loop; how faithful a dictionary is, with intervals and beside its baselines.

1. Every held-out row is encoded once: FVU, cosine and L0 of what the dictionary predicts, be that the row itself,
   another site's or several sites'.
2. The model goes on from that prediction in place of the activations (``splicing``): what does it lose?
3. Firings are counted on held-out text where there is much, else on training text, to say which features are dead.
Baselines are measured on the same tokens: the best linear map of rank k from what is read to what is predicted (PCA
for an autoencoder), the mean, and a dictionary of the same shape whose directions are random and frozen, its encoder
trained the same way.
"""

import sys
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

import torch

from physalis import artifact, dictionaries
from physalis.activations import Stored
from physalis.artifact import Manifest
from physalis.dictionaries import Dictionary, Linear
from physalis.errors import BadInput
from physalis.evaluation.baselines import LinearMap, too_wide
from physalis.evaluation.evaluation import Evaluation
from physalis.evaluation.reconstruction import Counted, reconstructions
from physalis.evaluation.splicing import MEAN, Splicer, Unspliceable
from physalis.evaluation.trained import other_recording
from physalis.metrics import RECONSTRUCTION, Interval, Sums, fvu, l0
from physalis.models import Model
from physalis.placement.origin import Recordings, recorded
from physalis.runtime import device
from physalis.training.options import Training
from physalis.training.training import train

OWN, FROZEN, MAP = "", "frozen", "linear"
REPEATED = tuple(each.name for each in fields(Training) if each.name not in ("frozen", "seed"))
"""What a training is to be known by, so that another can be like it."""


def evaluate(
    dictionary: str | Path,
    activations: Recordings,
    model: Model | None,
    *,
    out: str | Path,
    writes: Recordings | None = None,
    splice_tokens: int = 4_096,
    firing_tokens: int = 1_000_000,
    seed: int = 0,
) -> Evaluation:
    """Measure the dictionary in one folder on recordings of what it reads; the finished evaluation.

    ``writes`` are recordings of what it predicts; they need not be given where they stand beside ``activations``.
    ``splice_tokens`` held-out tokens go through the model once for each variant; without a ``model``, or where the
    dictionary reads several, nothing is spliced and ``facts["not_spliced"]`` says why.
    Firings are counted on the held-out text if it has ``firing_tokens`` tokens, else on as many of the training text.
    Everything is computed where the model is.

    ``facts["metrics"]`` holds, under each metric function's name, ``{value, low, high}`` (95 %): over documents for
    what is averaged over tokens (without ends if there are fewer than 5), Wilson's interval for shares of features.
    ``facts["baselines"]`` is a list of ``{name, metrics}`` measured on the same tokens, ``facts["sites"]`` the FVU at
    each site where several are predicted. ``n_held_out`` and ``n_spliced`` count rows that were rebuilt and predictions
    that were compared, ``documents`` the documents of both, ``firing`` says on which text firings were counted.

    Raises BadInput if model, activations and dictionary do not belong together, if nothing was held out, or if writing
    the activations back unchanged does not give the model's own loss to 1e-5 nats.
    """
    about = artifact.read(Path(dictionary), "dictionary")
    source = recorded(about, activations, writes)
    if source.held_out.n_tokens == 0:
        raise BadInput(
            f"{source.reads[0].folder} holds nothing out, so nothing can be judged. Record with --held-out 0.1."
        )
    said = other_recording(about, Path(dictionary), source)
    if said is not None:
        print(said, file=sys.stderr)
    several = len({part.model_hash for side in source.parts for part in side}) > 1
    if model is not None and not several:
        source.require(model)
    job = {
        "dictionary": about.hash, "activations": source.inputs["activations"], "splice_tokens": splice_tokens,
        "firing_tokens": firing_tokens, "seed": seed, "model": None if model is None else str(model.dtype),
    }  # fmt: skip
    with artifact.claim(Path(out), "evaluation", job) as done:
        if done is not None:
            return Evaluation.of(done)
        where = device.default_device() if model is None else model.device
        subjects = {OWN: dictionaries.load(dictionary, device=where)}
        shape = subjects[OWN].config
        splicer, why = None, "no model was given."
        if model is not None:
            try:
                splicer = Splicer(model, source)
            except Unspliceable as reason:
                why = str(reason)
        told = {*REPEATED} <= {*about.config.get("training", {})}  # one converted does not say how it was trained
        if told and isinstance(subjects[OWN], Linear):
            _train_frozen(about, source, Path(out) / FROZEN, seed, where)
            subjects[FROZEN] = dictionaries.load(Path(out) / FROZEN, device=where)
        rank = min(source.d_in, source.d_out) if shape.skip else shape.k
        found = _measured(
            subjects, source, splicer, rank, splice_tokens=splice_tokens, firing_tokens=firing_tokens, seed=seed
        )
        names = {
            MAP: _map_name(source, rank), FROZEN: "random directions, encoder trained the same way", MEAN: "the mean",
        }  # fmt: skip
        facts: dict[str, Any] = {
            "metrics": found.metrics[OWN],
            "baselines": [
                {"name": name, "metrics": found.metrics[key]} for key, name in names.items() if key in found.metrics
            ],
            "sites": found.sites,
            "n_held_out": source.held_out.n_tokens,
            "n_spliced": found.n_spliced,
            "not_spliced": None if splicer else why,
            "documents": found.documents,
            "firing": {"text": "held out" if found.counted.held_out else "training", "tokens": found.counted.n_tokens},
        }
        inputs = {"dictionary": about.hash, **source.inputs}
        made = Manifest(kind="evaluation", config=job, seed=seed, inputs=inputs, facts=facts)
        return Evaluation.of(artifact.finish(Path(out), made, []))


def measure(
    subjects: Mapping[str, Dictionary],
    source: Stored,
    model: Model,
    *,
    splice_tokens: int,
    firing_tokens: int,
    seed: int,
) -> dict[str, dict[str, Interval]]:
    """The metrics of several dictionaries, and under "linear" those of the best linear map of the first one's k, all on
    the same tokens: ``{subject: {metric: {value, low, high}}}``. Trains nothing, writes nothing."""
    options = {"splice_tokens": splice_tokens, "firing_tokens": firing_tokens, "seed": seed}
    for each in subjects.values():
        if next(each.parameters()).device != model.device:
            each.to(model.device).compute_in(device.compute_dtype(model.device))
    rank = next(iter(subjects.values())).config.k
    return _measured(subjects, source, Splicer(model, source), rank, **options).metrics


class _Measured(NamedTuple):
    metrics: dict[str, dict[str, Interval]]
    sites: dict[str, Interval]
    counted: Counted
    n_spliced: int
    documents: dict[str, int]


def _measured(
    subjects: Mapping[str, Dictionary],
    source: Stored,
    splicer: Splicer | None,
    rank: int,
    *,
    splice_tokens: int,
    firing_tokens: int,
    seed: int,
) -> _Measured:
    first = next(iter(subjects))
    where = next(subjects[first].parameters()).device
    maps = {} if too_wide(source) else {MAP: LinearMap.fit(source, [rank], seed=seed, device=where)[0]}
    sums, shares, counted = reconstructions(source, subjects, maps, firing_tokens=firing_tokens, seed=seed)
    usual = [metric.__name__ for metric in RECONSTRUCTION]
    found = {key: _estimates({name: each[name] for name in usual if name in each}) for key, each in sums.items()}
    sites = _estimates({name: each for name, each in sums[first].items() if name not in usual})
    documents = {"held_out": len(sums[first][fvu.__name__].ids), "spliced": 0}
    for key, each in shares.items():
        found[key] |= each
    for key, each in maps.items():
        found[key][l0.__name__] = _exactly(each.rank)
    found[MEAN] = {fvu.__name__: _exactly(1)}
    n_spliced = 0
    if splicer is not None:
        spliced, n_spliced = splicer.measure({**subjects, **maps}, tokens=splice_tokens, seed=seed)
        documents["spliced"] = len(spliced[MEAN]["ce_increase"].ids)
        for key, each in spliced.items():
            found[key] |= _estimates(each)
    return _Measured(found, sites, counted, n_spliced, documents)


def _estimates(sums: Mapping[str, Sums]) -> dict[str, Interval]:
    """Of all that there is something to divide by: no loss can be recovered where replacing the site costs none."""
    recovered = ("loss_recovered_zero", "loss_recovered_mean")
    return {name: each.estimate() for name, each in sums.items() if each and (name not in recovered or each.divides)}


def _exactly(value: float) -> Interval:
    return {"value": float(value), "low": float(value), "high": float(value)}


def _map_name(source: Stored, rank: int) -> str:
    if not source.parts[1]:
        return f"PCA, {rank} components"
    return "best linear map" if rank == min(source.d_in, source.d_out) else f"best linear map of rank {rank}"


def _train_frozen(about: Manifest, source: Stored, folder: Path, seed: int, where: torch.device) -> None:
    """The baseline dictionary: as ``about`` says, with random directions kept."""
    config = dictionaries.make(about.config["architecture"], about.config["dictionary"]).config
    said = about.config["training"]
    training = Training(**{name: said[name] for name in REPEATED}, frozen="dec", seed=seed)
    train(source, [config], [folder], training, device=where)
