"""effects: how much a feature matters to what the model predicts: it is taken away inside the model where it fires.

1. Features are drawn among those that fire on some held-out contexts, and places where each fires, after enough text.
2. Each place's text goes through the model as it is; without what the feature writes there; and, as a control, with as
   long a piece taken away along another direction: a random one, or what another of the dictionary's features writes.
3. KL(as it is || edited) of the next token's prediction there, summed over places, over the same sum of the control.

A dictionary whose features are directions like any others scores 1.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from physalis.activations import Stored
from physalis.dictionaries import Dictionary
from physalis.models import Model, Write
from physalis.placement.place import Place
from physalis.site import Site
from physalis.suites.records import Measured, Metric

METRICS = [
    Metric(
        name="effect_over_random", higher_is_better=True,
        title="KL of taking a feature away, over that of as much of a random direction",
    ),
    Metric(
        name="effect_over_another", higher_is_better=True,
        title="KL of taking a feature away, over that of as much of another feature's direction",
    ),
]  # fmt: skip
CONTEXTS = 24
"""In which features are sought."""
FEATURES = 24
LEAST = 8
"""Tokens before a place."""
MOST = 64
"""Tokens of a place's text, at most: what comes before is cut off, to save time, for all subjects alike."""
TOKENS_A_PASS = 1_024
_LOGITS = Site("logits")


class _Edit(NamedTuple):
    """One place of one feature."""

    row: int
    position: int
    feature: int
    other: int
    size: float
    """How much of its direction the feature writes."""


def effects(
    subjects: Mapping[str, Dictionary], source: Stored, model: Model, round: int, *, features: int = FEATURES
) -> Iterator[Measured]:
    """Both metrics of every subject, of ``features`` features of each at a place each, on contexts that are the same
    for all."""
    place = Place.of(source.parts, model)
    rng = np.random.default_rng([round, 1])
    held = source.held_out.contexts
    chosen = np.sort(rng.choice(held, min(CONTEXTS, len(held)), replace=False))
    tokens = torch.from_numpy(source.tokens[chosen].astype("int64"))[:, :MOST]
    got = model.run(tokens, read={*place.reads, *place.hygienes})
    x, keep = place.joined(got).float(), place.keep(got)
    keep[:, :LEAST] = False
    for name, dictionary in subjects.items():
        edits = _drawn(dictionary, x, keep, features, np.random.default_rng([round, 2]))
        own, random, another = (
            _divergences(model, place, dictionary, tokens, edits, round) if edits else (0.0, 0.0, 0.0)
        )
        for metric, control in zip(METRICS, (random, another), strict=True):
            value = own / control if control > 0 else None
            yield Measured(metric=metric.name, subject=name, role="dictionary", round=round, value=value)


@torch.no_grad()
def _drawn(
    dictionary: Dictionary, x: Float[Tensor, "contexts length d_in"], keep: Tensor, n: int, rng: np.random.Generator
) -> list[_Edit]:
    rows, positions = (each.cpu().numpy() for each in keep.nonzero(as_tuple=True))
    codes = dictionary.encode(x[keep])
    sizes = (codes.values * dictionary.gain(x[keep])).cpu().numpy()
    ids = codes.ids.cpu().numpy()
    at, column = np.nonzero(sizes > 0)
    fired = np.unique(ids[at, column])
    if len(fired) < 2:
        return []
    edits = []
    for feature in rng.permutation(fired)[:n]:
        here = np.flatnonzero(ids[at, column] == feature)
        i = int(here[rng.integers(len(here))])
        other = int(rng.choice(fired[fired != feature]))
        where = at[i]
        edits.append(
            _Edit(int(rows[where]), int(positions[where]), int(feature), other, float(sizes[where, column[i]]))
        )
    return sorted(edits, key=lambda each: each.position)


@torch.no_grad()
def _divergences(
    model: Model, place: Place, dictionary: Dictionary, tokens: Int[Tensor, "contexts length"], edits: list[_Edit],
    round: int,
) -> tuple[float, float, float]:  # fmt: skip
    """Sums of KL without the feature, without as much of a random direction, and of another feature's."""
    generator = torch.Generator().manual_seed(round)
    device = model.device
    sums = np.zeros(3)
    size = max(1, TOKENS_A_PASS // (4 * tokens.shape[1]))
    for first in range(0, len(edits), size):
        some = edits[first : first + size]
        ends = torch.tensor([each.position for each in some], device=device)
        rows = tokens[[each.row for each in some], : int(ends.max()) + 1]
        own, other = (
            dictionary.writes(torch.tensor([getattr(each, part) for each in some], device=device)).float()
            for part in ("feature", "other")
        )
        random = torch.randn(own.shape, generator=generator).to(device)
        long = own.norm(dim=1, keepdim=True) * torch.tensor([[each.size] for each in some], device=device)
        taken = [long * torch.nn.functional.normalize(each, dim=1) for each in (own, random, other)]
        write = {
            site: _removal(torch.stack(parts), ends)
            for site, parts in _by_site(place, taken).items()
        }  # fmt: skip
        n = len(some)
        at = torch.arange(4 * n, device=device)
        logits = model.run(rows.repeat(4, 1), read=[_LOGITS], write=write)[_LOGITS][at, ends.repeat(4)]
        said = logits.float().log_softmax(-1).view(4, n, -1)
        sums += (said[0].exp() * (said[:1] - said[1:])).sum(-1).sum(1).cpu().double().numpy()
    return float(sums[0]), float(sums[1]), float(sums[2])


def _by_site(place: Place, taken: list[Float[Tensor, "n d_out"]]) -> dict[Site, list[Tensor]]:
    parts = [place.split(each) for each in taken]
    return {site: [each[site] for each in parts] for site in place.writes}


def _removal(taken: Float[Tensor, "kinds n d"], ends: Int[Tensor, " n"]) -> Write:
    """Leaves the first ``n`` rows as they are; of the next ``n`` the first kind is taken away at each one's place."""

    def remove(x: Float[Tensor, "rows length d"]) -> Float[Tensor, "rows length d"]:
        n = len(ends)
        for kind, each in enumerate(taken, start=1):
            rows = torch.arange(kind * n, (kind + 1) * n, device=x.device)
            x[rows, ends] = (x[rows, ends].float() - each).to(x.dtype)
        return x

    return remove
