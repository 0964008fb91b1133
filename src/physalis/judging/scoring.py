"""score(): how well explanations tell where features fire, by several tasks, with what chance, noise and the text do.

1. Features are drawn among those that are explained and fire in enough passages of the held-out text.
2. Of each, passages are drawn several times, by decile of code, with silent and hard ones; tasks ask about them.
3. The judge answers, and beside it an oracle, the best single token, and the judge with explanations swapped.
4. Answers are counted: per feature, then the mean of features, with intervals over documents and noise over draws.

The same on every further recording: a score belongs to its text.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, get_args, runtime_checkable

import numpy as np

from physalis import artifact, dictionaries
from physalis.artifact import Manifest
from physalis.errors import BadInput
from physalis.judging.embedding import Embedding
from physalis.judging.judges import Judge, Predicting, Shuffled
from physalis.judging.language_models.telling import Counted
from physalis.judging.material import Material, Spoken
from physalis.judging.questions import MADE, Task
from physalis.judging.reader import Reader
from physalis.judging.records import Score
from physalis.judging.rounds import RESPONSIVENESS, Rounds
from physalis.judging.scored import KIND, SCORES, Scores
from physalis.judging.writing import Responding, Texts, written
from physalis.models import Model
from physalis.models.text.corpus import Text
from physalis.placement.origin import Origin, Recordings, recorded
from physalis.search import Embedder

FEWEST = 10
"""Passages of the held-out text in which a feature has to fire to be judged."""
TASKS: tuple[str, ...] = (*get_args(Task), RESPONSIVENESS)
FREE = tuple(task for task in TASKS if task != "embedding")
"""Tasks for which nothing has to be fetched."""
WRITTEN = 4
"""Texts that are written for a feature, each draw."""

Ask = Callable[[Material, Spoken], Judge]
"""Makes the judge of one text."""


@runtime_checkable
class Writer(Protocol):
    """A judge that can also write."""

    def texts(self, feature: int, n: int) -> Texts:
        """Texts on which the feature should fire, by what is said of it."""
        ...


def by_rules(material: Material, spoken: Spoken) -> Judge:
    """The judge that answers by what rules predict. Raises BadInput where there are words alone."""
    if spoken.fields is None:
        raise BadInput(
            "These are words, and it takes a reader to judge by them: --judge endpoint, or --judge local. Rules, which "
            "`explain` writes, judge by themselves."
        )
    text = material.surroundings(spoken.fields)
    return Predicting("rule", lambda feature: spoken.rules[feature].predict(text))


def score(
    explanations: Path | str,
    dictionary: Path | str,
    activations: Recordings,
    model: Model,
    out: Path | str,
    *,
    writes: Recordings | None = None,
    codes: Path | str | None = None,
    also: Sequence[Path | str] = (),
    judge: Ask = by_rules,
    judged_by: Mapping[str, str | int] | None = None,
    tasks: Sequence[str] = FREE,
    features: Sequence[int] | None = None,
    sample: int = 100,
    passages: int = 20,
    draws: int = 5,
    embedder: Embedder | None = None,
    seed: int = 0,
) -> Scores:
    """Judge what ``explain`` or ``describe`` said of a dictionary's features, on the held-out part of the recording and
    on all of each of ``also``, recordings of other texts. Opened.

    ``judge`` makes who answers, the rules themselves unless given; what decides its answers stands in ``judged_by``.
    ``features`` are judged, or ``sample`` of those that fire in enough passages, drawn by ``seed``. Each of ``draws``
    rounds asks about ``passages`` passages in which a feature fires, and as many in which it is silent. The task
    "embedding" needs an ``embedder``.

    Raises BadInput for tasks that there are not, for features that are not explained, and for what does not belong
    together.
    """
    out, spoken = Path(out), Spoken.open(explanations)
    trained = artifact.read(Path(dictionary), "dictionary")
    stored = _checked(spoken, dictionary, [activations, *also], model, writes)
    if wrong := [each for each in tasks if each not in TASKS]:
        raise BadInput(f"There is no task {wrong[0]!r}. Choose of {', '.join(TASKS)}.")
    if "embedding" in tasks and embedder is None:
        raise BadInput("The task embedding needs an embedder: give embedder=MiniLM(), or leave the task out.")
    if not tasks or min(sample, passages, draws) < 1:
        raise BadInput(f"Nothing would be asked: {len(tasks)} tasks, {sample=}, {passages=}, {draws=}. Give 1 or more.")
    if unknown := sorted({*(features or ())} - spoken.words.keys()):
        raise BadInput(f"{explanations} explains {len(spoken.words):,} features; {unknown[0]} is none of them.")
    inputs = {"explanations": spoken.manifest.hash, "dictionary": trained.hash, "model": model.fingerprint}
    inputs |= {f"activations {n}": each.inputs["activations"] for n, each in enumerate(stored)}
    config = {
        "judge": dict(judged_by or {"judge": "rule"}), "tasks": [each for each in TASKS if each in tasks],
        "sample": sample, "passages": passages, "draws": draws,
        "features": None if features is None else sorted(set(features)),
    }  # fmt: skip
    with artifact.claim(out, KIND, {"inputs": inputs, "seed": seed, **config}) as done:
        if done is None:
            given = {0: codes} if codes is not None else {}
            materials = [
                Material.of(dictionary, each, model, out, codes=given.get(n), number=n) for n, each in enumerate(stored)
            ]
            chosen = config["features"] or drawn(materials[0], spoken, sample, seed)
            rounds = [
                Rounds(each, _enough(each, chosen), draws=draws, passages=passages, seed=seed) for each in materials
            ]
            _tell_cost(rounds, spoken, judge, config["tasks"])
            found = [
                score
                for each in rounds
                for score in _scores(each, spoken, dictionary, judge, config["tasks"], embedder)
            ]
            artifact.write_lines(out / SCORES, found)
            Material.cleared(out)
            facts = {
                "features": chosen,
                "n_scores": len(found),
                "n_copied": [each.judged.n_copied for each in materials],
            }
            artifact.finish(out, Manifest(kind=KIND, config=config, seed=seed, inputs=inputs, facts=facts), [SCORES])
    return Scores.open(out)


def drawn(material: Material, spoken: Spoken, sample: int, seed: int) -> list[int]:
    """Some of the features that are explained and fire in enough passages."""
    order = np.random.default_rng(seed).permutation(sorted(spoken.words)).tolist()
    found: list[int] = []
    for feature in order:
        if len(found) < sample and _enough(material, [feature]):
            found.append(feature)
    return sorted(found)


def _enough(material: Material, features: Sequence[int]) -> list[int]:
    able = []
    for feature in features:
        fires = material.fired(feature).decile >= 0
        if fires.sum() >= FEWEST and not fires.all():
            able.append(feature)
    if len(features) > 1 and len(able) < 2:
        raise BadInput(
            f"Fewer than 2 of these features fire in {FEWEST} of the {len(material.judged):,} passages of "
            f"{material.name} or more, and are silent in some. Record more text, or hold more of it out."
        )
    return able


def _checked(
    spoken: Spoken, dictionary: Path | str, recordings: Sequence[Recordings], model: Model, writes: Recordings | None
) -> list:
    if not isinstance(model.corpus, Text):
        raise BadInput(f"Explanations are about text, and {model.name} reads {model.corpus.name}.")
    trained = artifact.read(Path(dictionary), "dictionary")
    if spoken.manifest.inputs["dictionary"] != trained.hash:
        raise BadInput(f"What was said is said of another dictionary than {dictionary}. Explain this one.")
    stored = [recorded(trained, each, writes if not n else None) for n, each in enumerate(recordings)]
    for each in stored:
        each.require(model)
    return stored


def _tell_cost(rounds: Sequence[Rounds], spoken: Spoken, judge: Ask, tasks: Sequence[str]) -> None:
    """Say what will be asked of a language model, where one is asked."""
    readers = [main for each in rounds if isinstance(main := judge(each.material, spoken), Reader)]
    if not readers:
        return
    counted = Counted.like(readers[0].teller)
    for each in rounds:
        reader = Reader(counted, spoken.words, each.material)
        for task in (task for task in tasks if task in MADE and task != "embedding"):
            for asker in (reader, Shuffled(reader, each.features)):
                for feature in each.features:
                    asked = each.asked(task, feature)  # pyright: ignore[reportArgumentType]
                    asker.answers(feature, [question for part in asked for question, _ in part])
        if RESPONSIVENESS in tasks and spoken.fields is None:
            for feature in each.features:
                reader.texts(feature, WRITTEN * each.draws)
    counted.tell()


def _scores(
    rounds: Rounds, spoken: Spoken, dictionary: Path | str, judge: Ask, tasks: Sequence[str], embedder: Embedder | None
) -> list[Score]:
    material, features = rounds.material, rounds.features
    main = judge(material, spoken)
    judges: list[Judge] = [main, rounds.oracle, rounds.token, Shuffled(main, features)]
    found: list[Score] = []
    for task in tasks:
        if task == RESPONSIVENESS:
            found += _responses(rounds, spoken, dictionary, main)
        elif task == "embedding" and embedder is not None:
            near = Embedding("embedder", embedder, spoken.words, material)
            tokens = {i: " ".join(leaf.value for clause in rule.clauses for leaf in clause.leaves)
                      for i, rule in rounds.token_rules().items()}  # fmt: skip
            beside = Embedding("best token", embedder, tokens, material)
            found += rounds.scores("embedding", [near, rounds.oracle, beside, Shuffled(near, features)])
        else:
            found += rounds.scores(task, judges)  # pyright: ignore[reportArgumentType]
    return found


def _responses(rounds: Rounds, spoken: Spoken, dictionary: Path | str, judge: Judge) -> list[Score]:
    material, n = rounds.material, WRITTEN * rounds.draws
    responding = Responding(
        material.model, dictionaries.load(dictionary, device=material.model.device),
        Origin.of(artifact.read(Path(dictionary), "dictionary")),
    )  # fmt: skip
    if spoken.fields is not None:
        rules = {i: spoken.rules[i] for i in rounds.features}
        texts = written(rules, material, spoken.fields, n, seed=rounds.seed)
    elif isinstance(judge, Writer):
        texts = {i: judge.texts(i, n) for i in rounds.features}
    else:
        return []
    tokens = written(rounds.token_rules(), material, spoken.fields, n, seed=rounds.seed)
    others = Shuffled(judge, rounds.features)
    swapped = {i: texts[others.other(i)] for i in rounds.features if others.other(i) in texts}
    parts = ((judge.name, texts), ("oracle", rounds.read_again()), ("best token", tokens), (others.name, swapped))
    return [score for name, of in parts for score in rounds.responses(name, responding, of)]
