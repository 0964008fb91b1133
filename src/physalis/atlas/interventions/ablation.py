"""ablation: what a feature does to what the model predicts, found by removing it inside the model.

1. The model is read as it is: the feature's code at every place of its example's context. An example whose feature is
   now silent at its peak is left out.
2. Each example goes through the model three times, side by side in one pass: as it is; with what the feature writes
   taken away wherever it fires, at every site that it writes; and, as a baseline, with as much of a random direction
   taken away at the same places. What differs between them was caused by the edit. It is the total effect, through
   every later layer, where the logits of ``effects`` follow the direct path alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64
from torch import Tensor

from physalis.atlas.interventions.attached import Attached, Case
from physalis.atlas.interventions.strata import weights
from physalis.models import Write
from physalis.site import Site

KINDS = 3
"""Passes of each example: as it is, without the feature, without as much of a random direction."""

NUMBERS = 1 << 26
"""Logits of one pass."""

TOKENS = 4096
"""Tokens of one pass, where logits are few."""

_LOGITS = Site("logits")


class Removed(NamedTuple):
    """One example without its feature."""

    case: Case
    code: float
    """At its peak."""
    changes: np.ndarray
    """[tokens after the peak] float64: by how much the loss on each is larger, nats."""
    random: np.ndarray
    """The same without the random direction."""
    fired: int
    """Places of the window at which the feature fires."""
    promoted: float
    """Summed over those: the mean change of the promoted tokens' logits beyond that of all tokens."""


def ablate(
    attached: Attached, cases: Sequence[Case], promoted: Mapping[int, np.ndarray], *, seed: int
) -> tuple[list[Removed], dict[int, np.ndarray]]:
    """What removing its feature does to each case, in their order; and for each feature [kinds, vocabulary] float64,
    the probability of every next token at the places of the cases' windows at which it fires, on average over its
    firings.

    A case whose feature is now silent at the peak is left out: one that barely fired can be, since what was recorded
    had been rounded. ``promoted`` has for each feature the ids of the tokens that its direction promotes, if any.
    """
    vocabulary = attached.model.vocab_size
    firing = [each for batch in _batches(cases, TOKENS) for each in _firing(attached, batch)]
    firing.sort(key=lambda each: each.number)
    counts = _counts([each.case for each in firing])
    removed: dict[int, Removed] = {}
    likely = {case.feature: np.zeros((KINDS, vocabulary)) for case in cases}
    places = dict.fromkeys(likely, 0.0)
    lengths = [len(each.case.tokens) for each in firing]
    for batch in _alike(lengths, min(TOKENS, NUMBERS // vocabulary) // KINDS):
        some = [firing[i] for i in batch]
        logits = _run(attached, some, seed)
        for row, i in enumerate(batch):
            case = firing[i].case
            kinds = logits[[row + kind * len(batch) for kind in range(KINDS)]]
            removed[i], there = _compare(firing[i], kinds, promoted[case.feature], attached.model.known_ids)
            if counts[i]:
                likely[case.feature] += counts[i] * there.softmax(-1).sum(1).cpu().double().numpy()
                places[case.feature] += counts[i] * removed[i].fired
    for feature, number in places.items():
        likely[feature] /= number or 1.0
    return [removed[i] for i in sorted(removed)], likely


def random_direction(
    like: Float32[np.ndarray, " d"], case: Case, seed: int, number: int = 0
) -> Float32[np.ndarray, " d"]:
    """Any direction, as long as ``like``: the case's own at the ``number``-th of the sites that are written, whichever
    others are edited with it."""
    noise = np.random.default_rng([seed, case.feature, case.group, case.example, number]).standard_normal(len(like))
    return (noise * (np.linalg.norm(like) / np.linalg.norm(noise))).astype(np.float32)


class _Firing(NamedTuple):
    """A case whose feature fires at its peak."""

    number: int
    """Of the case among all."""
    case: Case
    codes: Float[Tensor, " length"]
    sizes: Float[Tensor, " length"]
    """The codes, each times the gain there: how much of its direction the feature writes."""


def _firing(attached: Attached, batch: Sequence[tuple[int, Case]]) -> Iterator[_Firing]:
    """Those of some cases whose feature is not silent, with its codes in the model as it is."""
    cases = [case for _, case in batch]
    tokens = _filled(cases)
    x, keep = attached.read(tokens)
    real = torch.arange(tokens.shape[1]) < torch.tensor([len(case.tokens) for case in cases])[:, None]
    keep &= real.to(keep.device)
    features = torch.tensor([case.feature for case in cases], device=x.device)
    codes, sizes = (torch.zeros(keep.shape, device=x.device) for _ in range(2))
    codes[keep] = attached.codes(x[keep], features[:, None].expand_as(keep)[keep])
    sizes[keep] = codes[keep] * attached.gain(x[keep])
    for row, (number, case) in enumerate(batch):
        if codes[row, case.peak] > 0:
            end = len(case.tokens)
            yield _Firing(number, case, codes[row, :end], sizes[row, :end])


def _counts(cases: Sequence[Case]) -> Float64[np.ndarray, " cases"]:
    """What each case counts among those of its feature."""
    groups = np.array([(case.feature, case.group) for case in cases], np.int64).reshape(-1, 2)
    _, level = np.unique(groups, axis=0, return_inverse=True)
    return weights(level.reshape(-1), np.array([case.share for case in cases], np.float64))


def _batches(cases: Sequence[Case], budget: int) -> Iterator[list[tuple[int, Case]]]:
    for batch in _alike([len(case.tokens) for case in cases], budget):
        yield [(i, cases[i]) for i in batch]


def _alike(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Indexes of the cases that go through the model together: alike in length, for the shorter are filled up."""
    batch: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        if batch and (len(batch) + 1) * lengths[i] > budget:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def _filled(cases: Sequence[Case]) -> Tensor:
    """Their tokens, "cases length". Cases end with text that comes after all that is looked at, where they are shorter
    than others."""
    tokens = torch.zeros(len(cases), max(len(case.tokens) for case in cases), dtype=torch.int64)
    for row, case in zip(tokens, cases, strict=True):
        row[: len(case.tokens)] = torch.from_numpy(case.tokens)
    return tokens


def _run(attached: Attached, firing: Sequence[_Firing], seed: int) -> Float[Tensor, "rows length vocab"]:
    """The logits of the cases as they are, then without the feature, then without the random direction."""
    cases = [each.case for each in firing]
    tokens, device = _filled(cases), attached.model.device
    sizes = torch.zeros(tokens.shape, device=device)
    for row, each in zip(sizes, firing, strict=True):
        row[: len(each.sizes)] = each.sizes
    features = torch.tensor([case.feature for case in cases], device=device)
    write: dict[Site, Write] = {}
    parts = attached.place.split(attached.coder.writes(features).detach().float())
    for number, (site, own) in enumerate(parts.items()):
        random = [random_direction(w, case, seed, number) for w, case in zip(own.cpu().numpy(), cases, strict=True)]
        edits = torch.stack([own, torch.from_numpy(np.stack(random)).to(device)])
        write[site] = _removal(sizes[..., None] * edits[:, :, None])
    return attached.model.run(tokens.repeat(KINDS, 1), read=[_LOGITS], write=write)[_LOGITS]


def _removal(edits: Float[Tensor, "edits n length d"]) -> Write:
    """Leaves the first ``n`` rows as they are; each of ``edits`` is for the next ``n``."""

    def remove(x: Float[Tensor, "rows length d"]) -> Float[Tensor, "rows length d"]:
        after = x[edits.shape[1] :]
        after.copy_(after.float() - edits.flatten(0, 1))
        return x

    return remove


def _compare(
    firing: _Firing, logits: Float[Tensor, "kinds length vocab"], promoted: np.ndarray, known: Tensor
) -> tuple[Removed, Float[Tensor, "kinds places vocab"]]:
    """What removing did to a case, and the logits at the places of its window at which the feature fires."""
    case, codes = firing.case, firing.codes
    end = len(case.tokens)
    after = torch.from_numpy(case.tokens[case.peak + 1 :]).to(logits.device)
    predicted = logits[:, case.peak : end - 1].float().log_softmax(-1)
    loss = -predicted.gather(2, after.expand(KINDS, -1)[..., None])[..., 0].cpu().double().numpy()
    fires = case.start + codes[case.start : end].nonzero()[:, 0]
    there = logits[:, fires].float()
    beyond = 0.0
    if len(promoted):
        change = there[1] - there[0]
        which = torch.from_numpy(promoted).long().to(change.device)
        beyond = float((change[:, which].mean(1) - change[:, known].mean(1)).sum())
    found = Removed(case, float(codes[case.peak]), loss[1] - loss[0], loss[2] - loss[0], len(fires), beyond)
    return found, there
