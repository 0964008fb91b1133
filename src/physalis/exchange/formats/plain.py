"""Weights alone, as some releases are: Goodfire (encoder_linear), DeepSeek-R1 (encoder, decoder), Qwen Scope.

The first two are ``relu(W x + b)`` with the decoder [d, features]; the third is TopK with W_enc [features, d] and W_dec
[d, features], its k only in the repository's name (…-L0_50).
"""

import re
from pathlib import Path

from physalis.errors import BadInput
from physalis.exchange import files, pickles
from physalis.exchange.imported import Claims, Imported, asked_k, linear

NAME = "plain"
SUFFIXES = (".pt", ".pth")
LINEAR = ("encoder_linear.weight", "encoder_linear.bias", "decoder_linear.weight", "decoder_linear.bias")
MODULES = ("encoder.weight", "encoder.bias", "decoder.weight", "decoder.bias")
MATRICES = ("W_enc", "b_enc", "W_dec", "b_dec")


def recognises(path: Path) -> bool:
    if not path.is_file() or path.suffix not in SUFFIXES:
        return False
    words = pickles.words(path)
    return set(LINEAR) <= words or set(MODULES) <= words or (set(MATRICES) <= words and path.name.endswith(".sae.pt"))


def read(path: Path, *, scale: float | None = None) -> Imported:
    """Raises BadInput for a Qwen Scope file whose path does not tell k."""
    if scale is not None:
        raise BadInput(f"These weights are taken to read raw activations; received --scale {scale:g}. Leave it out.")
    found = files.tensors(path)
    notes = ["The file holds weights alone: model, site, BOS and scale of its inputs are not stated."]
    for names in (LINEAR, MODULES):
        if names[0] in found:
            enc, b_enc, dec, b_dec = files.take(found, path, *names)
            k, more = asked_k(None, len(enc))
            made = linear("L1", enc=enc, dec=dec.T, b_enc=b_enc, b_dec=b_dec, k=k)
            return Imported(dictionary=made, format=NAME, claims=Claims(), assumptions=(*notes, *more))
    enc, b_enc, dec, b_dec = files.take(found, path, *MATRICES)
    said = re.search(r"L0_(\d+)", str(path.resolve()))
    if said is None:
        raise BadInput(
            f"{path} does not state its k; in Qwen Scope the repository's name does (…-L0_50). Keep that name."
        )
    layer = re.search(r"layer(\d+)\.sae\.pt$", path.name)
    made = linear("TopK", enc=enc, dec=dec.T, b_enc=b_enc, b_dec=b_dec, k=int(said[1]))
    claims = Claims(hooks=(f"L{layer[1]}.resid_post",) if layer else (), l0=float(said[1]))
    return Imported(dictionary=made, format=NAME, claims=claims, assumptions=tuple(notes))
