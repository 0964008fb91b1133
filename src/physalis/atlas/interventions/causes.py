"""causes: what a feature's page can say because the model, or its text, was edited, and not only watched.

1. ``ranked``: the features worth a first look come first, for not all can be edited everywhere.
2. Of each, examples of every level of code go through the model with the feature and without it (see ablation); each
   level counts by its share of the firings (see strata), so that what is told is what a typical firing does.
3. One of its largest is read again with each token up to the peak replaced (see leaving).

Cost. With E examples a feature (1 + SAMPLED), L tokens from the start of an example's context to the end of its
window, W of them in the window up to the peak, P up to the peak in all, and R replacements, a feature takes 3 E L
tokens through the whole model and E L + (1 + W R) P tokens through its layers up to the site. Measured on SmolLM2-135M
at L9.resid_post in bfloat16, with E = 7, L = 38, P = 22, W = 21, R = 3, before the codes were read in a pass of their
own: 1.7 and .7 processor seconds a feature.

Nothing depends on the clock: the arguments alone decide what is measured, and so do the bytes.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from physalis import artifact
from physalis.atlas.interventions.ablation import Removed, ablate
from physalis.atlas.interventions.attached import Attached, Case, Picks
from physalis.atlas.interventions.occlusion import Occlusions, leave_one_out
from physalis.atlas.interventions.strata import over_firings
from physalis.atlas.records import AblatedExample, Ablation, Causes, Estimate, LeaveOneOut, TokenOcclusion, TokenShift
from physalis.models import Model
from physalis.runtime.jobs import Job, run
from physalis.runtime.progress import Advance

FEWEST = 3
"""Examples of levels of code that an interval needs to mean anything: features with fewer are passed over."""

TOGETHER = 8
"""Features measured together, and then kept if the build is stopped."""

REPLACEMENTS = 3
"""Tokens that stand in for each that is left out."""

SHIFTS = 12
"""Tokens listed whose probability falls most, and rises most."""

LEAST_SHIFT = 1e-4
"""Smaller changes of a probability are not listed: in bfloat16 they are rounding."""


def ranked(columns: Mapping[str, np.ndarray], striking: Sequence[int]) -> list[int]:
    """Living features in the order in which they are measured: those worth a first look, then by how definite their
    effect on the logits is, then by how often they fire."""
    living = columns["n_fired"] > 0
    order = np.lexsort((-columns["n_fired"], -columns["logit_kurtosis"])).tolist()
    return [i for i in dict.fromkeys([*striking, *order]) if living[i]]


def measure(
    attached: Attached, picks: Picks, order: Sequence[int], promoted: np.ndarray, share: np.ndarray, *, n: int,
    folder: Path, seed: int,
) -> dict[int, Causes]:  # fmt: skip
    """The causes of the first ``n`` features of ``order`` that have FEWEST examples to measure, by rising id.

    ``promoted`` [features, tokens] holds the ids of the tokens that each promotes, -1 pads; ``share`` [vocabulary]
    each token's share of the text. What is done is kept in ``folder``, which lies in the atlas's, a file for every few
    features, so that a build that was stopped goes on with the next few.
    """
    ids = [f for f in order if picks.n_ablated(f) >= FEWEST][:n]
    parts = {folder / f"{i:06d}.json": ids[i : i + TOGETHER] for i in range(0, len(ids), TOGETHER)}
    inputs = {"job": artifact.file_digest(folder.parent / artifact.JOB)}  # all that decides what the atlas holds
    folder.mkdir(exist_ok=True)

    def done(path: Path) -> bool:
        return _held(path, parts[path]) is not None

    def make(path: Path, advance: Advance) -> None:
        few = parts[path]
        ablated, left_out = ([case for f in few for case in of(f)] for of in (picks.ablated, picks.left_out))
        them = {f: promoted[f][promoted[f] >= 0] for f in few}
        causes = causes_of(attached, ablated, left_out, them, share, seed=seed)
        artifact.write_json(path, {str(f): each.model_dump() for f, each in causes.items()})
        advance(len(few))

    jobs = [Job(path.name, inputs, len(few), partial(done, path), partial(make, path)) for path, few in parts.items()]
    run(jobs, "edit the model", "features")
    return dict(sorted(pair for path, few in parts.items() for pair in (_held(path, few) or {}).items()))


def _held(path: Path, features: Sequence[int]) -> dict[int, Causes] | None:
    """What was measured of some features before; None if it was not, or cannot be read."""
    try:
        held = {int(f): Causes.model_validate(each) for f, each in artifact.read_json(path).items()}
    except (ValueError, TypeError, AttributeError):
        return None
    return held if held.keys() <= {*features} else None


def causes_of(
    attached: Attached, ablated: Sequence[Case], left_out: Sequence[Case], promoted: Mapping[int, np.ndarray],
    share: np.ndarray, *, replacements: int = REPLACEMENTS, seed: int = 0,
) -> dict[int, Causes]:  # fmt: skip
    """The causes of the features of which FEWEST cases in ``ablated`` still fire. Each of those has a token after the
    peak; in ``left_out`` are the cases whose tokens are replaced, if any.
    """
    removed, likely = ablate(attached, ablated, promoted, seed=seed)
    of = {f: [each for each in removed if each.case.feature == f] for f in likely}
    needs = [leave_one_out(attached, case, share, replacements=replacements, seed=seed) for case in left_out]
    return {
        f: Causes(
            ablation=_ablation(of[f], likely[f], len(promoted[f]) > 0, attached.model),
            leave_one_out=[_leave_one_out(each) for each in needs if each is not None and each.case.feature == f],
        )
        for f in likely
        if sum(each.case.share > 0 for each in of[f]) >= FEWEST
    }


def _ablation(removed: Sequence[Removed], likely: np.ndarray, promotes: bool, model: Model) -> Ablation:
    counted = [each for each in removed if each.case.share > 0]
    tokens = np.array([len(each.changes) for each in counted])
    change = np.array([each.changes.sum() for each in counted])
    random = np.array([each.random.sum() for each in counted])
    fired = np.array([each.fired for each in counted])
    written = np.array([each.promoted for each in counted])
    levels = np.array([each.case.group for each in counted]), np.array([each.case.share for each in counted])
    before, after, baseline = likely
    known = model.known_ids.cpu().numpy()

    def shifts(by: np.ndarray) -> list[TokenShift]:
        by = np.where(known, by, 0.0)
        ids = [int(i) for i in np.argsort(-by, kind="stable")[:SHIFTS] if by[i] >= LEAST_SHIFT]
        return [
            TokenShift(token=token, id=i, before=_p(before[i]), after=_p(after[i]), random=_p(baseline[i]))
            for i, token in zip(ids, model.token_strings(ids), strict=True)
        ]

    return Ablation(
        change=_rounded(over_firings(change, tokens, *levels)),
        random=_rounded(over_firings(random, tokens, *levels)),
        beyond_random=_rounded(over_firings(change - random, tokens, *levels)),
        promoted=_rounded(over_firings(written, fired, *levels)) if promotes else None,
        fell=shifts(before - after),
        rose=shifts(after - before),
        examples=[
            AblatedExample(
                group=each.case.group,
                example=each.case.example,
                code=_significant(each.code),
                changes=_nats(each.changes),
                random=_nats(each.random),
            )
            for each in removed
        ],
    )


def _leave_one_out(left: Occlusions) -> LeaveOneOut:
    shares = np.round(left.shares, 4)
    return LeaveOneOut(
        group=left.case.group,
        example=left.case.example,
        code=_significant(left.code),
        replacements=shares.shape[1],
        needs=[
            TokenOcclusion(position=i, share=round(float(row.mean()), 4), low=float(row.min()), high=float(row.max()))
            for i, row in enumerate(shares)
        ],
    )


def _p(value: float) -> float:
    return round(float(value), 5)


def _nats(values: np.ndarray) -> list[float]:
    return np.round(values, 5).tolist()


def _significant(value: float) -> float:
    return float(f"{value:.5g}")


def _rounded(estimate: Estimate) -> Estimate:
    return Estimate(**{name: _significant(value) for name, value in estimate})
