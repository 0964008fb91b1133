"""evaluate_suite(): dictionaries beside each other on every metric that can be trusted, with the noise of each number.

1. Dictionaries that differ in their seed alone are one group, and take turns.
2. In each round everything random is drawn anew: texts and their halves, contexts, features, documents, seeds. All
   groups, the diagnostics made of the first and the baselines share the draw.
3. A metric on which the diagnostics do not stand in their order is dropped. What is left is shown, and differences that
   are larger than the rounds leave open.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from physalis import artifact
from physalis.activations import Stored
from physalis.artifact import Manifest
from physalis.dictionaries import Dictionary, load
from physalis.errors import BadInput
from physalis.evaluation import Splicer, Unspliceable
from physalis.models import Model
from physalis.models.text.corpus import Text
from physalis.placement.origin import Recordings, recorded
from physalis.runtime.progress import progress
from physalis.suites import consistency, effects, fidelity, known_truth
from physalis.suites.diagnostics import BestK, Permuted, random_like
from physalis.suites.evaluated import KIND, MEASURED, Suite
from physalis.suites.groups import Group, grouped
from physalis.suites.probing import PROBES, SHIFTED, Probing
from physalis.suites.probing_tasks import ProbingTasks
from physalis.suites.ranking import ORDER, by_subject
from physalis.suites.records import Measured, Metric
from physalis.suites.task_rows import Pool

FEWEST = 3
"""Rounds: of fewer there is no spread to speak of."""
ROWS = 8_192
"""Of held-out text, on which codes of two seeds are compared; and of training text, by which best k is chosen."""
WORLDS = "worlds"


class _Work(NamedTuple):
    """What is measured, and on what."""

    groups: Sequence[Group]
    source: Stored
    model: Model
    splicer: Splicer | None
    probing: Callable[[], Probing] | None
    reads_one: bool
    """Whether a single model computes all that is read."""
    options: dict[str, Any]


def evaluate_suite(
    dictionaries: str | Path | Sequence[str | Path],
    activations: Recordings,
    model: Model,
    out: str | Path,
    *,
    writes: Recordings | None = None,
    tasks: Sequence[str] | None = None,
    probes: str | Path | None = None,
    pool: Pool = "mean",
    length: int = 64,
    texts: int = 200,
    rounds: int = 5,
    splice_tokens: int = 2_048,
    features: int = 24,
    world_samples: int = 200_000,
    seed: int = 0,
) -> Suite:
    """Measure dictionaries of the same recordings on the suite, opened.

    Folders of dictionaries that differ in their seed alone are one group: with five of each, what is said of a
    difference includes what another seed would do to it; with one, it is about these very dictionaries. ``tasks`` are
    names of probing tasks, a dozen unless given (``suites.probing_tasks.USUAL``); ``probes`` is the wheel that carries
    them, fetched once unless given. Each round takes ``texts`` texts of a task, half to train on, of which
    probes see ``length`` tokens pooled by ``pool`` ("last" is what sae-probes does);
    ``splice_tokens`` held-out tokens; ``features`` features to take away; and ``world_samples`` samples of a world, on
    which each group's architecture is trained anew (0 for none). What cannot be measured is named in ``unmeasured``.

    Raises BadInput for dictionaries that do not belong to these recordings or this model, for tasks that there are not,
    for fewer than 3 rounds, and if nothing was held out.
    """
    groups = grouped([dictionaries] if isinstance(dictionaries, str | Path) else dictionaries)
    source = recorded(groups[0].manifests[0], activations, writes)
    for group in groups:
        for about in group.manifests:
            recorded(about, source if len(source.parts[1]) == 0 else activations, writes)
    if source.held_out.n_tokens == 0:
        raise BadInput(f"{source.reads[0].folder} holds nothing out. Record with --held-out 0.1.")
    if rounds < FEWEST:
        raise BadInput(f"Noise is the spread over rounds, of which there must be {FEWEST} or more; received {rounds}.")
    if texts < 20 or min(splice_tokens, features, length) < 1 or world_samples < 0:
        raise BadInput(
            f"A round takes 20 texts or more of a task, and 1 token and feature or more; received {texts=}, "
            f"{length=}, {splice_tokens=}, {features=}, {world_samples=}."
        )
    if _reads_one(source):
        source.require(model)
    config = {
        "tasks": None if tasks is None else list(tasks), "pool": pool, "length": length, "texts": texts,
        "rounds": rounds, "splice_tokens": splice_tokens, "features": features, "world_samples": world_samples,
    }  # fmt: skip
    inputs = {f"dictionary {n}": about.hash for n, about in enumerate(a for g in groups for a in g.manifests)}
    inputs |= {"activations": source.inputs["activations"], "model": model.fingerprint}
    with artifact.claim(Path(out), KIND, {"inputs": inputs, "seed": seed, **config}) as done:
        if done is None:
            _make(Path(out), groups, source, model, config, inputs, probes, seed)
    return Suite.open(out)


def _reads_one(source: Stored) -> bool:
    """Whether a single model computes all that is read and written."""
    return len({part.model_hash for side in source.parts for part in side}) == 1


def _make(
    out: Path, groups: Sequence[Group], source: Stored, model: Model, config: dict[str, Any], inputs: dict[str, str],
    probes: str | Path | None, seed: int,
) -> None:  # fmt: skip
    unmeasured: dict[str, str] = {}
    reads_one = _reads_one(source)
    splicer, probing = None, None
    if not reads_one:
        unmeasured["probes, loss and effects"] = "several models are read, and no one of them computes all of it."
    else:
        try:
            splicer = Splicer(model, source)
        except Unspliceable as reason:
            unmeasured["loss"] = str(reason)
        if not isinstance(model.corpus, Text):
            unmeasured["probes"] = f"the tasks are texts, and {model.name} reads {model.corpus.name}."
        else:
            chosen = ProbingTasks(probes).get(config["tasks"])
            options = {"texts": config["texts"], "pool": config["pool"], "length": config["length"], "seed": seed}
            made: list[Probing] = []

            def read() -> Probing:
                if not made:
                    made.append(Probing(model, source, chosen, **options))
                return made[0]

            probing = read
    for group in groups:
        if group.seeds < 2:
            unmeasured[f"consistency of {group.name}"] = "one seed was given. Name dictionaries of other seeds as well."
        if not known_truth.learns(group):
            unmeasured[f"worlds: {group.name}"] = "it joins sites, and a world has one."
    work = _Work(groups, source, model, splicer, probing, reads_one, config)
    n = config["rounds"]
    if not (out / MEASURED).exists():
        with progress("rounds", n, "rounds") as advance:
            for i in range(n):
                path = _part(out, i)
                if not path.exists():
                    artifact.write_lines(path, _round(work, 1_000 * seed + i, i, out))
                advance(1)
        artifact.write_lines(out / MEASURED, [each for i in range(n) for each in _read(_part(out, i))])
    for i in range(n):
        _part(out, i).unlink(missing_ok=True)
    found = _read(out / MEASURED)
    l0 = by_subject(found, fidelity.L0)
    facts = {
        "metrics": [each.model_dump() for each in _metrics(found)],
        "dictionaries": {
            each.name: {"seeds": min(each.seeds, n), "l0": float(l0[each.name].mean())} for each in groups
        },
        "unmeasured": unmeasured,
    }
    artifact.finish(out, Manifest(kind=KIND, config=config, seed=seed, inputs=inputs, facts=facts), [MEASURED])


def _metrics(found: Sequence[Measured]) -> list[Metric]:
    """Those that were measured, in the order of the page."""
    every = [*PROBES, *SHIFTED, *fidelity.REBUILT, *fidelity.SPLICED, *effects.METRICS, *consistency.METRICS]
    there = {each.metric for each in found}
    return [each for each in (*every, *known_truth.METRICS) if each.name in there]


def _part(out: Path, round: int) -> Path:
    return out / f"round-{round}.jsonl"


def _read(path: Path) -> list[Measured]:
    return [Measured.model_validate_json(line) for line in artifact.read_bytes(path).decode().splitlines()]


def _round(work: _Work, draw: int, number: int, out: Path) -> list[Measured]:
    """Everything that is measured of all subjects in one round, whose random numbers follow from ``draw``."""
    found = []
    for each in _measured(work, draw, number, out):
        role = "diagnostic" if each.subject in ORDER else each.role
        found.append(each.model_copy(update={"round": number, "role": role}))
    return found


def _measured(work: _Work, draw: int, number: int, out: Path) -> Iterator[Measured]:
    groups, source, options = work.groups, work.source, work.options
    device = work.model.device
    loaded = {group.name: _loaded(group, number, device) for group in groups}
    first = loaded[groups[0].name]
    subjects = {**loaded, **_diagnosed(first, source, draw)}
    rebuilt, l0 = fidelity.fidelity(subjects, source, work.splicer, draw, splice_tokens=options["splice_tokens"])
    yield from rebuilt
    yield from (
        Measured(metric=fidelity.L0, subject=name, role="dictionary", round=draw, value=value)
        for name, value in l0.items()
    )
    if work.probing is not None:
        yield from work.probing().measure(subjects, draw)
    if work.reads_one:
        yield from effects.effects(subjects, source, work.model, draw, features=options["features"])
    pairs = {
        group.name: (loaded[group.name], _loaded(group, number + 1, device)) for group in groups if group.seeds > 1
    }
    if groups[0].name in pairs:
        again = _diagnosed(pairs[groups[0].name][1], source, draw + 500)
        pairs |= {name: (subjects[name], other) for name, other in again.items()}
    if pairs:
        yield from consistency.consistency(pairs, _rows(source.held_out, draw).to(device), draw)
    able = [group for group in groups if known_truth.learns(group)]
    if able and options["world_samples"]:
        yield from known_truth.known_truth(able, draw, out / WORLDS, samples=options["world_samples"])


def _loaded(group: Group, number: int, device: torch.device) -> Dictionary:
    return load(group.folders[group.of(number)], device=device)


def _diagnosed(of: Dictionary, source: Stored, draw: int) -> dict[str, Dictionary]:
    device = next(of.parameters()).device
    made: dict[str, Dictionary] = {
        "best k": BestK.chosen(of, _rows(source.train, draw).to(device)),
        "random": random_like(of, source.frame, seed=draw),
        "permuted": Permuted(of, source.frame.mean_in.to(device), seed=draw),
    }
    return {name: each.to(device) for name, each in made.items()}


def _rows(part: Stored, draw: int) -> Float[Tensor, "rows d_in"]:
    """Rows from all over some text, as many as are wanted or are there."""
    n = min(ROWS, part.n_tokens)
    return next(iter(part.batches(n, seed=draw))).x.float()
