"""replay(): the first steps of a training again, with one thing changed: the only evidence that the thing is a cause.

Everything about a training follows from its manifest and its data, so a repeat without a change gives the same weights.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from physalis import dictionaries
from physalis.artifact import Manifest
from physalis.dead_features.evidence import CHUNK, firings
from physalis.dictionaries import Dictionary
from physalis.errors import BadInput
from physalis.runtime.device import moved, ranking_dtype, repeatable
from physalis.runtime.progress import progress
from physalis.training.runs import Run, Schedule
from physalis.training.starting import begin, first_rows
from physalis.training.training import Source, first
from physalis.types import Batch

JUDGED = 32_768  # rows on which a repeat is judged


def _same(batch: Batch) -> Batch:
    return batch


def _nothing(dictionary: Dictionary) -> None:
    pass


@dataclass(frozen=True, kw_only=True)
class Change:
    """One thing that is done differently; by default none."""

    batch: Callable[[Batch], Batch] = _same
    """To every batch, centred and scaled."""
    start: Callable[[Dictionary], None] = _nothing
    """To the weights that training starts from."""
    lr: float | None = None
    config: dict[str, Any] = field(default_factory=dict)
    """Fields of the dictionary's config."""


class Replay(NamedTuple):
    """What came of it, on rows that the training read."""

    fired: Int[Tensor, " features"]
    fvu: float

    @property
    def dead(self) -> Bool[Tensor, " features"]:
        return self.fired == 0


def batches(source: Source, about: Manifest, change: Change, device: torch.device) -> Iterator[Batch]:
    """The training's batches on ``device``, changed."""
    t, frame = about.config["training"], source.frame.to(device)
    raw = source.train.batches(t["batch_size"], seed=t["order"], epochs=t["epochs"])
    return (change.batch(frame.apply(batch)) for batch in moved(raw, device))


def beginning(source: Source, about: Manifest, change: Change, device: torch.device) -> Dictionary:
    """The dictionary as its training started on ``device``, changed."""
    config, t = about.config["dictionary"] | change.config, about.config["training"]
    dictionary = dictionaries.make(about.config["architecture"], config).to(device)
    dictionary.compute_in(ranking_dtype(device))
    n = config["n_features"]
    sample = first_rows(first(batches(source, about, change, device), n), n, t["batch_size"])
    begin(dictionary, sample, frozen=t["frozen"], seed=about.seed or 0)
    change.start(dictionary)
    return dictionary


def replay(
    source: Source, about: Manifest, change: Change, *, steps: int, name: str, device: torch.device
) -> Replay | None:
    """Repeat at most ``steps`` steps of the training that ``about`` describes; None if it diverges with the change."""
    t = about.config["training"]
    run = Run(beginning(source, about, change, device), seed=about.seed or 0)
    lr = t["lr"] if change.lr is None else change.lr
    schedule = Schedule(lr=lr, warmup=t["warmup"], decay=t["decay"], steps=t["steps"])
    steps = min(steps, t["steps"])
    with repeatable(device), progress(f"repeat: {name}", steps * t["batch_size"], "tokens") as advance:
        for step, batch in zip(range(steps), batches(source, about, change, device), strict=False):
            try:
                run.descend(batch, step, schedule, t["dead_after"])
            except BadInput:
                return None
            advance(len(batch.x), note=run.note)
    return _judge(run.dictionary, first(batches(source, about, change, device), JUDGED))


@torch.no_grad()
def _judge(dictionary: Dictionary, sample: Batch) -> Replay:
    dictionary.finish(sample)
    fired, left = torch.zeros(dictionary.config.n_features, dtype=torch.int64), 0.0
    for x, y in zip(sample.x.split(CHUNK), sample.y.split(CHUNK), strict=True):
        codes = dictionary.encode(x)
        fired += firings(codes, len(fired))
        left += float((y - dictionary.rebuild(x, codes)).square().sum())
    return Replay(fired, left / float((sample.y - sample.y.mean(0)).square().sum()))
