"""waves: read_waves, sums modulo p as a model that was trained on them computes them: with cosines and sines.

(Nanda et al. 2023, "Progress measures for grokking via mechanistic interpretability", arXiv 2301.05217.) Numbers are
embedded as waves of a few frequencies k, and the answer c is the one for which the waves of ``a + b - c`` add up. The
frequencies are read off the Fourier transform of what stands for each number at the model's entrance, the strongest
first, as few as keep most answers when all other frequencies are taken out there; how much each counts is read off the
logits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from physalis.lab.decompiling.passes import Passes
from physalis.lab.decompiling.programs.columns import Array, Value
from physalis.site import Site

_EMBED, _LOGITS = Site("embed"), Site("logits")
KEPT = 0.95
"""Share of the answers that the frequencies have to keep; what the program is worth is judged elsewhere."""
EXPLAINED = 0.5
"""Share of the logits' variance for which they have to account."""
FEWEST = 5
"""Numbers, for waves to be told from a table."""


@dataclass(frozen=True, eq=False, kw_only=True)
class WaveProgram:
    """``argmax over c of sum over k of A_k cos(2 pi k (a + sign b - c) / p)``."""

    name: str
    p: int
    places: tuple[int, int]
    """Of a and b, among an input's tokens."""
    sign: int
    """1 of a sum, -1 of a difference."""
    waves: dict[int, float]
    """A_k by k."""
    asked: slice
    kept: float
    """Share of inputs that the model answers alike with these frequencies alone at its entrance."""
    without: float
    """The same with all others alone."""
    explained: float
    """Share of the logits' variance that the sum accounts for; what all answers share left out."""
    causal: bool = True
    components: tuple[str, ...] = ("embed", "logits")

    @property
    def length(self) -> int:
        """Symbols that are written."""
        return 9 + 2 * len(self.waves)

    def run(self, inputs: Sequence[Sequence[str]]) -> list[tuple[Value, ...]]:
        """The answers to inputs, one each. The model is not asked."""
        if not inputs:
            return []
        a, b = (np.array([int(each[place]) for each in inputs]) for place in self.places)
        found = self.scores((a + self.sign * b) % self.p).argmax(-1)
        return [(str(c),) for c in found.tolist()]

    def scores(self, total: Int64[Array, " n"]) -> Float[Array, "n p"]:
        """Of each answer, up to what is added to all."""
        gap = total[:, None] - np.arange(self.p)
        return np.sum([size * np.cos(2 * np.pi * k * gap / self.p) for k, size in self.waves.items()], 0)

    def __str__(self) -> str:
        waves = ", ".join(f"{k}: {size:.3g}" for k, size in self.waves.items())
        a, b = self.places
        total = f"a {'+' if self.sign > 0 else '-'} b - c"
        note = f"embed, logits: {self.explained:.0%} of their variance"
        return "\n".join(
            [
                f"def {self.name}(token):",
                f"    a, b = int(token[{a}]), int(token[{b}])",
                f"    waves = {{{waves}}}  # {note}",
                "    def score(c):",
                f"        return sum(size * cos(2 * pi * k * ({total}) / {self.p}) for k, size in waves.items())",
                f"    return [str(max(range({self.p}), key=score))]",
            ]
        )


def read_waves(
    passes: Passes, words: Sequence[Sequence[str]], learns: Bool[Array, " inputs"], *, name: str, asked: slice,
) -> WaveProgram | str:  # fmt: skip
    """The program of a model that adds or subtracts two numbers modulo their number; or a sentence that says why it is
    none. Frequencies are tried on the inputs that it does not learn from."""
    entered = _entered(words)
    if entered is None or (passes.asked.sum(1) != 1).any():
        return f"There are no two places with the numbers from 0 on, {FEWEST} at least, and one answer"
    places, p = entered
    numbers = np.array([[int(each[place]) for place in places] for each in words])
    embedded = passes.read([_EMBED], {})[_EMBED]
    power = _power(embedded, numbers[:, 0], places[0] + passes.start, p) + _power(
        embedded, numbers[:, 1], places[1] + passes.start, p
    )
    truth, logits = passes.answers({}), _logits(passes, words, p)
    tried, chosen = ~learns, []
    for k in (np.argsort(-power) + 1).tolist():
        chosen.append(k)
        kept = _alike(passes, embedded, numbers, places, chosen, p, truth, tried)
        if kept >= KEPT:
            break
    rest = [k for k in range(1, len(power) + 1) if k not in chosen]
    without = _alike(passes, embedded, numbers, places, rest, p, truth, tried)
    found = [_amplitudes(logits[learns], numbers[learns], chosen, p, sign) for sign in (1, -1)]
    explained, sizes = max(found, key=lambda each: each[0])
    sign = 1 if explained == found[0][0] else -1
    if len(chosen) > len(power) / 2:
        return f"The numbers are embedded in {len(chosen)} of {len(power)} frequencies: that is no sum of a few waves"
    if explained < EXPLAINED:
        return f"The waves of the numbers account for {explained:.0%} of what the logits tell apart"
    return WaveProgram(
        name=name, p=p, places=places, sign=sign, waves=dict(zip(chosen, sizes, strict=True)), asked=asked, kept=kept,
        without=without, explained=explained,
    )  # fmt: skip


def _entered(words: Sequence[Sequence[str]]) -> tuple[tuple[int, int], int] | None:
    """The two places at which inputs differ, and how many numbers stand there."""
    if len({len(each) for each in words}) != 1:
        return None
    kinds = [{each[i] for each in words} for i in range(len(words[0]))]
    places = [i for i, kind in enumerate(kinds) if len(kind) > 1]
    if len(places) != 2:
        return None
    both = kinds[places[0]] | kinds[places[1]]
    p = len(both)
    return ((places[0], places[1]), p) if p >= FEWEST and both == {str(i) for i in range(p)} else None


def _bases(p: int, chosen: Sequence[int]) -> Float[Array, "p waves"]:
    """Cosines and sines of frequencies, at right angles and of length 1."""
    angle = 2 * np.pi * np.outer(np.arange(p), chosen) / p
    made = np.concatenate([np.cos(angle), np.sin(angle)], 1)
    lengths = np.linalg.norm(made, axis=0)
    return made[:, lengths > 1e-6] / lengths[lengths > 1e-6]  # of p / 2 there is no sine


def _of_numbers(embedded: Tensor, numbers: Array, place: int, p: int) -> Float[Array, "p d"]:
    """What stands for each number at a place."""
    table = np.zeros((p, embedded.shape[-1]))
    table[numbers] = embedded[:, place].double().numpy()
    return table


def _power(embedded: Tensor, numbers: Array, place: int, p: int) -> Float[Array, " k"]:
    """Of each frequency, 1 to p / 2."""
    table = _of_numbers(embedded, numbers, place, p)
    return np.array([np.square(_bases(p, [k]).T @ table).sum() for k in range(1, p // 2 + 1)])


def _alike(
    passes: Passes, embedded: Tensor, numbers: Array, places: tuple[int, int], chosen: Sequence[int], p: int,
    truth: Array, tried: Array,
) -> float:  # fmt: skip
    """Share of inputs that are answered alike where numbers are made of some frequencies alone."""
    held, bases = embedded.clone(), _bases(p, chosen)
    for of, place in zip(numbers.T, (place + passes.start for place in places), strict=True):
        table = _of_numbers(embedded, of, place, p)
        alone = table.mean(0) + bases @ (bases.T @ table)
        held[:, place] = torch.from_numpy(alone[of]).to(held)
    now = passes.answers({_EMBED: held}, of=tried)
    return float((now == truth)[tried].all(1).mean())


def _logits(passes: Passes, words: Any, p: int) -> Float[Array, "inputs p"]:
    """Of the numbers as answers, at the place that is asked."""
    logits = passes.read([_LOGITS], {})[_LOGITS]
    spelled = [word.strip() for word in passes.model.token_strings(range(passes.model.vocab_size))]
    ids = [spelled.index(str(i)) for i in range(p)]
    return logits[torch.from_numpy(passes.asked)][:, ids].double().numpy()


def _amplitudes(
    logits: Float[Array, "inputs p"], numbers: Array, chosen: Sequence[int], p: int, sign: int
) -> tuple[float, list[float]]:
    """How much each frequency of ``a + sign b - c`` counts, and which share of the variance all account for."""
    centred = logits - logits.mean(1, keepdims=True)
    gap = (numbers[:, :1] + sign * numbers[:, 1:]) - np.arange(p)
    waves = np.stack([np.cos(2 * np.pi * k * gap / p).ravel() for k in chosen], 1)
    sizes, *_ = np.linalg.lstsq(waves, centred.ravel(), rcond=None)
    left = np.square(centred.ravel() - waves @ sizes).sum()
    return float(1 - left / np.square(centred).sum()), [float(size) for size in sizes]
