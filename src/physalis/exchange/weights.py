"""weights: what a dictionary's weights alone can tell: numbers, layout, lengths, thresholds.

In a trained autoencoder a feature's encoder row and decoder row point the same way, so their cosine stands far above
that of two random rows, and a decoder read the other way round loses it. A transcoder's rows live in different spaces
and say nothing.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from physalis.dictionaries import BatchTopK, Crosscoder, Dictionary, Linear, MatchingPursuit, Matryoshka
from physalis.exchange.checks import Check, ok, unverifiable, wrong
from physalis.exchange.imported import Imported

SAMPLE = 2048  # features looked at
AMONG = 128  # of them compared with every decoder row
NOISE = 6.0  # standard errors of a mean cosine of random rows
CLEAR = 0.1  # by how much another layout's cosine has to be better
MOST_GAIN = 4.0  # own-path gain, ``enc[f] . dec[f]``, that no trained autoencoder was seen to reach


def judge(imported: Imported) -> list[Check]:
    """Every check that needs the weights alone. If a number is not finite, that alone."""
    d = imported.dictionary
    finite = _finite(d)
    if finite.outcome == "wrong" or not isinstance(d, Linear):
        return [finite]
    found = [finite, _shapes(d), _orientation(imported, d), _lengths(imported, d), _gain(imported, d)]
    return found + ([_threshold(d)] if isinstance(d, BatchTopK | Matryoshka) else [])


def _finite(d: Dictionary) -> Check:
    for name, value in d.state_dict().items():
        bad = int((~torch.isfinite(value)).sum())
        if bad:
            return wrong("finite", f"{name} holds {bad} numbers that are not finite: the file is damaged.", bad=bad)
    return ok("finite", "Every number is finite.")


def _shapes(d: Linear) -> Check:
    c = d.config
    numbers = {"d_in": c.d_in, "d_out": c.d_out, "features": c.n_features}
    silent = int((d.dec.data.norm(dim=1) == 0).sum())
    if silent == c.n_features:
        return wrong("shapes", "Every direction is 0: it writes nothing.", **numbers)
    if c.n_features < c.d_in:
        return unverifiable(
            "shapes",
            f"There are fewer features ({c.n_features}) than dimensions ({c.d_in}), which is rare: are they the other "
            "way round?",
            **numbers,
        )
    return ok("shapes", f"{c.n_features:,} features, width {c.d_in} in and {c.d_out} out.", **numbers)


def _comparable(imported: Imported, d: Linear) -> bool:
    return d.config.d_in == d.config.d_out and not imported.claims.transcoder and not isinstance(d, MatchingPursuit)


def _cosine(enc: Tensor, dec: Tensor) -> float:
    rows = _sampled(len(enc))
    return float(torch.cosine_similarity(enc[rows], dec[rows], dim=1).nan_to_num().mean())


def _sampled(n: int, most: int = SAMPLE) -> Tensor:
    return torch.linspace(0, n - 1, min(n, most)).long()


def layouts(matrix: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Other ways in which a matrix [features, d] may have been meant: (what would be wrong, the matrix so read)."""
    features, d = matrix.shape
    if features == d:
        yield "is transposed", matrix.T
    yield "was stored [d, features] and reshaped where it should have been transposed", matrix.reshape(d, features).T


def _orientation(imported: Imported, d: Linear) -> Check:
    if isinstance(d, MatchingPursuit):
        return unverifiable("orientation", "Encoder and decoder are one matrix, so there is nothing to compare.")
    if not _comparable(imported, d):
        return unverifiable("orientation", "It reads and writes different spaces, so its rows cannot be compared.")
    enc, dec = d.enc.data, d.dec.data
    as_read = _cosine(enc, dec)
    noise = NOISE / math.sqrt(d.config.d_in * min(SAMPLE, len(enc)))
    others = [(f"the decoder {what}", _cosine(enc, m)) for what, m in layouts(dec)]
    others += [(f"the encoder {what}", _cosine(m, dec)) for what, m in layouts(enc)]
    best = max(cosine for _, cosine in others)
    what = " or ".join(each for each, cosine in others if cosine > best - 0.02)
    numbers = {"cosine": round(as_read, 4), "best_other": round(best, 4)}
    if best > as_read + CLEAR and best > noise:
        return wrong(
            "orientation",
            f"A feature's encoder and decoder rows have mean cosine {as_read:.2f}; it is {best:.2f} if {what}.",
            **numbers,
        )
    own, chance = _own(enc, dec)
    if as_read < CLEAR and own < 0.1 and chance:
        return wrong(
            "orientation",
            f"Encoder rows find a decoder row along them, but their own in {own:.0%} of cases: the rows are in another "
            "order.",
            own=own,
            **numbers,
        )
    if as_read > noise and as_read > 0.02:
        return ok("orientation", f"A feature's encoder and decoder rows have mean cosine {as_read:.2f}.", **numbers)
    return unverifiable(
        "orientation",
        f"A feature's encoder and decoder rows have mean cosine {as_read:.2f}, as random ones have, in every layout.",
        **numbers,
    )


def _own(enc: Tensor, dec: Tensor) -> tuple[float, bool]:
    """How often an encoder row's nearest decoder row is its own, and whether the nearest is nearer than chance."""
    rows = _sampled(len(enc), AMONG)
    a, b = torch.nn.functional.normalize(enc[rows], dim=1), torch.nn.functional.normalize(dec, dim=1)
    nearest = (a @ b.T).max(dim=1)
    by_chance = math.sqrt(2 * math.log(len(dec)) / dec.shape[1])
    return float((nearest.indices == rows).float().mean()), float(nearest.values.mean()) > min(0.9, 2 * by_chance)


def _lengths(imported: Imported, d: Linear) -> Check:
    lengths = d.dec.data.norm(dim=1)
    if isinstance(d, Crosscoder):
        return unverifiable(
            "decoder norms", "A crosscoder's directions span several sites.", mean=float(lengths.mean())
        )
    numbers = {"mean": float(lengths.mean()), "least": float(lengths.min()), "most": float(lengths.max())}
    said = f"Directions have length {numbers['mean']:.3g} on average, {numbers['least']:.3g} to {numbers['most']:.3g}"
    claimed = imported.claims.unit_decoder
    scale = imported.claims.input_scale
    alive = lengths[lengths > 0] * (scale or 1.0)  # a folded scale is in the directions too
    if claimed is None:
        return unverifiable("decoder norms", f"{said}; the files do not say what they should be.", **numbers)
    if bool(((alive - 1).abs() < 0.01).float().mean() > 0.99) or bool(((lengths - 1).abs() < 0.01).all()):
        return ok("decoder norms", f"{said}, as the files say (1).", **numbers)
    return wrong(
        "decoder norms", f"{said}; the files say 1. Weights were scaled after training, or are another's.", **numbers
    )


def _gain(imported: Imported, d: Linear) -> Check:
    if not _comparable(imported, d) or d.config.layer_norm:
        return unverifiable("scale of the weights", "Its own path through a feature has no expected gain.")
    rows = _sampled(len(d.enc.data))
    gain = float((d.enc.data[rows] * d.dec.data[rows]).sum(1).median())
    said = f"One unit along a feature's direction becomes a code that writes {gain:.2g} units (median)"
    if gain > MOST_GAIN:
        return wrong(
            "scale of the weights",
            f"{said}; a trained autoencoder stays near 1 or below. Encoder or decoder are several times too large, or "
            "a scale was folded twice.",
            gain=gain,
        )
    if 0.05 < gain:
        return ok("scale of the weights", f"{said}, as in a trained autoencoder.", gain=gain)
    return unverifiable("scale of the weights", f"{said}: too little to tell anything.", gain=gain)


def _threshold(d: Linear) -> Check:
    threshold = d.state_dict()["threshold"]
    least, most = float(threshold.min()), float(threshold.max())
    if most <= 0:
        return wrong(
            "threshold",
            "No threshold was ever set: chosen by rank over a batch while training, it now fires on everything "
            "positive.",
            least=least,
            most=most,
        )
    return ok("threshold", f"Features fire above {least:.3g} to {most:.3g}.", least=least, most=most)
