"""grow(): the tree of features across dictionaries of one site, from the narrowest to the widest, or from the first
checkpoint to the last.

A wider dictionary splits features: what fires on all of a topic becomes several that fire on parts of it (Bricken et
al. 2023, "Towards Monosemanticity"). So each feature's parent is the one of the dictionary before that fires where it
does (``parents``), and what has none begins a tree.

Splitting has a failure mode: a feature that should go on firing stops where a more special one took over, silently, and
is then no longer what it seems (absorption: Chanin et al. 2024, arXiv 2409.14507). It shows across widths. The narrower
feature fires on all its tokens; the one that carries it on in the wider dictionary, its *heir*, is silent on those of a
sibling.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float64
from safetensors.numpy import save_file

from physalis import artifact
from physalis.artifact import Manifest
from physalis.comparing.compared import (
    ComparedDictionary,
    check_comparable,
    open_compared_dictionary,
    read,
    recordings,
    told,
)
from physalis.comparing.forest import ARRAYS, KIND, SUMMARY, Forest
from physalis.comparing.records import ForestSummary, Step, Width
from physalis.comparing.similarity.codes import ENOUGH, SparseCodes
from physalis.comparing.similarity.counts import share
from physalis.comparing.similarity.parents import Parents, find_parents, parents_by_chance
from physalis.errors import BadInput
from physalis.placement.origin import Recordings

HEIR, ALIKE = 0.5, 0.8
"""A parent's heir fires on this share of its tokens at least, and writes along its direction with this cosine at least.
To firing alone, a split with one large part looks like an heir and what absorbed the rest."""

ABSORBED = 0.5
"""A feature has absorbed its parent where the heir's firing falls by this much."""


def grow(
    dictionaries: Sequence[str | Path],
    activations: Recordings,
    *,
    writes: Recordings | None = None,
    codes: Sequence[str | Path] = (),
    out: str | Path,
    tokens: int = 200_000,
    rate: float = 0.05,
    least: float = 0.5,
    seed: int = 0,
    device: torch.device | str | None = None,
) -> Forest:
    """Place every feature of the dictionaries in these folders below a feature of the one before; the finished forest.

    ``activations`` are of what all of them read, ``writes`` of what they predict where that is another site; those
    recorded with the activations and beside them are found. ``tokens`` of them are encoded by all, held-out ones first,
    on ``device`` or the default one, but for those of which ``codes`` has a folder that ``encode`` wrote, for the same
    result; codes are kept, 16 bytes each.
    A feature has no parent where the best one is no more than chance gives at the false-discovery ``rate``, or fires on
    no more than ``least`` of its tokens, beyond chance.

    Raises BadInput if there are fewer than two dictionaries, if they are not given from narrow to wide, if they are not
    of one site of one model, if the activations are not what they read, or if codes are of something else.
    """
    if len(dictionaries) < 2:
        raise BadInput(f"A tree needs at least 2 dictionaries; received {len(dictionaries)}.")
    if not 0 < rate < 1:
        raise BadInput(f"A false-discovery rate lies between 0 and 1; received {rate:g}. Usual is 0.05.")
    subjects = [open_compared_dictionary(folder, device) for folder in dictionaries]
    widths = [subject.dictionary.config.n_features for subject in subjects]
    if widths != sorted(widths):
        raise BadInput(f"Give the dictionaries from the narrowest to the widest; received {widths} features.")
    check_comparable(subjects)
    acts = recordings(subjects, activations, writes)
    inputs = {str(i): subject.about.hash for i, subject in enumerate(subjects)}
    inputs["activations"] = acts.inputs["activations"]
    job = {**inputs, "tokens": tokens, "rate": rate, "least": least, "seed": seed}
    folder = Path(out)
    with artifact.claim(folder, KIND, job) as done:
        if done is None:
            fired = [each.fired for each in read(subjects, acts, tokens=tokens, codes=codes)]
            summary, arrays = _grown(subjects, fired, inputs, rate=rate, least=least, seed=seed)
            artifact.write_atomic(folder / ARRAYS, lambda path: save_file(arrays, path))
            artifact.write_json(folder / SUMMARY, summary.model_dump())
            with_parent = [step.with_parent.model_dump() for step in summary.steps]
            manifest = Manifest(kind=KIND, config=job, seed=seed, inputs=inputs, facts={"with_parent": with_parent})
            artifact.finish(folder, manifest, [ARRAYS, SUMMARY])
    return Forest.open(folder)


def _grown(
    subjects: list[ComparedDictionary],
    fired: list[SparseCodes],
    inputs: dict[str, str],
    *,
    rate: float,
    least: float,
    seed: int,
) -> tuple[ForestSummary, dict[str, np.ndarray]]:
    arrays = {f"{i}.n_fired": each.n_fired for i, each in enumerate(fired)}
    steps = []
    for i in range(1, len(fired)):
        narrow, wide = fired[i - 1], fired[i]
        writes = subjects[i].directions, subjects[i - 1].directions
        parents = find_parents(wide, narrow, *writes, rate=rate, least=least, seed=seed)
        chance, _ = parents_by_chance(wide, narrow, parents, seed=seed + 1)
        heirs = inherit(narrow, wide, parents)
        steps.append(_step(narrow, wide, parents, chance, heirs))
        arrays |= {
            f"{i}.parent": parents.parent.astype(np.int32),
            f"{i}.fires": parents.fires,
            f"{i}.share": parents.share,
            f"{i}.cosine": parents.cosine,
            f"{i}.heir": heirs.heir.astype(np.uint8),
            f"{i}.absorbed": heirs.absorbed,
        }
    summary = ForestSummary(
        model=told(subjects, "model"),
        site=told(subjects, "site"),
        widths=[
            Width(
                name=subject.name,
                architecture=subject.architecture,
                n_features=each.n_features,
                hash=subject.about.hash,
                n_firing=int(each.often.sum()),
            )
            for subject, each in zip(subjects, fired, strict=True)
        ],
        steps=steps,
        n_tokens=fired[0].n_tokens,
        provenance=inputs,
    )
    return summary, arrays


def _step(narrow: SparseCodes, wide: SparseCodes, parents: Parents, chance: Parents, heirs: "Heirs") -> Step:
    sizes = np.array([len(each) for each in parents.children_of(narrow.n_features)])[narrow.often]
    measured = heirs.absorbed[~np.isnan(heirs.absorbed)]
    n = int(wide.often.sum())
    return Step(
        chance=parents.chance,
        least=parents.least,
        with_parent=share(int((parents.parent >= 0).sum()), n),
        by_chance=share(int((chance.parent >= 0).sum()), n),
        split_sizes=np.bincount(sizes).tolist(),
        absorbed=share(int((measured >= ABSORBED).sum()), len(measured)) if len(measured) else None,
    )


class Heirs(NamedTuple):
    """One entry a feature of the wider dictionary."""

    heir: Bool[np.ndarray, " features"]
    absorbed: Float64[np.ndarray, " features"]
    """P(heir fires | parent fires, this does not) less P(heir fires | parent fires, this does), for siblings of an
    heir; NaN for others, and where ENOUGH tokens are missing for either."""


def inherit(narrow: SparseCodes, wide: SparseCodes, parents: Parents) -> Heirs:
    """Which feature carries on each parent, and where its siblings silence it."""
    found = Heirs(np.zeros(wide.n_features, bool), np.full(wide.n_features, np.nan))
    of_parent, of_heir = np.zeros(narrow.n_tokens, bool), np.zeros(narrow.n_tokens, bool)
    for parent, children in enumerate(parents.children_of(narrow.n_features)):
        if not len(children):
            continue
        own = narrow.tokens_of(parent)
        of_parent[own] = True
        lists = [wide.tokens_of(int(child)) for child in children]
        inside = [tokens[of_parent[tokens]] for tokens in lists]
        of_parent[own] = False
        first = int(np.argmax([len(tokens) for tokens in inside]))
        if len(inside[first]) < HEIR * len(own) or parents.cosine[children[first]] < ALIKE:
            continue
        found.heir[children[first]] = True
        of_heir[inside[first]] = True
        for child, tokens in zip(children.tolist(), inside, strict=True):
            n_with, n_without = len(tokens), len(own) - len(tokens)
            if child != children[first] and min(n_with, n_without) >= ENOUGH:
                beside = int(of_heir[tokens].sum())
                without = (len(inside[first]) - beside) / n_without
                found.absorbed[child] = without - beside / n_with
        of_heir[inside[first]] = False
    return found
