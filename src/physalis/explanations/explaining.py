"""explain(): a rule for every feature of a dictionary, and how well it tells where the feature fires.

1. The codes of the dictionary on a recording are read, or encoded (see codes).
2. Tokens that are alike in the training part are grouped (see grouping), and the text becomes columns of numbers that
   rules can ask (see surroundings).
3. Where asked for, the model reads training text in which tokens were replaced (see altered).
4. Feature by feature a rule is learned from the training part (see learning) and judged on the held-out part.

Features are done in pieces, by several processes. A run that is stopped goes on with the piece that is missing and
gives the same bytes.
"""

import shutil
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from operator import index
from pathlib import Path
from typing import Any

from physalis import artifact, dictionaries
from physalis.artifact import Manifest
from physalis.codes import StoredCodes, encode
from physalis.errors import BadInput
from physalis.explanations import pieces, scores
from physalis.explanations.altered import ALTERED, MOST, Altered, alter, check_one_model
from physalis.explanations.explained import COUNTS, FIELDS, KIND, RULES, VOCABULARY, Explanations
from physalis.explanations.learning import Economy
from physalis.explanations.similarity import group, token_effects
from physalis.models import Model
from physalis.models.text.corpus import Text
from physalis.placement.origin import Recordings, recorded
from physalis.runtime.jobs import Engine, run
from physalis.runtime.processes import in_processes

PIECE = 256
"""Features that are explained at a time."""
CODES = "codes"
"""Folder of codes in that of the explanations while they are made."""


def explain(
    dictionary: Path | str,
    activations: Recordings,
    model: Model,
    out: Path | str,
    *,
    writes: Recordings | None = None,
    codes: Path | str | None = None,
    features: Sequence[int] | None = None,
    economy: Economy = Economy(),  # noqa: B008 (frozen)
    altered: int = 0,
    workers: int = 1,
    engine: Engine | None = None,
    seed: int = 0,
) -> Explanations:
    """Learn a rule for each of ``features``, all unless given, that says from the text alone where it fires and how
    strongly; and judge it on held-out documents. Opened.

    ``activations`` and ``writes`` are as for ``build_atlas``; ``codes`` is the folder that ``encode`` wrote of them.
    ``model`` gives the vocabulary. ``economy`` says what a leaf must be worth and how many a rule may have. With
    ``altered``, so many tokens of the training part are read again by the model, one in seven replaced by another, and
    rules are learned from both: they tell better what a feature needs from what goes along with it. Each of ``workers``
    processes holds the text, some 200 bytes a token. Where an ``engine`` is given, it makes the pieces in an order of
    its own, and the bytes are the same. ``seed`` decides how words are grouped and what is altered.

    Run again after a kill, it goes on where it stopped and gives the same bytes. Raises BadInput for a model that does
    not read text, for recordings without a held-out part, for features that are not there, and as ``build_atlas`` does
    for what does not belong together.
    """
    if not isinstance(model.corpus, Text):
        raise BadInput(f"Rules are about text, and {model.name} reads {model.corpus.name}. There are none for it.")
    if workers < 1:
        raise BadInput(f"At least one worker explains; received {workers}.")
    out, vocabulary = Path(out), model.corpus.pieces(range(max(model.corpus.ids) + 1))
    trained = artifact.read(Path(dictionary), "dictionary")
    stored = recorded(trained, activations, writes)
    stored.require(model)
    if not stored.held_out.n_tokens:
        raise BadInput(
            "Rules are judged on text that they were not learned from, and this recording holds none out. Record with "
            "--held-out .1."
        )
    n = trained.config["dictionary"]["n_features"]
    chosen = sorted({whole(each, "A feature") for each in (range(n) if features is None else features)})
    if not chosen or chosen[0] < 0 or chosen[-1] >= n:
        raise BadInput(f"There are features 0 to {n - 1:,}, and one or more to explain; received {chosen or 'none'}.")
    altered, most = whole(altered, "altered"), MOST * stored.train.n_tokens
    if not 0 <= altered <= most:
        raise BadInput(
            f"0 to {most:,} tokens are altered, which is {MOST} times the training part; received {altered:,}."
        )
    if altered:
        check_one_model(stored)
    inputs = {**stored.inputs, "dictionary": trained.hash, "model": model.fingerprint}
    job = {"inputs": inputs, "seed": seed, "economy": asdict(economy), "altered": altered} | (
        {} if features is None else {"features": chosen}
    )
    with artifact.claim(out, KIND, job) as done:
        if done is None:
            if codes is None:
                encode(dictionary, activations, out=out / CODES, writes=writes)
            given = StoredCodes.open(out / CODES if codes is None else codes)
            given.require(trained, stored)
            if not (out / FIELDS).exists():
                tokens = stored.tokens[stored.train.contexts]
                fields = group(tokens, vocabulary, token_effects(stored.train), seed=seed)
                artifact.write_atomic(out / FIELDS, fields.save)
            if altered and Altered.load(out / ALTERED) is None:
                coder = dictionaries.load(dictionary, device=model.device)
                made = alter(stored, stored.train, coder, model, tokens=altered, seed=seed)
                artifact.write_atomic(out / ALTERED, made.save)
            pieces.prepare(out, stored, vocabulary)
            some = [chosen[i : i + PIECE] for i in range(0, len(chosen), PIECE)]
            jobs = [pieces.job(out, given.folder, i, each, economy, inputs) for i, each in enumerate(some)]
            run(jobs, "explain", "features", engine or partial(in_processes, workers=workers))
            explanations, counts = pieces.joined(out, len(jobs))
            artifact.write_lines(out / RULES, explanations)
            pieces.write_counts(out / COUNTS, counts)
            facts = {"mean": scores.mean(explanations, counts).model_dump(), "n_features": len(explanations)}
            pieces.clear(out, len(jobs))
            shutil.rmtree(out / CODES, ignore_errors=True)
            config = {
                "economy": asdict(economy),
                "altered": altered,
                "site": stored.origin["site"],
                "model": stored.origin["model"],
            }
            manifest = Manifest(kind=KIND, config=config, seed=seed, inputs=inputs, facts=facts)
            artifact.finish(out, manifest, [RULES, COUNTS, FIELDS, VOCABULARY])
    return Explanations.open(out)


def whole(number: Any, what: str) -> int:
    """As an int, numpy's too. Raises BadInput for what is none."""
    try:
        return index(number)
    except TypeError:
        raise BadInput(f"{what} is a whole number; received {number!r}.") from None
