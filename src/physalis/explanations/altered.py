"""altered: training text in which tokens are replaced, and what the network's features do on it.

Text as it is found says what goes along with a feature, not what it needs: words that always stand together cannot be
told apart. So the network is asked. One token in seven is replaced by another of the text, the network reads what came
of it, and learning has both: where a feature falls silent for the want of a token, and where it fires in spite of it.
It is an ablation of the text for all features at once, at the price of reading it again.
"""

from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int

from physalis.activations import Stored
from physalis.codes import Firings
from physalis.dictionaries import Dictionary
from physalis.errors import BadInput
from physalis.explanations.windows import A_PASS
from physalis.models import Model
from physalis.recording import forward
from physalis.runtime.progress import progress

ALTERED = "altered.npz"
"""File of it, while rules are learned."""
SHARE = 0.15
"""Of the tokens are replaced, as in masked language modelling (Devlin et al. 2019)."""
MOST = 16
"""Times that the training part may be altered."""


class Altered(NamedTuple):
    """Contexts that were altered, and where each feature fires on them."""

    tokens: Int[np.ndarray, "contexts length"]
    rows: Int[np.ndarray, " rows"]
    """Places whose activations count, rising: those that a recording keeps."""
    at: Int[np.ndarray, " firings"]
    """Places of firings, rising, of one feature after another."""
    values: Float32[np.ndarray, " firings"]
    ends: Int[np.ndarray, " features+1"]
    """Where each feature's begin, and the last's end; empty where nothing was altered."""

    @classmethod
    def none(cls, length: int) -> "Altered":
        """Nothing altered."""
        nothing = np.zeros(0, np.int64)
        return cls(np.zeros((0, length), np.int32), nothing, nothing, np.zeros(0, np.float32), nothing)

    def firings(self, feature: int) -> Firings:
        """Of one feature, in the order of the text."""
        own = slice(*self.ends[feature : feature + 2]) if len(self.ends) else slice(0)
        return Firings(self.at[own], self.values[own])

    def save(self, path: Path) -> None:
        """Into one file of arrays."""
        with path.open("wb") as file:
            np.savez(file, **self._asdict())

    @classmethod
    def load(cls, path: Path) -> "Altered | None":
        """What ``save`` wrote; None where it is not there or damaged."""
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                return cls(*(arrays[name] for name in cls._fields))
        except (OSError, EOFError, KeyError, ValueError, BadZipFile):
            return None


def alter(stored: Stored, part: Stored, coder: Dictionary, model: Model, *, tokens: int, seed: int) -> Altered:
    """Alter about so many ``tokens`` of a recording's ``part`` and have ``model`` read them: whole contexts drawn by
    chance, each again only when all were taken.

    ``stored`` is the recording, ``coder`` a dictionary of it that reads one model (``check_one_model``).
    """
    rng = np.random.default_rng([seed, len(part.contexts)])
    text = np.asarray(stored.tokens)
    width = text.shape[1]
    drawn: list[int] = []
    while len(drawn) * width < tokens:
        drawn += rng.permutation(part.contexts).tolist()
    contexts = np.array(drawn[: -(-tokens // width)])
    kept = np.zeros(text.size, bool)
    kept[part.at] = True
    kept = kept.reshape(text.shape)[contexts]
    made = text[contexts].astype(np.int32)
    replaced = kept & (rng.random(made.shape) < SHARE)
    made[replaced] = rng.choice(text.ravel()[part.at], int(replaced.sum()))
    rows, at, features, values = _read(made, kept, stored, coder, model)
    order = np.argsort(features, kind="stable")
    ends = np.searchsorted(features[order], np.arange(coder.config.n_features + 1))
    return Altered(made, rows, at[order], values[order], ends)


def check_one_model(stored: Stored) -> None:
    """Raises BadInput for a dictionary of several models: altered text is read by one."""
    if len({each.model_hash for each in stored.parts[0]}) > 1:
        raise BadInput(
            "The dictionary reads several models, and altered text is read by one. Learn its rules from the text as it "
            "is: leave out --altered."
        )


@torch.no_grad()
def _read(
    made: Int[np.ndarray, "contexts length"],
    kept: Bool[np.ndarray, "contexts length"],
    stored: Stored,
    coder: Dictionary,
    model: Model,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The places that count: of those ``kept``, what the recording's rule keeps of the altered text, where a sink may
    stand elsewhere. And place, feature and activation of every firing there, in the order of the text."""
    hygienes = {part.site: part.hygiene for part in stored.parts[0]}
    size = max(1, A_PASS // made.shape[1])
    rows, found = [], []
    with progress("altered text", made.size, "tokens") as advance:
        for start in range(0, len(made), size):
            some = made[start : start + size]
            read = forward.run(model, list(hygienes), some)
            keep = forward.kept(hygienes, read)[0] & torch.from_numpy(kept[start : start + size]).to(model.device)
            codes = coder.encode(torch.cat([x[keep] for x in read.values()], -1).float())
            places = np.flatnonzero(keep.cpu().numpy()) + start * made.shape[1]
            fires = codes.values > 0
            row = fires.nonzero()[:, 0].cpu().numpy()
            rows.append(places)
            found.append((places[row], codes.ids[fires].cpu().numpy(), codes.values[fires].cpu().numpy()))
            advance(some.size)
    at, features, values = (np.concatenate(each) for each in zip(*found, strict=True))
    return np.concatenate(rows), at, features, values.astype(np.float32)
