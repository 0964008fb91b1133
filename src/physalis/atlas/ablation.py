"""ablation: what a feature does to what the model predicts, found by removing it inside the model.

Each example goes through the model three times, side by side in one pass: as it is; with the feature's code times its
direction taken away wherever it fires; and, as a baseline, with as much of a random direction taken away at the same
places. What differs between the passes was caused by the edit. It is the total effect, through every later layer, where
the logits of ``effects`` follow the direct path alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int
from scipy.special import stdtrit
from torch import Tensor

from physalis.atlas.records import Estimate
from physalis.atlas.subject import Case, Subject
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
    subject: Subject, cases: Sequence[Case], promoted: Mapping[int, np.ndarray], *, seed: int
) -> tuple[list[Removed], dict[int, np.ndarray]]:
    """What removing its feature does to each case, in their order; and for each feature [kinds, vocabulary] float64,
    the probability of every next token, summed over the places of those cases' windows at which it fires.

    A case whose feature is now silent at the peak is left out: one that barely fired can be, since what was recorded
    had been rounded. ``promoted`` has for each feature the ids of the tokens that its direction promotes, if any.
    """
    removed: dict[int, Removed] = {}
    likely = {case.feature: np.zeros((KINDS, subject.model.vocab_size)) for case in cases}
    for batch in _passes(cases, subject.model.vocab_size):
        logits, codes = _run(subject, [cases[i] for i in batch], seed)
        for row, i in enumerate(batch):
            if codes[row, cases[i].peak] <= 0:
                continue
            kinds = [row + kind * len(batch) for kind in range(KINDS)]
            removed[i] = _compare(cases[i], logits[kinds], codes[row], promoted[cases[i].feature], likely)
    return [removed[i] for i in sorted(removed)], likely


def random_direction(like: Float32[np.ndarray, " d"], case: Case, seed: int) -> Float32[np.ndarray, " d"]:
    """Any direction, as long as ``like``: the case's own, whichever others are edited with it."""
    noise = np.random.default_rng([seed, case.feature, case.group]).standard_normal(len(like))
    return (noise * (np.linalg.norm(like) / np.linalg.norm(noise))).astype(np.float32)


def over_examples(num: np.ndarray, den: np.ndarray) -> Estimate:
    """``num.sum() / den.sum()`` with its 95 % interval over examples: Student's, of the ratio's linearisation (Cochran,
    Sampling Techniques, ch. 6), since a bootstrap over so few is too narrow. Needs two examples."""
    n, value = len(num), num.sum() / den.sum()
    away = num - value * den
    half = stdtrit(n - 1, 0.975) * np.sqrt(n / (n - 1) * (away**2).sum()) / den.sum()
    return Estimate(value=float(value), low=float(value - half), high=float(value + half))


def _passes(cases: Sequence[Case], vocabulary: int) -> Iterator[list[int]]:
    """Indexes of the cases that go through the model together: alike in length, for the shorter are filled up."""
    budget = min(TOKENS, NUMBERS // vocabulary) // KINDS
    batch: list[int] = []
    for i in sorted(range(len(cases)), key=lambda i: len(cases[i].tokens)):
        if batch and (len(batch) + 1) * len(cases[i].tokens) > budget:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def _run(
    subject: Subject, cases: Sequence[Case], seed: int
) -> tuple[Float[Tensor, "rows length vocab"], Float[Tensor, "cases length"]]:
    """The logits of the cases as they are, then without the feature, then without the random direction; and the
    feature's codes. Cases end with text that comes after all that is looked at, where they are shorter than others."""
    n, length = len(cases), max(len(case.tokens) for case in cases)
    tokens, real = torch.zeros(n, length, dtype=torch.int64), torch.zeros(n, length, dtype=torch.bool)
    for row, case in enumerate(cases):
        tokens[row, : len(case.tokens)] = torch.from_numpy(case.tokens)
        real[row, : len(case.tokens)] = True
    device = subject.model.device
    features = torch.tensor([case.feature for case in cases], device=device)
    own = subject.coder.writes(features).detach().float()
    random = [random_direction(w, case, seed) for w, case in zip(own.cpu().numpy(), cases, strict=True)]
    edits = torch.stack([own, torch.from_numpy(np.stack(random)).to(device)])
    removal = _Removal(subject, features, real.to(device), edits)
    write = {subject.reads: removal.read, subject.writes: removal.remove}
    if subject.reads == subject.writes:
        write = {subject.reads: lambda x: removal.remove(removal.read(x))}
    logits = subject.model.run(tokens.repeat(KINDS, 1), read=[_LOGITS], write=write)[_LOGITS]
    return logits, removal.codes


class _Removal:
    """The edit of one pass. The first ``n`` rows stay as they are; each of ``edits`` is for the next ``n``."""

    codes: Float[Tensor, "n length"]

    def __init__(
        self,
        subject: Subject,
        features: Int[Tensor, " n"],
        real: Bool[Tensor, "n length"],
        edits: Float[Tensor, "edits n d_out"],
    ) -> None:
        self.subject = subject
        self.features = features
        self.real = real
        self.edits = edits

    def read(self, x: Float[Tensor, "rows length d_in"]) -> Float[Tensor, "rows length d_in"]:
        """Take the codes; all rows are still alike."""
        clean = x[: len(self.features)]
        keep = self.subject.hygiene.keep(clean) & self.real
        which = self.features[:, None].expand_as(keep)
        self.codes = torch.zeros(keep.shape, device=x.device)
        self.codes[keep] = self.subject.codes(clean[keep], which[keep])
        # A dictionary that normalises what it reads multiplies what it writes by what it divided by.
        layer_norm = self.subject.coder.config.layer_norm
        self.sizes = self.codes * clean.float().std(-1) if layer_norm else self.codes
        return x

    def remove(self, x: Float[Tensor, "rows length d_out"]) -> Float[Tensor, "rows length d_out"]:
        """Take the feature, and the random direction, away where the feature fires."""
        n = len(self.features)
        for kind, directions in enumerate(self.edits, start=1):
            rows = slice(kind * n, (kind + 1) * n)
            x[rows] = (x[rows].float() - self.sizes[..., None] * directions[:, None]).to(x.dtype)
        return x


def _compare(
    case: Case, logits: Float[Tensor, "kinds length vocab"], codes: Float[Tensor, " length"], promoted: np.ndarray,
    likely: dict[int, np.ndarray],
) -> Removed:  # fmt: skip
    end = len(case.tokens)
    after = torch.from_numpy(case.tokens[case.peak + 1 :]).to(logits.device)
    predicted = logits[:, case.peak : end - 1].float().log_softmax(-1)
    loss = -predicted.gather(2, after.expand(KINDS, -1)[..., None])[..., 0].double().cpu().numpy()
    fires = case.start + codes[case.start : end].nonzero()[:, 0]
    there = logits[:, fires].float()
    likely[case.feature] += there.softmax(-1).sum(1).double().cpu().numpy()
    beyond = 0.0
    if len(promoted):
        change = there[1] - there[0]
        beyond = float((change[:, torch.from_numpy(promoted).long()].mean(1) - change.mean(1)).sum())
    return Removed(case, float(codes[case.peak]), loss[1] - loss[0], loss[2] - loss[0], len(fires), beyond)
