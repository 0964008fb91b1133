"""readings: how a dictionary does on real activations as it was read, and whether another reading would do better.

The files' word stands unless the numbers contradict it strongly: another reading must leave less than half of the
variance unexplained that this one leaves (three quarters for a flag), more than .05 less, and explain something at
all. Every reading is tried on
the same rows.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from physalis.dictionaries import Dictionary, L1Resampled, Linear, ListaMatryoshka, MatchingPursuit
from physalis.dictionaries.thresholded import Thresholded
from physalis.exchange import weights
from physalis.exchange.checks import Check, ok, unverifiable, wrong
from physalis.exchange.imported import Imported
from physalis.training.training import Source
from physalis.types import Batch

WORK = 2e11  # multiplications that a look may take
MOST_ROWS = 8192
LEAST_ROWS = 256
TRIED_ROWS = 1024  # for each other reading
STRONG, LEAST = 0.5, 0.05  # how much better another reading has to be: times, and at least by
STRONG_OF = {"centring": 0.75}
"""The same where there is but one other way to read the files, a flag the other way round: training would not have come
to rest that far from the better of two."""
HOPELESS = 0.9  # share of variance left unexplained at which nothing was understood


class Measured(NamedTuple):
    """What one reading gives on some rows."""

    fvu: float
    l0: float
    gain: float
    """The factor that would fit the reconstruction, about its mean, to the target best."""
    fvu_fitted: float
    """The variance left unexplained once that factor is applied."""
    dead: float


def rows_of(source: Source, dictionary: Dictionary) -> Batch:
    """As many shuffled training rows as the work allows, float32, on the dictionary's device."""
    c = dictionary.config
    wanted = int(min(MOST_ROWS, max(LEAST_ROWS, WORK / (2 * c.n_features * (c.d_in + c.d_out)))))
    part = source.train
    size = min(wanted, part.n_tokens)
    batch = next(iter(part.batches(size, seed=0)))
    at = next(dictionary.parameters()).device
    x = batch.x.to(at).float()
    return Batch(x, x if batch.y is batch.x else batch.y.to(at).float())


@torch.no_grad()
def measure(
    d: Dictionary, rows: Batch, mean: Float[Tensor, " d_out"], *, s_in: float = 1.0, s_out: float = 1.0
) -> Measured:
    """The dictionary on ``s_in * x``, its output divided by ``s_out``."""
    fired = torch.zeros(d.config.n_features, dtype=torch.bool, device=rows.x.device)
    mean = mean.to(rows.x.device)
    left = count = 0.0
    total = own = cross = 0.0
    for x, y in zip(rows.x.split(1024), rows.y.split(1024), strict=True):
        x = x * s_in
        codes = d.encode(x)
        guess = d.rebuild(x, codes) / s_out - mean
        y = y - mean
        left += float((guess - y).square().sum())
        total += float(y.square().sum())
        own += float(guess.square().sum())
        cross += float((guess * y).sum())
        count += float((codes.values > 0).sum())
        fired[codes.ids[codes.values > 0].long()] = True
    gain = cross / own if own > 0 else 0.0
    fitted = total - gain * cross
    nothing = max(total, 1e-30)
    return Measured(left / nothing, count / len(rows.x), gain, fitted / nothing, 1 - float(fired.float().mean()))


class Reading(NamedTuple):
    """Another way to read the files: under which check it belongs, what would be wrong, and how it does."""

    check: str
    what: str
    measured: Measured


def judge(imported: Imported, rows: Batch, mean: Float[Tensor, " d_out"]) -> tuple[Measured, list[Check]]:
    """The measurement, and the checks of scale, layout, centring, thresholds and skip path that follow."""
    d = imported.dictionary
    as_read = measure(d, rows, mean)
    few = Batch(*(part[:TRIED_ROWS] for part in rows))
    few = Batch(few.x, few.x if rows.y is rows.x else few.y)
    base = measure(d, few, mean)
    tried = list(_readings(imported, few, mean)) if base.fvu > LEAST else []
    found = []
    for name, fine in (
        ("scale", f"No other scale of the inputs does better than the files' ({_scales(imported)})."),
        ("layout", "No other layout of the matrices does better."),
        (
            "centring",
            "What is subtracted from the input is right: leaving it out, or b_dec in its place, does no better.",
        ),
        ("threshold", "No other unit of the thresholds does better."),
        ("skip", "The skip path does no better transposed."),
    ):
        own = [reading for reading in tried if reading.check == name]
        better = min(own, key=lambda reading: reading.measured.fvu, default=None)
        strong = STRONG_OF.get(name, STRONG)
        if better and better.measured.fvu < min(strong * base.fvu, base.fvu - LEAST, HOPELESS):
            found.append(
                wrong(
                    name,
                    f"As read, {base.fvu:.2f} of the variance stays unexplained; {better.measured.fvu:.2f} if "
                    f"{better.what}.",
                    fvu=base.fvu,
                    fvu_other=better.measured.fvu,
                    l0_other=better.measured.l0,
                )
            )
        elif own and better:
            found.append(ok(name, fine, fvu=base.fvu, fvu_other=better.measured.fvu))
        elif name == "scale" and base.fvu <= LEAST:
            found.append(ok(name, f"Only {base.fvu:.2f} of the variance stays unexplained.", fvu=base.fvu))
    return as_read, [*found, _gain(as_read)]


def _scales(imported: Imported) -> str:
    return imported.claims.input_norm or "no scaling stated"


def _gain(m: Measured) -> Check:
    numbers = {"gain": m.gain, "fvu": m.fvu, "fvu_fitted": m.fvu_fitted}
    if m.fvu_fitted > HOPELESS:
        return unverifiable(
            "size of the output", "What it writes has nothing to do with the target, at any size.", **numbers
        )
    if not 0.5 < m.gain < 2:
        return wrong(
            "size of the output",
            f"What it writes is {1 / m.gain:.3g} times as large as it should be: times {m.gain:.3g} it leaves "
            f"{m.fvu_fitted:.2f} of the variance unexplained, as read {m.fvu:.2f}. Encoder or decoder are mis-scaled.",
            **numbers,
        )
    return ok("size of the output", f"What it writes fits best when multiplied by {m.gain:.2f}.", **numbers)


def _readings(imported: Imported, rows: Batch, mean: Float[Tensor, " d_out"]) -> Iterator[Reading]:
    d, claims = imported.dictionary, imported.claims
    root_in, root_out = d.config.d_in**0.5, d.config.d_out**0.5
    by_norm = root_in / float(rows.x.norm(dim=1).mean())
    by_norm_out = root_out / float(rows.y.norm(dim=1).mean())
    by_square = 1 / float(rows.x.square().sum(1).mean().sqrt())
    scales = {
        "the inputs were to be multiplied by the root of the width over their mean norm": (by_norm, by_norm_out),
        "the inputs were to be divided by their root mean square norm": (by_square, by_square),
        "the scale of the inputs was folded twice": (1 / by_norm, 1 / by_norm_out),
    }
    if claims.input_scale:
        scales["the scale that was folded should not have been"] = (1 / claims.input_scale, 1 / claims.input_scale)
    if claims.transcoder:
        scales["only what it reads was to be multiplied by the root of the width over the mean norm"] = (by_norm, 1.0)
        scales["only what it writes was scaled by the root of the width over the mean norm"] = (1.0, by_norm_out)
    for what, (s_in, s_out) in scales.items():
        if max(s_in, s_out, 1 / s_in, 1 / s_out) > 1.2:
            yield Reading("scale", what, measure(d, rows, mean, s_in=s_in, s_out=s_out))
    if not isinstance(d, Linear) or isinstance(d, L1Resampled | ListaMatryoshka):
        return

    def tried(check: str, what: str) -> Reading:
        return Reading(check, what, measure(d, rows, mean))

    for part, matrix in (("decoder", d.dec), ("encoder", d.enc)):
        for what, other in weights.layouts(matrix.data.clone()):
            if isinstance(d, MatchingPursuit) and part == "encoder":
                continue
            with put(matrix.data, other):
                yield tried("layout", f"the {part} {what}")
    if d.config.d_in == d.config.d_out and not claims.transcoder and not isinstance(d, MatchingPursuit):
        if bool(d.centre.any()):
            with put(d.centre, torch.zeros_like(d.centre)):
                yield tried("centring", "nothing is subtracted from the input")
        elif bool(d.b_dec.any()):
            with put(d.centre, d.b_dec.data):
                yield tried("centring", "b_dec is subtracted from the input")
    if isinstance(d, Thresholded) and bool(d.threshold.any()):
        old = d.threshold.data.clone()
        for what, factor in (
            ("thresholds count in the scaled inputs' unit", by_norm),
            ("thresholds count in the raw inputs' unit", 1 / by_norm),
            ("thresholds are ten times smaller", 0.1),
            ("thresholds are ten times larger", 10.0),
        ):
            with put(d.threshold.data, old * factor):
                yield tried("threshold", what)
    if d.skip is not None and d.config.d_in == d.config.d_out:
        with put(d.skip.data, d.skip.data.T.clone()):
            yield tried("skip", "the skip path is transposed")


@contextmanager
def put(held: Tensor, other: Tensor) -> Iterator[None]:
    """``other`` in the tensor's place for as long as the block runs."""
    before = held.clone()
    held.copy_(other)
    try:
        yield
    finally:
        held.copy_(before)
