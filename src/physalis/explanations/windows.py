"""windows: how much of a text features need: whether they fire where the network reads the last tokens alone.

The network is run on windows of the text: the beginning-of-text token, if the recording has one, and the last n tokens.
What its features do then is all that a program could say that reads n tokens and is as wise as the network is about
what it does not see; so it stands beside rules and tables, which see as little.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32, Int
from torch import Tensor

from physalis import artifact, dictionaries
from physalis.activations import Stored
from physalis.atlas.records import Estimate, Record
from physalis.dictionaries import Dictionary
from physalis.errors import BadInput
from physalis.explanations.scores import Counts, Held, mean_f1
from physalis.models import Model
from physalis.models.text.corpus import Text
from physalis.placement.origin import Recordings, recorded
from physalis.runtime.progress import progress
from physalis.types import Codes

WINDOWS = (1, 2, 4, 8, 16, 32)
A_PASS = 4096
"""Tokens that the network reads at once, about."""


class Window(Record):
    """What the network's features do where it reads so many tokens."""

    tokens: int
    f1: Estimate
    """Mean over features of F1: firing after the window against firing after the whole context."""


class Needed(Record):
    """How much of the text before it a feature needs to fire."""

    feature: int
    n_fired: int
    """Tokens on which it fires, of those that were judged."""
    tokens: int | None
    """Median over these of the shortest window in which, as in all longer ones, it fires too; None where that is
    longer than the longest window."""


class Reach(Record):
    """How firing after a part of the context agrees with firing after all of it."""

    windows: tuple[Window, ...]
    needed: tuple[Needed, ...]
    """Of each feature that fires on a token that was judged."""
    n_tokens: int


class Windowed:
    """What a dictionary makes of a site where the network reads the last tokens alone."""

    def __init__(self, n: int, stored: Stored, coder: Dictionary, model: Model) -> None:
        self.n, self.coder, self.model = n, coder, model
        self._sites = [part.site for part in stored.parts[0]]
        self._tokens = np.asarray(stored.tokens, np.int64)

    def at(self, places: Int[np.ndarray, " rows"]) -> Float[Tensor, "rows d_out"]:
        """What the codes after these places' windows are decoded to."""
        with torch.no_grad():
            return torch.cat([self.coder.decode(codes) for _, codes in self._codes(places)])

    def dense(self, places: Int[np.ndarray, " rows"]) -> Float32[np.ndarray, "rows features"]:
        """The codes themselves."""
        found = np.zeros((len(places), self.coder.config.n_features), np.float32)
        for rows, codes in self._codes(places):
            found[rows] = codes.dense().cpu().numpy()
        return found

    def _codes(self, places: Int[np.ndarray, " rows"]) -> list[tuple[slice, Codes]]:
        each, found = max(1, A_PASS // (self.n + 1)), []
        for start in range(0, len(places), each):
            rows = slice(start, start + each)
            found.append((rows, self.coder.encode(self._read(places[rows]))))
        return found

    def _read(self, places: Int[np.ndarray, " rows"]) -> Float[Tensor, "rows d_in"]:
        """The activations at the ends of windows, each of which is the shorter where its context begins."""
        width = self._tokens.shape[1]
        context, column = places // width, places % width
        begins = self._tokens[:, 0] == self.model.bos_id
        first = begins[context].astype(int)
        length = np.minimum(self.n, column + 1 - first)
        found: list[Tensor | None] = [None] * len(places)
        for size, opens in {*zip(length.tolist(), first.tolist(), strict=True)}:
            same = np.flatnonzero((length == size) & (first == opens))
            back = np.arange(1 - size, 1)
            ids = self._tokens[context[same, None], column[same, None] + back]
            ids = np.concatenate([self._tokens[context[same], :1], ids], 1) if opens else ids
            read = self.model.run(torch.from_numpy(ids).to(self.model.device), read=self._sites)
            last = torch.cat([read[site][:, -1] for site in self._sites], 1).float()
            for row, value in zip(same.tolist(), last, strict=True):
                found[row] = value
        return torch.stack([value for value in found if value is not None])


def reach(
    dictionary: Path | str,
    activations: Recordings,
    model: Model,
    *,
    writes: Recordings | None = None,
    windows: Sequence[int] = WINDOWS,
    tokens: int = 2048,
    seed: int = 0,
) -> Reach:
    """Run the network on the last n of the context's tokens, for each n of ``windows``, before each of ``tokens``
    held-out tokens, and compare where features fire with where they fire after the whole context.

    The windows of one token take as long as ``tokens`` tokens of reading do, those of 32 as 33 times as many. Raises
    BadInput for what does not belong together, a window below 1, a dictionary of several models, and
    a model that does not read text.
    """
    if tokens < 1 or not windows or min(windows) < 1:
        raise BadInput(
            f"A reach is measured on 1 token or more, in windows of 1 or more; received tokens={tokens} and "
            f"windows={tuple(windows)}."
        )
    if not isinstance(model.corpus, Text):
        raise BadInput(f"A reach is of text, and {model.name} reads {model.corpus.name}. There is none of it.")
    trained = artifact.read(Path(dictionary), "dictionary")
    stored = recorded(trained, activations, writes)
    stored.require(model)
    if len({part.model_hash for part in stored.parts[0]}) > 1:
        raise BadInput("The dictionary reads several models, and a window is read by one. There is no reach of it.")
    coder = dictionaries.load(dictionary, device=model.device)
    at = np.sort(stored.held_out.at)
    if not len(at):
        raise BadInput(
            "A reach is measured on held-out text, and this recording holds none out. Record with --held-out .1."
        )
    at = np.sort(np.random.default_rng(seed).choice(at, min(tokens, len(at)), replace=False))
    held = Held.of(at, np.asarray(stored.documents).ravel())
    whole = Windowed(stored.context, stored, coder, model).dense(at) > 0
    fires = np.flatnonzero(whole.any(0))
    found, still = [], np.full(whole.shape, len(windows), np.int8)
    with progress("reach", len(windows), "windows") as advance:
        for i, n in enumerate(sorted(windows)):
            said = Windowed(n, stored, coder, model).dense(at) > 0
            still[~said] = len(windows)
            still[said & (still == len(windows))] = i
            counts = np.stack([np.stack(Counts.of(said[:, j], whole[:, j], held)) for j in fires])
            found.append(Window(tokens=n, f1=mean_f1(counts)))
            advance(1)
    sizes = [*sorted(windows), None]
    needed = []
    for j in fires.tolist():
        own = np.sort(still[whole[:, j], j])
        needed.append(Needed(feature=j, n_fired=len(own), tokens=sizes[int(own[(len(own) - 1) // 2])]))
    return Reach(windows=tuple(found), needed=tuple(needed), n_tokens=len(at))
