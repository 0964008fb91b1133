"""reconstruction: the metrics that need no model, of several dictionaries and maps on the same rows."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from physalis import metrics
from physalis.activations import Stored
from physalis.dictionaries import Dictionary
from physalis.evaluation.baselines import LinearMap
from physalis.metrics import Firing, Interval, Reconstruction, Sums
from physalis.placement.encoding import CHUNK
from physalis.runtime.progress import progress
from physalis.types import Codes

NOTHING = Codes(torch.zeros(0, 1), torch.zeros(0, 1, dtype=torch.int32))


class Counted(NamedTuple):
    """The text on which firings are counted, for shares of features that are dead or dense: never of both parts."""

    held_out: bool
    n_tokens: int

    @classmethod
    def of(cls, source: Stored, tokens: int) -> "Counted":
        """Held-out text where there are that many ``tokens`` of it; else as many of the training text, which is larger:
        few tokens make features look dead that are only rare."""
        held, train = source.held_out.n_tokens, source.train.n_tokens
        return cls(True, held) if held >= min(tokens, train) else cls(False, min(tokens, train))


@torch.no_grad()
def reconstructions(
    source: Stored,
    subjects: Mapping[str, Dictionary],
    maps: Mapping[str, LinearMap],
    *,
    firing_tokens: int,
    seed: int = 0,
) -> tuple[dict[str, defaultdict[str, Sums]], dict[str, dict[str, Interval]], Counted]:
    """Of every dictionary and map, on all held-out rows: both sums of each metric by document; of every dictionary the
    shares of features that are dead and dense; and on which text those were counted.

    What is judged is the prediction of ``y``: the rows themselves for an autoencoder, another site's for a transcoder,
    several sites' side by side for a crosscoder, whose FVU at each is under the site's name. Everything is computed
    where the dictionaries are.
    """
    device = next(next(iter(subjects.values())).parameters()).device
    mean = source.frame.mean_out.to(device)
    documents = source.documents.reshape(-1)
    counted = Counted.of(source, firing_tokens)
    counts = {
        key: torch.zeros(each.config.n_features, dtype=torch.int64, device=device) for key, each in subjects.items()
    }
    sums: dict[str, defaultdict[str, Sums]] = {key: defaultdict(Sums) for key in (*subjects, *maps)}
    sites = _columns(source)
    total = source.held_out.n_tokens + (0 if counted.held_out else counted.n_tokens)
    with progress("evaluate", total, "tokens") as advance:
        for rows in source.held_out.ordered(CHUNK):
            x = rows.x.to(device).float()
            y = x if rows.y is rows.x else rows.y.to(device).float()
            where = documents[rows.at.numpy()]
            for key, each in subjects.items():
                codes = each.encode(x)
                r = Reconstruction(y, each.rebuild(x, codes), codes, mean)
                for metric in metrics.RECONSTRUCTION:
                    sums[key][metric.__name__].add(metric(r), where)
                for site, of in sites.items():
                    sums[key][site].add(metrics.fvu(Reconstruction(y[:, of], r.y_hat[:, of], codes, mean[of])), where)
                if counted.held_out:
                    _count(counts[key], codes)
            for key, each in maps.items():
                r = Reconstruction(y, each.rebuild(x), NOTHING, mean)
                for metric in (metrics.fvu, metrics.cosine):
                    sums[key][metric.__name__].add(metric(r), where)
            advance(len(x))
        seen = 0
        for x in () if counted.held_out else _sample(source.train, counted.n_tokens, seed):
            for key, each in subjects.items():
                _count(counts[key], each.encode(x.to(device).float()))
            seen += len(x)
            advance(len(x))
    counted = counted if counted.held_out else Counted(False, seen)
    firing = {key: Firing(count, counted.n_tokens) for key, count in counts.items()}
    shares = {
        key: {metric.__name__: metrics.share_estimate(metric(each)) for metric in metrics.FIRING}
        for key, each in firing.items()
    }
    return sums, shares, counted


def _columns(source: Stored) -> dict[str, slice]:
    """The columns of ``y`` of each site that is predicted, where there are several: of several models with the model's
    name, and with a number where that is the same."""
    parts = source.parts[1] or source.parts[0]
    several = len({part.model_hash for part in parts}) > 1
    names = [f"{part.model} {part.site}" if several else str(part.site) for part in parts]
    found, first = {}, 0
    for i, (part, name) in enumerate(zip(parts, names, strict=True)):
        unique = name if names.count(name) == 1 else f"{name} ({i + 1})"
        found[unique] = slice(first, first + len(part.mean))
        first += len(part.mean)
    return found if len(parts) > 1 else {}


def _sample(part: Stored, tokens: int, seed: int) -> Iterator[Tensor]:
    """Inputs of that many rows, from all over the text."""
    if tokens >= part.n_tokens:
        yield from (rows.x for rows in part.ordered(CHUNK))
        return
    left = tokens
    for batch in part.batches(min(CHUNK, tokens), seed=seed):
        yield batch.x[:left]
        left -= len(batch.x)
        if left <= 0:
            return


def _count(counts: Int[Tensor, " features"], codes: Codes) -> None:
    counts += torch.bincount(codes.ids[codes.values > 0].long(), minlength=len(counts))
