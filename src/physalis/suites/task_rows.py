"""task_rows: what a model computes of the texts of probing tasks, where a dictionary reads it: a row for each token of
each text.

A text is cut, to a context of the recording at most, and begins as its contexts do; positions that the recording leaves
out (sinks, BOS) are left out here. ``pool`` makes one row of a text's rows of codes, or of activations: that of its
last token, as sae-probes does it, their mean, or the largest of each column.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int
from torch import Tensor

from physalis.activations import Stored
from physalis.dictionaries import Dictionary
from physalis.models import Model
from physalis.models.text.prompting import begin
from physalis.placement.place import Place
from physalis.suites.probing_tasks import Labelled

Pool = Literal["last", "mean", "max"]
TOKENS_A_PASS = 2_048
ROWS = 4_096
"""Encoded at a time."""


@dataclass(frozen=True, eq=False)
class TaskRows:
    """The rows of some texts, text after text."""

    x: Float32[Tensor, "rows d_in"]
    text: Int[np.ndarray, " rows"]
    """Which of the texts a row is of, ascending."""
    tokens: list[list[int]]
    """Of each text, without the token that its context began with."""
    labels: Bool[np.ndarray, " texts"]
    pool: Pool

    @classmethod
    def read(cls, model: Model, source: Stored, of: Labelled, *, pool: Pool, length: int) -> "TaskRows":
        """One forward pass over the first ``length`` tokens of each text, at most a context, up to the deepest site
        that is read. Texts of which no position is kept are left out."""
        place = Place.of(source.parts, model)
        bos = place.skip_first
        ids = [each[: min(length, source.context - bos)] for each in model.encode(of.texts)]
        rows: dict[int, Tensor] = {}
        for batch in _alike([len(each) + bos for each in ids]):
            begun = [begin(model, ids[i], bos=bos) for i in batch]
            tokens = torch.zeros(len(batch), max(map(len, begun)), dtype=torch.int64)
            for row, each in zip(tokens, begun, strict=True):
                row[: len(each)] = torch.tensor(each)
            got = model.run(tokens.to(model.device), read={*place.reads, *place.hygienes})
            keep, x = place.keep(got), place.joined(got)
            for row, (i, each) in enumerate(zip(batch, begun, strict=True)):
                kept = x[row, : len(each)][keep[row, : len(each)]].float().cpu()
                if len(kept):
                    rows[i] = kept[-1:] if pool == "last" else kept
        there = sorted(rows)
        lengths = [len(rows[i]) for i in there]
        return cls(
            torch.cat([rows[i] for i in there]) if there else torch.zeros(0, source.d_in),
            np.repeat(np.arange(len(there)), lengths), [ids[i] for i in there],
            np.array([of.labels[i] for i in there], bool), pool,
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.labels)

    def activations(self) -> Float32[np.ndarray, "texts d_in"]:
        """One row a text of what is read."""
        where = torch.from_numpy(self.text)[:, None].expand_as(self.x)
        out = torch.full((len(self), self.x.shape[1]), -torch.inf if self.pool == "max" else 0.0)
        out.scatter_reduce_(0, where, self.x, "amax" if self.pool == "max" else "sum")
        return self._divided(out).numpy()

    @torch.no_grad()
    def codes(self, dictionary: Dictionary) -> Float32[np.ndarray, "texts features"]:
        """One row a text of what the dictionary makes of it; 0 where a feature is silent."""
        n = dictionary.config.n_features
        device = next(dictionary.parameters()).device
        out = torch.zeros(len(self) * n)
        for at in range(0, len(self.x), ROWS):
            codes = dictionary.encode(self.x[at : at + ROWS].to(device))
            where = n * torch.from_numpy(self.text[at : at + ROWS])[:, None] + codes.ids.cpu().long()
            out.scatter_reduce_(
                0, where.flatten(), codes.values.cpu().flatten(), "amax" if self.pool == "max" else "sum"
            )
        return self._divided(out.view(len(self), n)).numpy()

    def _divided(self, sums: Tensor) -> Tensor:
        return sums / torch.from_numpy(np.bincount(self.text))[:, None] if self.pool == "mean" else sums


def _alike(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Texts that go through the model together: alike in length."""
    batch: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        if batch and (len(batch) + 1) * lengths[i] > TOKENS_A_PASS:
            yield batch
            batch = []
        if lengths[i]:
            batch.append(i)
    if batch:
        yield batch
