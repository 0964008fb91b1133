"""explain_dead_features(): which features of a dictionary are dead, when they last fired, and why.

1. Firing is counted over training text, and over held-out text where there is some.
2. Numbers raise suspicions: an encoder that starts far off, a mean that was not subtracted, a few dimensions with most
   of the variance, a learning rate far above the usual one, a sparsity penalty.
3. The first steps of the training are repeated as they were, and once for each suspicion with that one thing put right.
   If that halves the number of deaths, it is a cause: of those features that live with it and die without.
4. What is left is rare (it fires on other text, or nearly does), redundant (a living feature writes the same), or
   unknown.
"""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from physalis import artifact, dictionaries
from physalis.artifact import Manifest
from physalis.dead_features import evidence
from physalis.dead_features.evidence import Spread
from physalis.dead_features.records import RARITY, REDUNDANCY, UNKNOWN, Cause, DeadFeature, DeadFeatures, Trial
from physalis.dead_features.replay import Change, Replay, batches, beginning, replay
from physalis.dead_features.suspects import UNCENTRED, Scene, Suspicion, suspicions
from physalis.dictionaries import Dictionary
from physalis.errors import BadInput
from physalis.metrics import Firing, dead_fraction, share_estimate
from physalis.runtime.device import chosen
from physalis.training import history
from physalis.training.starting import LAST_FIRED
from physalis.training.training import METRICS, Judged, Source
from physalis.types import Batch

LOOKED_AT = 8192  # rows that numbers are measured on
NEAR = 0.25
"""Standard deviations: a feature whose pre-activation comes so near to firing is rare."""
ALIKE = 0.9
"""Cosine above which a living feature makes a dead one redundant."""
HALVED = 0.5

_NEEDED = ("batch_size", "epochs", "order", "lr", "warmup", "decay", "dead_after", "frozen", "steps")


def explain_dead_features(
    dictionary: str | Path,
    source: Source,
    *,
    tokens: int = 1_000_000,
    steps: int = 400,
    device: torch.device | str | None = None,
) -> DeadFeatures:
    """Say how many features of the dictionary in a folder are dead, and why.

    ``source`` is what it was trained on. A feature is dead if it fires on none of ``tokens`` training tokens. At most
    ``steps`` steps of the training are repeated, as they were and once for each suspicion; 0 repeats nothing. With
    another source, or where the training is not known (a converted dictionary), nothing can be repeated, and ``notes``
    says so. All of it happens on ``device``, the best that there is unless given.

    Raises BadInput if the folder holds no dictionary, or if the source's widths are not the dictionary's.
    """
    folder = Path(dictionary)
    about = artifact.read(folder, "dictionary")
    subject = dictionaries.load(folder, device=chosen(device))
    widths, own = (source.d_in, source.d_out), (subject.config.d_in, subject.config.d_out)
    if widths != own:
        raise BadInput(
            f"The dictionary has width {own[0]} in and {own[1]} out, these activations {widths[0]} and {widths[1]}. "
            "Give the activations that it was trained on."
        )
    counted = evidence.count(subject, source.train, tokens)
    case = _Case(
        about,
        subject,
        source,
        (counted.fired == 0).nonzero().flatten(),
        _log(folder),
        _last_fired(folder, len(counted.fired)),
    )
    if len(case.ids):
        _measure(case, tokens)
        _try(case, steps)
    return DeadFeatures(
        n_features=len(counted.fired),
        n_tokens=counted.n_tokens,
        dead=share_estimate(dead_fraction(Firing(counted.fired, counted.n_tokens))),
        never_fired=None if case.last_fired is None else int((case.last_fired[case.ids] == 0).sum()),
        curve=tuple((row["tokens"], row["dead"]) for row in case.log if "dead" in row),
        **_judged(case),
    )


def _log(folder: Path) -> list[dict[str, Any]]:
    return [row for row in history.read(folder / METRICS) if type(row.get("dead", 0)) is int]


def _last_fired(folder: Path, n: int) -> Int[Tensor, " features"] | None:
    path = folder / LAST_FIRED
    if not os.path.lexists(path):
        return None
    artifact.plain(path)
    try:
        found = load_file(path)["last_fired"]
    except (OSError, SafetensorError, KeyError) as error:
        raise BadInput(f"{path} cannot be read ({error}). {artifact.AGAIN}") from error
    if found.shape != (n,) or found.dtype != torch.int64:
        raise BadInput(f"{path} holds {list(found.shape)} numbers, and should hold one for each of {n:,} features.")
    return found


class _Tried(NamedTuple):
    suspicion: Suspicion
    replay: Replay | None


@dataclass
class _Case:
    """What is gathered on the way."""

    about: Manifest
    subject: Dictionary
    source: Source
    ids: Int[Tensor, " dead"]
    log: list[dict[str, Any]]
    last_fired: Int[Tensor, " features"] | None
    numbers: dict[str, Float[Tensor, " dead"]] = field(default_factory=dict)
    control: Replay | None = None
    tried: list[_Tried] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def repeatable(self) -> bool:
        """Whether the training is known and this is what it read."""
        training = self.about.config.get("training", {})
        known = all(name in training for name in _NEEDED) and "before" not in training
        said = json.loads(json.dumps({**self.source.origin, **self.source.inputs}))
        return known and said.items() <= {**self.about.config, **self.about.inputs}.items()


def _measure(case: _Case, tokens: int) -> None:
    """Numbers that follow from the dictionary as it is."""
    subject, ids, device = case.subject, case.ids, evidence.device_of(case.subject)
    alive = torch.ones(subject.config.n_features, dtype=torch.bool)
    alive[ids] = False
    x = torch.cat(list(evidence.rows_of(case.source.train, LOOKED_AT, device)))
    case.numbers["shortfall"] = evidence.shortfall(subject, x, ids)
    dead, living = (subject.writes(each.to(device)) for each in (ids, alive.nonzero().flatten()))
    case.numbers["likeness"] = evidence.nearest(dead, living)
    if isinstance(case.source, Judged) and case.source.held_out.n_tokens:
        case.numbers["elsewhere"] = evidence.count(subject, case.source.held_out, tokens).fired[ids].double()
    if not case.repeatable:
        case.notes.append(
            "Its training is not known, or was not on these activations, so nothing could be repeated: causes that lie "
            "in the training stay unknown."
        )
        left = Spread.of(evidence.inside(subject, x)).offset
        if left >= UNCENTRED:
            case.notes.append(
                f"What the encoder reads has a mean {left:.2f} times as long as its deviation, which kills features "
                "(arXiv 2605.31518): centring is a suspicion here."
            )


def _try(case: _Case, steps: int) -> None:
    """Numbers that follow from how training began, and a repeat for each suspicion that they raise."""
    if not case.repeatable:
        return
    device = evidence.device_of(case.subject)
    young = beginning(case.source, case.about, Change(), device)
    sample: list[Batch] = []
    for batch in batches(case.source, case.about, Change(), device):
        sample.append(batch)
        if sum(len(each.x) for each in sample) >= LOOKED_AT:
            break
    spread = Spread.of(torch.cat([batch.x for batch in sample]))
    at_start = evidence.count_at_start(young, sample)
    dead = torch.zeros(len(at_start.fired), dtype=torch.bool)
    dead[case.ids] = True
    read = young.reads(case.ids.to(device))
    now = case.subject.reads(case.ids.to(device)) / case.source.frame.scale_in.to(device)
    case.numbers["rate_at_start"] = at_start.fired[case.ids] / at_start.n_tokens
    case.numbers["towards_mean"] = evidence.alignment(read, spread.mean)
    if spread.outliers.any():
        case.numbers["in_outliers"] = evidence.mass(read, spread.outliers)
    case.numbers["turned"] = torch.rad2deg(torch.cosine_similarity(read, now, dim=1).clamp(-1, 1).acos()).cpu()
    found = list(suspicions(Scene(case.about, young, sample, spread, at_start, dead, case.log))) if steps else []
    if found:
        case.control = replay(case.source, case.about, Change(), steps=steps, name="as it was", device=device)
    for suspicion in found:
        again = replay(case.source, case.about, suspicion.change, steps=steps, name=suspicion.name, device=device)
        case.tried.append(_Tried(suspicion, again))


def _judged(case: _Case) -> dict[str, Any]:
    ids, numbers, control = case.ids, case.numbers, case.control
    if not len(ids):
        return {"causes": (), "trials": (), "features": (), "notes": ()}
    names = [UNKNOWN] * len(ids)
    trials: list[Trial] = []
    why = "no change that was tried keeps them alive" if case.tried else "no number raised a suspicion to be tried"
    said: dict[str, tuple[str, str]] = {UNKNOWN: (why, _last_resort(case))}
    if control is not None:
        died = control.dead[ids]
        trials.append(Trial(name="as it was", dead=int(control.dead.sum()), saved=0, fvu=control.fvu))
        guilty: list[tuple[int, str, Tensor]] = []
        for suspicion, again in case.tried:
            if again is None:
                case.notes.append(f"The repeat without the suspected cause {suspicion.name!r} diverged.")
                continue
            lived = died & ~again.dead[ids]
            trial = Trial(name=suspicion.name, dead=int(again.dead.sum()), saved=int(lived.sum()), fvu=again.fvu)
            trials.append(trial)
            told = f"{trials[0].dead:,} features died as it was and {trial.dead:,} with this put right"
            if trial.dead > HALVED * trials[0].dead or trial.saved < HALVED * int(died.sum()):
                case.notes.append(f"Not a cause, though {suspicion.because}: in a repeat {told}.")
                continue
            guilty.append((trial.saved, suspicion.name, lived))
            said[suspicion.name] = (f"{suspicion.because}; in a repeat {told}", suspicion.fix)
        for _, name, lived in sorted(reversed(guilty), key=lambda each: each[0]):  # whoever saves most decides
            names = [name if lives else before for lives, before in zip(lived.tolist(), names, strict=True)]
    elsewhere = numbers.get("elsewhere", torch.zeros(len(ids)))
    for i, name in enumerate(names):
        if elsewhere[i] > 0:
            names[i] = RARITY
        elif name == UNKNOWN and numbers["likeness"][i] >= ALIKE:
            names[i] = REDUNDANCY
        elif name == UNKNOWN and numbers["shortfall"][i] <= NEAR:
            names[i] = RARITY
    said |= _harmless(case, names)
    order = sorted({*names}, key=lambda name: (name == UNKNOWN, -names.count(name)))
    columns = {name: values.tolist() for name, values in numbers.items()}
    return {
        "causes": tuple(Cause(name=n, features=names.count(n), because=said[n][0], fix=said[n][1]) for n in order),
        "trials": tuple(trials),
        "features": tuple(
            DeadFeature(
                id=f, cause=names[i], last_fired=None if case.last_fired is None else int(case.last_fired[f]),
                numbers={name: values[i] for name, values in columns.items()},
            )
            for i, f in enumerate(ids.tolist())
        ),
        "notes": tuple(case.notes),
    }  # fmt: skip


def _harmless(case: _Case, names: list[str]) -> dict[str, tuple[str, str]]:
    elsewhere = case.numbers.get("elsewhere", torch.zeros(len(names)))
    rare = torch.tensor([name == RARITY for name in names], dtype=torch.bool)
    n = int((elsewhere[rare] > 0).sum())
    near = case.numbers["shortfall"][rare & (elsewhere == 0)]
    told = [f"{n:,} of them fire on held-out text"] if n else []
    if len(near):
        half = near.median().clamp_min(0)
        told.append(f"{len(near):,} come within {NEAR} deviations of firing, half of them within {half:.2g}")
    features, k = case.subject.config.n_features, case.subject.config.k
    rest = features - names.count(REDUNDANCY)
    return {
        RARITY: (
            ", ".join(told),
            "Nothing is wrong: on more text they would fire. With little text, train fewer features.",
        ),
        REDUNDANCY: (
            f"a living feature writes along the same direction, with a cosine above {ALIKE}",
            f"About {rest:,} features would do (--features {rest}); more than k = {k} on a token would give them room.",
        ),
    }


def _last_resort(case: _Case) -> str:
    if getattr(case.subject.config, "aux_weight", None) == 0:
        return "aux_weight is 0, so nothing revives dead features: set it to 0.03."
    return f"More text, fewer features than {case.subject.config.n_features:,}, or another architecture may help."
